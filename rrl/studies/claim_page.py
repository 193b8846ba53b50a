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
from typing import Any

import numpy as np
import pandas as pd

from rrl.recording.truth import TOLERANCE
from rrl.studies.claim_tables import LOADS, Evidence
from rrl.studies.claims import REFERENCES, RESAMPLES, USE, VERDICTS, by_half, confirmed
from rrl.studies.days import DEFAULT
from rrl.studies.map_cells import MEASURES
from rrl.studies.map_claims import on_map
from rrl.studies.map_factors import PAPER_CONDITIONS
from rrl.studies.other_half import ORACLE, READER
from rrl.studies.registration import Registration
from rrl.support.errors import DataError
from rrl.support.files import write_atomically

Claim = Mapping[str, Any]
"""What a claim comes to, see :func:`claim_row`."""
HALVES = ("first half replayed", "second half replayed")
REASONS = {
    "C1": "a copy errs by {measured}; the same configuration measured again by {oracle}",
    "C2": "{measured} here; notebook 04 proves upper bounds, also for larger grids",
    "C3": "mean cost of radius 1 over its own is {measured}",
    "C4": "median episodes of Q-learning over its own are {measured}",
    "C5": "it saves {measured}; an oracle, who always knows, saves {oracle}",
    "C6": "it saves {measured} of late requests; an oracle saves {oracle}: see its interval",
    "C7": "beside the default {measured}; the best fixed configuration, known afterwards: {fixed}",
    "C8": "{measured} on the runtime in our server; the claim also needs the binary",
    "C9": "generated devices: {measured}; the best fixed configuration, known afterwards: {fixed}",
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


def _without_intervals(numbers: Iterable[str]) -> str:
    """Return the numbers of both halves as one text."""
    return re.sub(r" \[.*?\]", "", " / ".join(numbers)) or "none"


def claim_row(id: str, judged: pd.DataFrame, registered: Registration) -> Claim:
    """Return what a claim comes to, by name, as both files have it.

    Returns
    -------
    dict
        `paper` is what the paper says in short, `words` its own words, which stand in `source`, and
        `ours` is what we measure. The verdict is about `agent`, by the problems of `kind` on the
        `recordings`, and `why` explains it. `asked` is the threshold. `measured` has the number of
        the first part for each half, of the agent ("-" where one half has none, and nothing where
        neither has one); `oracle`, `reader` and `fixed` have those of the references.
        `registration` is the SHA-256 of the registration from which the verdict follows.
    """
    claim = registered.claims[id]
    own = judged[(judged["claim"] == id) & (judged["agent"] == claim.about) & judged["decides"]]

    def texts(agent: str) -> list[str]:
        both = list(by_half(judged, id, agent).itertuples())
        known = [as_text(n.value, n.low, n.high, claim.unit) if n.problems else "-" for n in both]
        return known if set(known) - {"-"} else []

    numbers = {"measured": texts(claim.about)} | {name: texts(name) for name in REFERENCES}
    short = {name: _without_intervals(both) for name, both in numbers.items()}
    return {
        "id": id,
        "paper": claim.paper,
        "words": claim.words,
        "source": claim.source,
        "ours": claim.ours,
        "agent": claim.about,
        "kind": own["kind"].iloc[0],
        "recordings": sorted({name.split()[0] for names in own["problems"] for name in names}),
        "verdict": own["verdict"].iloc[0],
        "why": REASONS[id].format(**short),
        "asked": claim.asked,
        **numbers,
        "registration": registered.digest,
    }


def by_utilisation(evidence: Evidence, agents: Iterable[str]) -> pd.DataFrame:
    """Return what each agent saves on recordings, and what its learning costs, by utilisation.

    Returns
    -------
    DataFrame
        One row per load (low, middle, high), agent and half. `saved` is in percent of the default's
        mean latency: one minus the geometric mean, over the recordings, of the median latency over
        the seeds of what is deployed after the registered number of episodes, over the default's.
        `mean_cost` is the geometric mean, over the recordings, of the median over the seeds of the
        mean cost of all episodes over the best. `recordings` counts them.
    """
    runs = evidence.runs[evidence.runs["load"].isin(LOADS)]
    medians = runs.groupby(["load", "problem", "half", "agent"])[
        ["latency_s", "mean_cost"]
    ].median()
    latency = medians["latency_s"].unstack().reindex(columns=[*agents, DEFAULT])  # may lack some
    ratios = np.log(latency.div(latency.pop(DEFAULT), axis="index")).stack().dropna()
    by = ["load", "agent", "half"]
    groups, learning = ratios.groupby(by), np.log(medians["mean_cost"]).groupby(by)
    table = pd.DataFrame({"saved": 100 * (1 - np.exp(groups.mean())), "recordings": groups.size()})
    table.insert(1, "mean_cost", np.exp(learning.mean()))
    table = table.reset_index()
    order = table["load"].map(LOADS.index)
    return table.iloc[np.lexsort((table["half"], table["agent"], order))].reset_index(drop=True)


def best_simple(table: pd.DataFrame, simple: Sequence[str]) -> str:
    """Return the simple rival that saves most on average, looked up afterwards."""
    means = table[table["agent"].isin(list(simple))].groupby("agent")["saved"].mean()
    return str(means.idxmax()) if len(means) else simple[0]


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
    apart: pd.DataFrame,
) -> list[Claim]:
    """Write ``claims.json`` and ``claims.md`` with the same numbers, and return the claims.

    `judged` is that of :func:`rrl.studies.claims.judge_all`. The page also says what the map says:
    `of_map`, the sentences of :func:`rrl.studies.map_factors.map_words`, and `of_paper`, the table
    of :func:`rrl.studies.map_claims.judge_on_map`. `live` is that of
    :func:`rrl.studies.side_by_side.judge_live`. `apart` is as `judged`, by the problems that
    confirm (:meth:`rrl.studies.registration.Registration.confirming`).

    Raises
    ------
    DataError
        If not all registered live runs are there: nobody reads them before the last one.
    """
    present, wanted = live["runs"].iloc[0], registered.live["runs"]
    if present != wanted:
        raise DataError(
            f"{registered.live['recording']}: {present} runs, and {wanted} are registered; "
            "the page is written after the last one"
        )
    claims = [claim_row(id, judged, registered) for id in registered.claims]
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_atomically(Path(folder) / "claims.json", json.dumps(claims, indent=1) + "\n")
    (ours,), simple = (registered.columns[name] for name in ("recommended", "simple"))
    saved = by_utilisation(evidence, (ours, *simple, READER, ORACLE))
    known = next((one["read"] for one in registered.changes[::-1] if "read" in one), ())
    page = Template(Path(__file__).with_suffix(".md").read_text(encoding="utf-8")).substitute(
        ours=ours,
        counted=counted(claims),
        claims=_claims(claims),
        after=_ids(one for one in claims if {*one["recordings"]} & {*known}),
        alone=_ids(one for one in claims if len(one["recordings"]) == 1),
        of_map="\n".join(f"- {one}" for one in of_map),
        of_paper=_of_paper(of_paper, registered),
        deployed=lost_cases(evidence, ours, "deployed"),
        mean_cost=lost_cases(evidence, ours, "mean_cost"),
        live_runs=present,
        live=_live(live),
        confirmed=_confirmed(judged, apart, registered),
        changes=_changes(registered),
        digest=registered.digest,
        confirming_rule=" ".join(registered.confirmed_by["rule"].split()),
        tolerance=f"{100 * TOLERANCE:g}",
        draws=f"{RESAMPLES:,}",
        **{
            name: ", ".join(f"{100 * level:g}" for level in levels)
            for name, levels in PAPER_CONDITIONS.items()
        },
        **_savings(saved, ours, best_simple(saved, simple)),
        **_where_tested("C7", judged, evidence.served),
    )
    write_atomically(Path(folder) / "claims.md", page)
    return claims


