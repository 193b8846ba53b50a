"""The page of the claims: ``claims.md``, and ``claims.json`` with the same for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rrl.recording.truth import TOLERANCE
from rrl.studies.claim_tables import LOADS, Evidence
from rrl.studies.claims import USE, VERDICTS, Judged, Number
from rrl.studies.days import DEFAULT
from rrl.studies.map_cells import MEASURES
from rrl.studies.map_factors import PAPER_CONDITIONS
from rrl.studies.other_half import FIXED, ORACLE, READER
from rrl.studies.registration import Registration
from rrl.support.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

Claim = Mapping[str, Any]
"""What a claim comes to, see :func:`claim_row`."""
HALVES = ("first half replayed", "second half replayed")
REASONS = {
    "C1": "a copy errs by {own}; the same configuration measured again by {oracle}",
    "C2": "{own} here; proved in notebook 04, also for larger grids",
    "C3": "mean cost of radius 1 over its own is {own}",
    "C4": "median episodes of Q-learning over its own are {own}",
    "C5": "it saves {own}; an oracle, who always knows, saves {oracle}",
    "C6": "it saves {own} of late requests; an oracle saves {oracle}",
    "C7": "beside the default {own}; one fixed configuration reaches {fixed}",
    "C8": "the real runtime in our server, not yet the binary",
    "C9": "generated devices: {own}; one fixed configuration reaches {fixed}",
}
"""Why each verdict is what it is, in about ten words; the numbers are those of the two halves."""


def as_text(value: float, low: float, high: float, unit: str = "") -> str:
    """Return a number with its interval and unit, in three digits.

    Examples
    --------
    >>> as_text(2.345, 1.9, 3.0, "times"), as_text(13076, 13076, 13076)
    ('2.35 [1.9, 3] times', '13076')
    """
    texts = [f"{x:.0f}" if abs(x) >= 1000 else f"{x:.3g}" for x in (value, low, high)]
    interval = "" if low == high else f" [{texts[1]}, {texts[2]}]"
    return f"{texts[0]}{interval} {unit}".rstrip()


def claim_row(judged: Judged, registered: Registration) -> Claim:
    """Return what a claim comes to, by name, as both files have it.

    Returns
    -------
    dict
        `paper` is what the paper says in short, `words` its own words, which stand in `source`. The
        verdict is about `agent`, by the problems of `kind`, and `rule` says whether the rule was
        made before or after its results were known. `asked` is the threshold. `measured` and
        `oracle` have the number of the first part for each half, of the agent and of the oracle.
        `registration` is the SHA-256 of the registration from which the verdict follows.
    """
    claim, part = judged.claim, judged.claim.parts[0]

    def texts(agent: str, interval: bool = True) -> list[str]:
        return [_text(one, claim.unit, interval) for one in judged.of(agent) if one.problems]

    short = {
        name: " / ".join(texts(agent, interval=False)) or "none"
        for name, agent in (("own", claim.about), ("oracle", ORACLE), ("fixed", FIXED))
    }
    side = "above" if part.above is not None else "below"
    return {
        "id": judged.id,
        "paper": claim.paper,
        "words": claim.words,
        "source": claim.source,
        "agent": claim.about,
        "kind": judged.kind,
        "verdict": judged.verdict,
        "reason": REASONS[judged.id].format(**short),
        "rule": "after results" if judged.after_results else "before results",
        "asked": f"{side} {part.threshold:g} {claim.unit}",
        "measured": texts(claim.about),
        "oracle": texts(ORACLE),
        "registration": registered.digest,
    }


def _text(number: Number, unit: str, interval: bool) -> str:
    ends = (number.low, number.high) if interval else (number.value, number.value)
    return as_text(number.value, *ends, unit)


def by_utilisation(evidence: Evidence, agents: Iterable[str]) -> pd.DataFrame:
    """Return what each agent saves of the default's mean latency on recordings, by utilisation.

    Returns
    -------
    DataFrame
        One row per load (low, middle, high), agent and half. `saved` is in percent: one minus the
        geometric mean, over the recordings, of the median latency over the seeds of what is
        deployed after the registered number of episodes, over the default's. `best` is the
        default's latency over that of the best, and `recordings` counts them.
    """
    import pandas as pd

    facts = evidence.facts
    facts = facts[facts["load"].isin(LOADS)].set_index(["problem", "half"])
    runs = evidence.runs[evidence.runs["agent"].isin(list(agents))]
    middle = runs.groupby(["problem", "half", "agent"])["latency_s"].median().reset_index()
    middle = middle.join(facts[["load", "default_s", "best_s"]], ["problem", "half"], how="inner")
    middle["ratio"] = np.log(middle["latency_s"] / middle["default_s"])
    middle["best"] = np.log(middle["default_s"] / middle["best_s"])
    groups = middle.groupby(["load", "agent", "half"])
    table = pd.DataFrame({"saved": 100 * (1 - np.exp(groups["ratio"].mean())),
                          "best": np.exp(groups["best"].mean()),
                          "recordings": groups.size()}).reset_index()  # fmt: skip
    order = table["load"].map(LOADS.index)
    return table.iloc[np.lexsort((table["half"], table["agent"], order))].reset_index(drop=True)


def best_simple(table: pd.DataFrame, simple: Sequence[str]) -> str:
    """Return the simple rival that saves most on average, looked up afterwards."""
    means = table[table["agent"].isin(list(simple))].groupby("agent")["saved"].mean()
    return str(means.idxmax()) if len(means) else simple[0]


def lost_loads(evidence: Evidence, ours: str, column: str) -> pd.DataFrame:
    """Return where another agent is better than ours by more than the tolerance.

    Parameters
    ----------
    evidence : Evidence
    ours : str
    column : str
        Of `runs`, such as "deployed" or "mean_cost". Medians over the seeds are compared.

    Returns
    -------
    DataFrame
        One row per problem and half, with the best other `agent` and the `ratio` of ours to it.
    """
    runs = evidence.runs[evidence.runs["kind"].isin(["real", "held_out"])]
    runs = runs[~runs["agent"].isin([ORACLE, READER, FIXED, DEFAULT])]
    cells = runs.pivot_table(column, ["problem", "half"], "agent", "median")
    others = cells.drop(columns=ours)
    found = others.idxmin(axis=1).to_frame("agent").assign(ratio=cells[ours] / others.min(axis=1))
    return found[found["ratio"] > 1 + TOLERANCE].reset_index()


# --- the page -------------------------------------------------------------------------------------


def lead(claims: Sequence[Claim], saved: pd.DataFrame, ours: str, rival: str) -> str:
    """Return three sentences: the verdicts, what is saved, and what could be saved.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = [("low", name, 0, saved) for name, saved in (("a", 30), ("b", 20), ("oracle", 40))]
    >>> table = pd.DataFrame(rows, columns=["load", "agent", "half", "saved"])
    >>> print(lead([], table, "a", "b").splitlines()[1])
    Of the default's mean latency, `a` saves 30 % (low).
    """
    return (
        f"{counted(claims)}\n"
        f"Of the default's mean latency, `{ours}` saves {_by_load(saved, ours)}.\n"
        f"The best simple rival, `{rival}`, saves {_by_load(saved, rival)}, and an oracle "
        f"{_by_load(saved, ORACLE)}."
    )


def counted(claims: Sequence[Claim]) -> str:
    """Return how many of the paper's claims have each verdict, and which; a use is no claim.

    Examples
    --------
    >>> rows = [("C3", "shown"), ("C4", "not shown"), ("C5", "not shown"), ("C9", "a use")]
    >>> counted([{"id": id, "verdict": word} for id, word in rows])
    "Of the paper's 3 claims, 1 is shown (C3), 2 are not shown (C4, C5)."
    """
    words = []
    for word in VERDICTS:
        if ids := [claim["id"] for claim in claims if claim["verdict"] == word]:
            words.append(f"{len(ids)} {'is' if len(ids) == 1 else 'are'} {word} ({', '.join(ids)})")
    tested = sum(claim["verdict"] != USE for claim in claims)
    return f"Of the paper's {tested} claims, {', '.join(words) or 'none is judged'}."


def _by_load(saved: pd.DataFrame, agent: str) -> str:
    own = saved[saved["agent"] == agent]
    cells = {load: _cell(own[own["load"] == load]) for load in LOADS}
    return (
        ", ".join(f"{cell} % ({load})" for load, cell in cells.items() if cell) or "nothing known"
    )


def _cell(rows: pd.DataFrame, column: str = "saved") -> str:
    return " / ".join(f"{value:.3g}" for value in rows.sort_values("half")[column])


def _utilisation(saved: pd.DataFrame, ours: str, rival: str) -> str:
    head = ("utilisation", "default, times the best", f"`{ours}` saves, %", f"`{rival}` saves, %",
            "perfect reader saves, %", "oracle saves, %")  # fmt: skip
    rows = []
    for load in LOADS:
        own = saved[saved["load"] == load]
        cells = [_cell(own[own["agent"] == name]) for name in (ours, rival, READER, ORACLE)]
        rows.append((load, _cell(own[own["agent"] == ORACLE], "best"), *cells))
    halves = sorted(saved["half"].unique())
    both = " / ".join(HALVES[half] for half in halves)
    return (
        f"{_table(head, rows)}\n\nEach cell: {both}; the other half judges. A number is the "
        "geometric mean over the recordings of what is deployed after the registered number of "
        "episodes. A perfect reader always deploys what is best in the replayed half, and an "
        "oracle what is best by the judge."
    )


def _claims(claims: Sequence[Claim], evidence: Evidence, judged: Mapping[str, Judged]) -> list[str]:
    head = ("claim", "the paper", "agent", "measured", "asked", "oracle", "verdict", "why", "rule")
    rows = [
        (c["id"], c["paper"], f"`{c['agent']}`" if c["agent"] else "",
         " / ".join(c["measured"]) or "-", c["asked"], " / ".join(c["oracle"]) or "-",
         f"**{c['verdict']}**", c["reason"], f"made {c['rule']}")
        for c in claims
    ]  # fmt: skip
    said = [_table(head, rows)]
    if "C7" in judged and len(evidence.facts):
        one, facts = judged["C7"], evidence.facts
        own = facts[(facts["kind"] == one.kind) & facts["workload"].isin(one.claim.workloads)]
        beds = ", ".join(dict.fromkeys(own["testbed"]))
        loads = ", ".join(one.claim.workloads)
        said.append(
            f"C7 was tested on {beds}, under {loads}. Of its episodes, "
            f"{100 * own['seen'].mean():.0f} % replay a load that was seen in development. The "
            "other claims, all agents, and the numbers on each load are in notebook `08_claims`."
        )
    return said


def _when_a_region_pays(of_map: Sequence[str]) -> list[str]:
    if not of_map:
        return []
    picture = (
        "![Factors of the paper's agent over Q-learning by roughness and noise](region-map.png)"
    )
    return ["## When does a region pay?", picture, "\n".join(f"- {one}" for one in of_map)]


def conditions_section(judged: pd.DataFrame) -> str:
    """Return the section about the paper's conditions, in Markdown.

    Parameters
    ----------
    judged : DataFrame
        See :func:`rrl.studies.map_claims.judge_on_map`.
    """
    rough, noise = (
        ", ".join(f"{100 * level:g}" for level in PAPER_CONDITIONS[name])
        for name in ("roughness", "noise")
    )
    lines = []
    for id, rows in judged.groupby("claim", sort=False):
        side, unit = ("below", "%") if id == "C1" else ("above", "times")
        first = rows.groupby("measure", sort=False).first()
        said = [_said(first.loc[measure], unit) for measure in MEASURES]
        one = rows.iloc[0]
        lines.append((str(id), f"`{one['agent']}`", f"{side} {one['threshold']:g} {unit}", *said))
    head = ("claim", "agent", "asked", *(f"by what is {measure}" for measure in MEASURES))
    missing = judged[(judged["problems"] == 0) & (judged["measure"] == MEASURES[0])]
    absent = ", ".join(
        f"{row.claim}: {row.metric} against {row.against}" for row in missing.itertuples()
    )
    return "\n\n".join([
        "## Under the paper's conditions",
        f"On the map, these are the cells where neighbours differ by {rough} % and an episode has "
        f"a noise of {noise} %. They were declared before the map was "
        "computed. **Rule made after results**: that these cells judge C1 to C4 was decided "
        "when the map was known. The thresholds, the words and the code are the registered "
        "ones. The number is the first part's: episodes of Q-learning over those of the "
        "agent (for C3, of the best fixed radius), until what is served, or recommended, "
        "stays within 10 % of the best.",
        _table(head, lines),
        f"Parts for which the map has no runs ({absent}) cannot be met there.",
    ])  # fmt: skip


def _said(row: pd.Series, unit: str) -> str:
    """Return the number of a claim by one measure, and the verdict."""
    if not row["problems"]:
        oracle = f"measured again, the same configuration errs by {row['oracle']:.3g} {unit}"
        return f"**{row['verdict']}**: {oracle}"
    number = f"{row['value']:.3g} [{row['low']:.3g}, {row['high']:.3g}] {unit}"
    return f"{number}: **{row['verdict']}**"


def _lost(evidence: Evidence, ours: str) -> list[str]:
    said = [
        f"In these cases, `{ours}` costs over {100 * TOLERANCE:.0f} % more than another agent. "
        "A case is a steady load with one half replayed."
    ]
    cases = int(evidence.facts["load"].isin(LOADS).sum())
    for column, what in (("deployed", "Deployed cost"), ("mean_cost", "Mean cost while learning")):
        lost = lost_loads(evidence, ours, column).sort_values("ratio", ascending=False)
        rows = [
            (one.problem, HALVES[one.half], f"{one.ratio:.2f} times `{one.agent}`")
            for one in lost.itertuples()
        ]
        said.append(f"**{what}**: {len(rows)} of {cases} cases.")
        if rows:
            said.append(_table(("load", "half", f"cost of `{ours}`"), rows))
    return said


def _sure(judged: Mapping[str, Judged]) -> list[str]:
    apart, single = [], []
    for one in judged.values():
        numbers = one.of(one.claim.about)
        apart += [one.id] * (len({(n.met, n.direction) for n in numbers}) > 1)
        single += [one.id] * (len(numbers) < one.halves[one.kind])
    missing = f" Only one half is computed yet for {', '.join(single)}." if single else ""
    return [
        "A verdict on a recording needs both halves, and the weaker one counts. By their first "
        "numbers, the two halves would give different verdicts for "
        f"{', '.join(apart) or 'no claim'}.{missing}",
        "Brackets are 95 % intervals: for C1 over the loads; for C2, C3, C4 and C7 over the "
        "recordings and the seeds. For C5, C6 and C7 they include the error of the half that "
        "judges. All runs on a recording replay the same few episodes, so a second half says more "
        "about luck than more seeds do.",
    ]


def _log(registered: Registration) -> list[str]:
    rows = [
        (str(entry["date"]), " ".join(str(entry["moved"]).split()))
        for entry in registered.changes
        if "after all was read" in str(entry["reason"]).lower()
    ]
    digest = f"Registered in `data/claims.yaml`, SHA-256 {registered.digest}."
    return [_table(("date", "whose verdicts moved"), rows), f"`changes` there says why. {digest}"]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_claims(
    judged: Mapping[str, Judged],
    evidence: Evidence,
    registered: Registration,
    folder: str | os.PathLike[str],
    of_map: Sequence[str] = (),
    conditions: str = "",
) -> list[Claim]:
    """Write ``claims.json`` and ``claims.md`` with the same numbers, and return the claims.

    The sentences of `of_map` (:func:`rrl.studies.map_factors.map_words`) stand on the page, beside
    the figure of the map. The section `conditions` (:func:`conditions_section`) follows.
    """
    claims = [claim_row(one, registered) for one in judged.values()]
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_atomically(Path(folder) / "claims.json", json.dumps(claims, indent=1) + "\n")
    (ours,) = registered.columns["recommended"]
    saved = by_utilisation(evidence, (ours, *registered.columns["simple"], ORACLE, READER))
    rival = best_simple(saved, registered.columns["simple"])
    page = [
        "# Claims", lead(claims, saved, ours, rival), _utilisation(saved, ours, rival),
        "## Eight claims and one use", *_claims(claims, evidence, judged),
        *_when_a_region_pays(of_map), *filter(None, [conditions]),
        "## Where it is not the best", *_lost(evidence, ours),
        "## How sure", *_sure(judged),
        "## What changed after results", *_log(registered),
    ]  # fmt: skip
    write_atomically(Path(folder) / "claims.md", "\n\n".join(page) + "\n")
    return claims
