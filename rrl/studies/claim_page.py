"""The page of the claims: ``claims.md``, and ``claims.json`` with the same for programs.

``claim_page.md``, beside this module, contains the words of the page with a ``$name`` for each
number, list and table.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from rrl.recording.truth import TOLERANCE
from rrl.studies.claim_tables import LOADS, Evidence
from rrl.studies.claims import USE, VERDICTS, by_half
from rrl.studies.days import DEFAULT
from rrl.studies.map_cells import MEASURES
from rrl.studies.map_factors import PAPER_CONDITIONS
from rrl.studies.other_half import FIXED, ORACLE, READER
from rrl.studies.registration import Registration
from rrl.support.errors import DataError
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
    "C6": "it saves {own} of late requests; an oracle saves {oracle}: see its interval",
    "C7": "beside the default {own}; the best fixed configuration, known afterwards: {fixed}",
    "C8": "the real runtime in our server, not yet the binary",
    "C9": "generated devices: {own}; the best fixed configuration, known afterwards: {fixed}",
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


def claim_row(id: str, judged: pd.DataFrame, registered: Registration) -> Claim:
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
    claim, part = registered.claims[id], registered.claims[id].parts[0]

    def texts(agent: str) -> list[str]:
        both = by_half(judged, id, agent).itertuples()
        return [as_text(n.value, n.low, n.high, claim.unit) for n in both if n.problems]

    named = {"own": texts(claim.about), "oracle": texts(ORACLE), "fixed": texts(FIXED)}
    short = {  # without intervals
        name: re.sub(r" \[.*?\]", "", " / ".join(found)) or "none" for name, found in named.items()
    }
    own = judged[(judged["claim"] == id) & (judged["agent"] == claim.about) & judged["decides"]]
    testbeds = {name.split()[0] for names in own["problems"] for name in names}
    return {
        "id": id,
        "paper": claim.paper,
        "words": claim.words,
        "source": claim.source,
        "agent": claim.about,
        "kind": own["kind"].iloc[0],
        "verdict": own["verdict"].iloc[0],
        "reason": REASONS[id].format(**short),
        "rule": f"{'after' if testbeds & set(registered.already_read) else 'before'} results",
        "asked": f"{part.side} {part.threshold:g} {claim.unit}",
        "measured": named["own"],
        "oracle": named["oracle"],
        "registration": registered.digest,
    }


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

    The medians over the seeds are compared, by a column of `runs` such as "deployed".

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


def write_claims(
    judged: pd.DataFrame,
    evidence: Evidence,
    registered: Registration,
    folder: str | os.PathLike[str],
    of_map: Sequence[str],
    of_paper: pd.DataFrame,
    live: pd.DataFrame,
) -> list[Claim]:
    """Write ``claims.json`` and ``claims.md`` with the same numbers, and return the claims.

    `judged` is that of :func:`rrl.studies.claims.judge_all`. The page also says what the map says:
    `of_map`, the sentences of :func:`rrl.studies.map_factors.map_words`, and `of_paper`, the table
    of :func:`rrl.studies.map_claims.judge_on_map`. `live` is that of
    :func:`rrl.studies.side_by_side.judge_live`.

    Raises
    ------
    DataError
        If not all registered live runs are there: nobody reads them before the last one.
    """
    present, wanted = int(live["runs"].iloc[0]), registered.live["runs"]
    if present != wanted:
        raise DataError(
            f"{registered.live['recording']}: {present} runs, and {wanted} are registered; "
            "the page is written after the last one"
        )
    claims = [claim_row(id, judged, registered) for id in registered.claims]
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_atomically(Path(folder) / "claims.json", json.dumps(claims, indent=1) + "\n")
    (ours,) = registered.columns["recommended"]
    missing = of_paper[(of_paper["problems"] == 0) & (of_paper["measure"] == MEASURES[0])]
    absent = (f"{row.claim}: {row.metric} against {row.against}" for row in missing.itertuples())
    page = Template(Path(__file__).with_suffix(".md").read_text(encoding="utf-8")).substitute(
        counted=counted(claims),
        claims=_claims(claims),
        of_map="\n".join(f"- {one}" for one in of_map),
        of_paper=_of_paper(of_paper, registered),
        absent=", ".join(absent),
        deployed=_lost(evidence, ours, "deployed"),
        mean_cost=_lost(evidence, ours, "mean_cost"),
        differ=", ".join(_differ(judged, registered)) or "no claim",
        changes=_changes(registered),
        digest=registered.digest,
        tolerance=f"{100 * TOLERANCE:g}",
        **{
            name: ", ".join(f"{100 * level:g}" for level in levels)
            for name, levels in PAPER_CONDITIONS.items()
        },
        **_live(live, ours),
        **_savings(evidence, ours, registered.columns["simple"]),
        **_where_tested("C7", judged, evidence, registered),
    )
    write_atomically(Path(folder) / "claims.md", page)
    return claims


def _savings(evidence: Evidence, ours: str, simple: Sequence[str]) -> dict[str, str]:
    """Return what we, the best simple rival and an oracle save, as sentences and as a table."""
    saved = by_utilisation(evidence, (ours, *simple, ORACLE, READER))
    rival = best_simple(saved, simple)

    def cells(agent: str, column: str = "saved") -> dict[str, str]:
        """Return a number for each half, by load."""
        own = saved[saved["agent"] == agent].groupby("load")[column]
        return {str(load): " / ".join(f"{x:.3g}" for x in both) for load, both in own}

    def sentence(agent: str) -> str:
        by_load = cells(agent)
        return ", ".join(f"{by_load[load]} % ({load})" for load in LOADS if load in by_load)

    head = ("utilisation", "default, times the best", f"`{ours}` saves, %", f"`{rival}` saves, %",
            "perfect reader saves, %", "oracle saves, %")  # fmt: skip
    columns = cells(ORACLE, "best"), *map(cells, (ours, rival, READER, ORACLE))
    rows = [(load, *(column.get(load, "") for column in columns)) for load in LOADS]
    said = {"ours_saves": ours, "rival_saves": rival, "oracle_saves": ORACLE}
    return {
        "ours": ours,
        "rival": rival,
        "utilisation": _table(head, rows),
        **{name: sentence(agent) for name, agent in said.items()},
    }


def _claims(claims: Sequence[Claim]) -> str:
    head = ("claim", "the paper", "agent", "measured", "asked", "oracle", "verdict", "why", "rule")
    rows = [
        (c["id"], c["paper"], f"`{c['agent']}`" if c["agent"] else "",
         " / ".join(c["measured"]) or "-", c["asked"], " / ".join(c["oracle"]) or "-",
         f"**{c['verdict']}**", c["reason"], f"made {c['rule']}")
        for c in claims
    ]  # fmt: skip
    return _table(head, rows)


def _where_tested(
    id: str, judged: pd.DataFrame, evidence: Evidence, registered: Registration
) -> dict[str, str]:
    """Return on which testbeds and loads a claim was tested, and how much of this was seen (%)."""
    facts, workloads = evidence.facts, registered.claims[id].workloads
    kinds = judged.loc[(judged["claim"] == id) & judged["decides"], "kind"]
    own = facts[facts["kind"].isin(kinds) & facts["workload"].isin(workloads)]
    return {
        "testbeds": ", ".join(dict.fromkeys(own["testbed"])),
        "workloads": ", ".join(workloads),
        "seen": f"{100 * own['seen'].mean():.0f}",
    }


def _of_paper(judged: pd.DataFrame, registered: Registration) -> str:
    """Return the table of the claims under the paper's conditions, by their first parts."""
    lines = []
    for id, rows in judged.drop_duplicates(["claim", "measure"]).groupby("claim", sort=False):
        one, unit, said = rows.iloc[0], registered.claims[str(id)].unit, []
        for row in rows.itertuples():
            number = f"{row.value:.3g} [{row.low:.3g}, {row.high:.3g}] {unit}"
            again = f"measured again, the same configuration errs by {row.oracle:.3g} {unit}"
            word = f"**{row.verdict}**"
            said.append(f"{number}: {word}" if row.problems else f"{word}: {again}")
        asked = f"{one['side']} {one['threshold']:g} {unit}"
        lines.append((str(id), f"`{one['agent']}`", asked, *said))
    return _table(("claim", "agent", "asked", *(f"by what is {m}" for m in MEASURES)), lines)