def _savings(saved: pd.DataFrame, ours: str, rival: str) -> dict[str, str]:
    """Return what we, the best simple rival and an oracle save, as sentences and as a table."""
    saved = saved.assign(times=1 / (1 - saved["saved"] / 100))  # the oracle's is the best

    def cells(agent: str, column: str = "saved") -> list[str]:
        """Return a number of both halves for each load."""
        own = saved[saved["agent"] == agent]
        by_load = (own.loc[own["load"] == load, column] for load in LOADS)
        return [" / ".join(f"{x:.3g}" for x in both) for both in by_load]

    def sentence(agent: str) -> str:
        by_load = zip(LOADS, cells(agent), strict=True)
        return ", ".join(f"{both} % ({load})" for load, both in by_load if both)

    head = ("utilisation", "default, times the best", f"`{ours}` saves, %", f"`{rival}` saves, %",
            "perfect reader saves, %", "oracle saves, %")  # fmt: skip
    columns = cells(ORACLE, "times"), *map(cells, (ours, rival, READER, ORACLE))
    return {
        "rival": rival,
        "ours_saves": sentence(ours),
        "rival_saves": sentence(rival),
        "oracle_saves": sentence(ORACLE),
        "utilisation": markdown_table(head, list(zip(LOADS, *columns, strict=True))),
    }


