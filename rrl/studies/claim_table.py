"""What each claim comes to: its number, its verdicts, and the sentences that belong to it.

:mod:`rrl.studies.claim_page` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rrl.studies.claim_numbers import Number
from rrl.studies.claims import Judged
from rrl.studies.registered import Registration

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Column:
    """What was measured for one agent: a number as text, and a verdict, twice.

    Parameters
    ----------
    measured, verdict : str
        By the problems of the kind that decides.
    simulated, simulated_verdict : str
        By the simulated problems; empty if the agent has no such number.
    """

    measured: str
    verdict: str
    simulated: str = ""
    simulated_verdict: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim with what was measured, as the two files have it.

    Parameters
    ----------
    id, paper, words, source, ours : str
        `id` is the number of the claim. `paper` is what the paper says in short, and `words` in its
        own words, which stand in `source`. `ours` is what we measure to compare with it.
    value, low, high : float or None
        The measured number and the limits of its 95 % interval, in `unit`. None if no problem can
        test the claim.
    unit, testbed : str
        `testbed` says on which problems the number rests.
    verdict : str
        One of :data:`rrl.studies.registration.VERDICTS`, for `agent`, by the problems of `kind`.
    needs, parts, notes : list of str
        What each verdict needs; what each part of the claim needs and got; all else that belongs to
        the claim. Each is a sentence or a phrase.
    agent, kind : str
        The agent that the verdict is about, and the kind of problems that decides.
    columns : mapping of str to Column
        What was measured for each agent, the best rival last.
    registration : str
        The SHA-256 of the registration that the verdict follows from.
    """

    id: str
    paper: str
    words: str
    source: str
    ours: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    testbed: str
    verdict: str
    needs: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    agent: str = ""
    kind: str = ""
    columns: dict[str, Column] = field(default_factory=dict)
    registration: str = ""

    @property
    def measured(self) -> str:
        """The number as text, with its interval if it has one and with its unit."""
        if self.value is None or self.low is None or self.high is None:
            return "-"
        return as_text(self.value, self.low, self.high, self.unit)


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


def row_of(
    judged: Judged,
    registered: Registration,
    limits: pd.DataFrame,
    alone: Mapping[str, Judged] | None = None,
) -> Claim:
    """Return what a claim comes to.

    Parameters
    ----------
    judged : Judged
    registered : Registration
    limits : DataFrame
        What each problem can test, see :func:`rrl.studies.claims.problems_table`.
    alone : mapping of str to Judged, optional
        The same claim by one source of data alone, by the name of the source. Each becomes a note.
    """
    claim, found = judged.claim, judged.number
    numbers = [x if np.isfinite(x) else None for x in (found.value, found.low, found.high)]
    notes = [*_reasons(judged), *_tested(judged, registered, limits)]
    for source, one in (alone or {}).items():
        notes += _alone(judged, source, one)
    notes += [claim.history] if claim.history else []
    return Claim(
        judged.id, claim.paper, claim.words, claim.source, claim.ours, *numbers, claim.unit,
        _where(judged, found), judged.verdict, [f"{w}: {need}" for w, need in claim.needs.items()],
        _parts(judged), notes, claim.about, judged.kind, _columns(judged), registered.digest,
    )  # fmt: skip


def _columns(judged: Judged) -> dict[str, Column]:
    """Return a column for each agent; the best rival may differ between the two kinds."""

    def entry(kind: str, agent: str) -> tuple[str, str]:
        numbers = judged.numbers.get((kind, agent))
        return (_words(numbers[0]), judged.word(kind, agent)) if numbers else ("", "")

    known = (*judged.agents, *(agent for kind, agent in judged.numbers if kind == "simulated"))
    named = dict.fromkeys(agent for agent in known if agent)
    return {name: Column(*entry(judged.kind, name), *entry("simulated", name)) for name in named}


def _alone(judged: Judged, source: str, one: Judged) -> list[str]:
    """Say what each agent was served by one source of data alone."""
    said = []
    for agent in judged.agents:
        found = one.numbers.get((judged.kind, agent), (Number(),))[0]
        if agent and found.tested:
            better = sum(each > 1 for each in found.each)
            said.append(f"by {source} alone, {agent}: {_words(found)}, better on {better} of "
                        f"{len(found.each)} loads")  # fmt: skip
    return said


def _where(judged: Judged, found: Number) -> str:
    """Say on which problems the number rests."""
    if not found.tested:
        return f"no {judged.kind} problem can test it"
    if judged.claim.parts[0].statistic == "largest":
        return found.problems[int(np.argmax(found.each))]
    testbeds = dict.fromkeys(name.split()[0] for name in found.problems)
    return f"{len(found.problems)} {judged.kind}: {', '.join(testbeds)}"