def _live(judged: pd.DataFrame, ours: str) -> dict[str, str]:
    """Return how many live runs there are, what they say about us, and their table."""
    rows = []
    for name, parts in judged.groupby("contestant", sort=False):
        numbers = (as_text(one.ratio, one.low, one.high) for one in parts.itertuples())
        any_part = parts.iloc[0]
        kept = f"{any_part['kept']} of {any_part['runs']}"
        rows.append((f"`{name}`", *numbers, f"**{any_part['verdict']}**", kept))
    head = ("contestant", *judged["part"].unique(), "verdict", "default kept")
    return {
        "live_runs": str(judged["runs"].iloc[0]),
        "live_verdict": str(judged.loc[judged["contestant"] == ours, "verdict"].iloc[0]),
        "live": _table(head, rows),
    }


def _lost(evidence: Evidence, ours: str, column: str) -> str:
    """Return where another agent costs less than ours, by a column of the runs."""
    lost = lost_loads(evidence, ours, column).sort_values("ratio", ascending=False)
    rows = [
        (one.problem, HALVES[one.half], f"{one.ratio:.2f} times `{one.agent}`")
        for one in lost.itertuples()
    ]
    cases = int(evidence.facts["load"].isin(LOADS).sum())
    table = _table(("load", "half", f"cost of `{ours}`"), rows)
    return f"{len(rows)} of {cases} cases." + (f"\n\n{table}" if rows else "")


def _differ(judged: pd.DataFrame, registered: Registration) -> list[str]:
    """Return the claims to which the first numbers of both halves give different verdicts."""
    words = ["met", "directed"]
    return [
        id
        for id, claim in registered.claims.items()
        if len(by_half(judged, id, claim.about)[words].drop_duplicates()) > 1
    ]


def _changes(registered: Registration) -> str:
    """Return the changes after results that moved verdicts, and count the others."""
    moved = [
        (str(entry["date"]), " ".join(str(entry["moved"]).split()))
        for entry in registered.changes
        if "after all was read" in str(entry["reason"]).lower()
    ]
    rows = [row for row in moved if row[1] != "nobody's"]
    others = f"{len(moved) - len(rows)} further changes moved nobody's verdict."
    return f"{_table(('date', 'whose verdicts moved'), rows)}\n\n{others}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