def _claims(claims: Sequence[Claim]) -> str:
    head = ("claim", "the paper", "agent", "measured", "asked", "oracle", "verdict", "why")
    rows = [
        (c["id"], c["paper"], f"`{c['agent']}`" if c["agent"] else "",
         " / ".join(c["measured"]) or "-", c["asked"], " / ".join(c[ORACLE]) or "-",
         f"**{c['verdict']}**", c["why"])
        for c in claims
    ]  # fmt: skip
    return markdown_table(head, rows)


def _ids(claims: Iterable[Claim]) -> str:
    return ", ".join(claim["id"] for claim in claims) or "no claim"


def _where_tested(id: str, judged: pd.DataFrame, served: pd.DataFrame) -> dict[str, str]:
    """Return on which recordings and loads a claim was tested, and how much was seen before (%)."""
    problems = judged.loc[(judged["claim"] == id) & judged["decides"], "problems"]
    own = served[served["problem"].isin(problems.explode())]
    return {
        "recordings": ", ".join(sorted({name.split()[0] for name in own["problem"]})),
        "workloads": ", ".join(own["workload"].unique()),
        "seen": f"{100 * own['seen'].mean():.0f}",
    }


def _of_paper(judged: pd.DataFrame, registered: Registration) -> str:
    """Return the table of the claims under the paper's conditions, by their first parts."""
    lines, there = [], on_map(registered)
    for id, claim in there.claims.items():
        said = []
        for measure in MEASURES:
            own = judged[judged["kind"] == measure].assign(decides=True)
            row = claim_row(id, own, there)
            oracle = _without_intervals(row[ORACLE])
            again = f"measured again, the same configuration errs by {oracle}"
            number, word = row["measured"], f"**{row['verdict']}**"
            said.append(f"{number[0]}: {word}" if number else f"{word}: {again}")
        lines.append((id, f"`{claim.about}`", claim.asked, *said))
    head = ("claim", "agent", "asked", *(f"by what is {measure}" for measure in MEASURES))
    return markdown_table(head, lines)


def _live(judged: pd.DataFrame) -> str:
    """Return the table of the live runs."""
    rows = []
    for name, own in judged.groupby("contestant", sort=False):
        numbers = (as_text(one.ratio, one.low, one.high) for one in own.itertuples())
        first = own.iloc[0]
        kept = f"{first['kept']} of {first['runs']}"
        rows.append((f"`{name}`", *numbers, f"**{first['verdict']}**", kept))
    return markdown_table(("contestant", *judged["part"].unique(), "verdict", "default kept"), rows)


def _confirmed(judged: pd.DataFrame, apart: pd.DataFrame, registered: Registration) -> str:
    """Return the verdicts by the problems that confirm, beside those of the claims."""
    rows, there = [], registered.confirming()
    for id in there.claims:
        above, below = claim_row(id, judged, registered), claim_row(id, apart, there)
        numbers = " / ".join(below["measured"]) or "- / -"
        said = confirmed(id, above["agent"], judged, apart)
        rows.append((id, numbers, below["asked"], below["verdict"], above["verdict"], said))
    head = ("claim", "measured there", "asked", "verdict there", "verdict above", "confirmed")
    return markdown_table(head, rows)


def lost_cases(evidence: Evidence, ours: str, column: str) -> str:
    """Return where another agent costs less than ours, by the medians of a column of the runs."""
    runs = evidence.runs[evidence.runs["kind"].isin(["real", "held_out"])]
    runs = runs[~runs["agent"].isin([*REFERENCES, DEFAULT])]
    if runs.empty:
        return "0 of 0 cases."
    cells = runs.pivot_table(column, ["problem", "half"], "agent", "median")
    others = cells.drop(columns=ours)
    lost = (cells[ours] / others.min(axis=1)).sort_values(ascending=False)
    lost = lost[lost > 1 + TOLERANCE]
    rows = [
        (problem, HALVES[half], f"{ratio:.2f} times `{others.loc[(problem, half)].idxmin()}`")
        for (problem, half), ratio in lost.items()
    ]
    table = markdown_table(("load", "half", f"cost of `{ours}`"), rows)
    return f"{len(rows)} of {len(cells)} cases." + (f"\n\n{table}" if rows else "")


def _changes(registered: Registration) -> str:
    """Return the changes after results that moved verdicts, and count the others."""
    moved = [
        (str(entry["date"]), " ".join(str(entry["moved"]).split()))
        for entry in registered.changes
        if "after all was read" in str(entry["reason"]).lower()
    ]
    rows = [row for row in moved if row[1] != "nobody's"]
    others = f"{len(moved) - len(rows)} further changes moved nobody's verdict."
    return f"{markdown_table(('date', 'whose verdicts moved'), rows)}\n\n{others}"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown.

    Examples
    --------
    >>> print(markdown_table(("agent", "verdict"), [("`rrl`", "shown")]))
    | agent | verdict |
    | --- | --- |
    | `rrl` | shown |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