def _parts(judged: Judged) -> list[str]:
    """Return what each part needs, and what it got."""
    said = []
    pairs = zip(judged.claim.parts, judged.numbers[judged.kind, judged.claim.about], strict=True)
    for part, found in pairs:
        side = "above" if part.above is not None else "below"
        everywhere = " on every load" if part.statistic == "all of a family" else ""
        limit = (
            f", the interval must be {side} {found.threshold:.3g}{everywhere}"
            if found.tested
            else ""
        )
        met = "met" if found.met else "not met"
        said.append(f"{met}: {part.metric} against {part.against} {_words(found)}{limit}")
    return said


def _reasons(judged: Judged) -> list[str]:
    """Return the numbers of the other kinds, and what else belongs to the claim, as phrases."""
    claim, kind, said = judged.claim, judged.kind, []
    found = judged.number
    if claim.parts[0].statistic == "largest" and found.tested:
        said.append(f"median over {len(found.each)} loads {np.median(found.each):.3g} %")
        over = judged.numbers.get(("overload", claim.about), (Number(),))[0]
        if over.tested:
            said.append(f"overload, apart: {_words(over)} %")
    if claim.parts[0].statistic == "median" and 0 < len(found.each) <= 5:
        said.append(f"the brackets are no interval but the range of {len(found.each)} loads")
    if claim.parts[0].statistic == "all of a family" and found.tested:
        better = sum(value > 1 for value in found.each)
        said.append(f"a lower mean on {better} of {len(found.each)} loads")
    for other in ("real", "simulated"):
        if other != kind and claim.about:
            text = _words(judged.numbers[other, claim.about][0])
            said.append(f"{other}: {text} ({judged.word(other, claim.about)})")
    if claim.earlier is not None:
        said.append(f"the earlier paper's number is {claim.earlier:g} %")
    tuned = claim.objective == "late"
    return said + (["the agents minimise the fraction of late requests"] if tuned else [])


def _tested(judged: Judged, registered: Registration, limits: pd.DataFrame) -> list[str]:
    """Say what the problems can test: good configurations, ceilings, and what is left out."""
    claim, said = judged.claim, []
    if limits.empty or not claim.about:
        return said
    limits = limits[limits["workload"].isin(claim.workloads or ("",))]
    metrics = {part.metric for part in claim.parts}
    rows = limits[limits["kind"] == judged.kind]
    fit = rows[rows["problem"].isin(judged.number.problems)]
    if "similarity" in metrics and len(fit):
        said.append(f"no copy can be closer than neighbours are: two that are one step apart "
                    f"differ by {_span(100 * fit['step'])} % (median of a load)")  # fmt: skip
    if "speed" in metrics and len(fit):
        said.append(f"to be found is what is within 5 %, but within a radius of 3 configurations "
                    f"differ by {_span(100 * fit['region'])} %, so a copy blurs it")  # fmt: skip
        said.append(f"a random order meets a good one after {_span(fit['chance'])} episodes on "
                    "average")  # fmt: skip
        good, of = fit["good"], fit["configurations"]
        said.append(f"{good.min()} to {good.max()} of {of.min()} to {of.max()} configurations are "
                    "within 5 % there")  # fmt: skip
    for part in claim.parts:
        most = rows[rows["judged"].astype(bool)].get(f"ceiling_{part.against}")
        if part.least_ceiling and most is not None and len(most):
            said.append(f"the speed of {part.against} itself allows {most.min():.3g} to "
                        f"{most.max():.3g} times, at least {part.least_ceiling:g} on "
                        f"{(most >= part.least_ceiling).sum()} of the {len(most)} loads that can "
                        "judge speed")  # fmt: skip
    for kind in (judged.kind, "simulated") if metrics & {"latency", "late", "served"} else ():
        near = limits[(limits["kind"] == kind) & ~limits["saves"].astype(bool)]
        if len(near):
            names = ", ".join(dict.fromkeys(name.split()[0] for name in near["problem"]))
            said.append(f"left out, {kind}, as the default is within "
                        f"{100 * registered.rules.least_gap:g} % of the best: {len(near)} loads "
                        f"of {names}")  # fmt: skip
    return said


def _span(values: pd.Series) -> str:
    return f"{values.min():.3g} to {values.max():.3g}"


def _words(found: Number) -> str:
    return as_text(found.value, found.low, found.high) if found.tested else "no problem can test it"
