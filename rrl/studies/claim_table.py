"""The table of claims: its rows, and the two files that contain it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rrl.studies.claim_numbers import Number
from rrl.studies.claims import Judged
from rrl.studies.registered import Registration

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Claim:
    """A row of the claims table.

    Parameters
    ----------
    id, paper, ours : str
        `id` is the number of the claim. `paper` is what the paper says. `ours` is what we measure
        to compare with it.
    value, low, high : float or None
        The measured number and the limits of its 95 % interval, in `unit`. None if no problem can
        test the claim.
    unit, testbed : str
        `testbed` says on which problems the number rests.
    verdict : str
        One of :data:`rrl.studies.registration.VERDICTS`, for `agent`, by the problems of `kind`.
    why : str
        These are the other numbers that belong to the claim.
    agent, kind : str
        The agent that the row is about, and the kind of problems that decides.
    verdicts, simulated : mapping of str to str
        The verdict for each agent, the best rival last, by the kind that decides, and by the
        simulated problems.
    registration : str
        The SHA-256 of the registration that the verdict follows from.
    """

    id: str
    paper: str
    ours: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    testbed: str
    verdict: str
    why: str
    agent: str = ""
    kind: str = ""
    verdicts: dict[str, str] = field(default_factory=dict)
    simulated: dict[str, str] = field(default_factory=dict)
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


def row_of(judged: Judged, registered: Registration, limits: pd.DataFrame) -> Claim:
    """Return the row of a claim.

    Parameters
    ----------
    judged : Judged
    registered : Registration
    limits : DataFrame
        What each problem can test, see :func:`rrl.studies.claims.problems_table`.
    """
    claim, found = judged.claim, judged.number
    numbers = [x if np.isfinite(x) else None for x in (found.value, found.low, found.high)]
    named = [agent for agent in judged.agents if agent]
    simulated = {
        agent: judged.word("simulated", agent)
        for kind, agent in judged.numbers
        if kind == "simulated" and agent
    }
    why = [*_parts(judged), *_reasons(judged, registered), *_tested(judged, registered, limits)]
    why += [claim.history] if claim.history else []
    return Claim(
        judged.id, claim.paper, claim.ours, *numbers, claim.unit, _where(judged, found),
        judged.verdict, "; ".join(why), claim.about, judged.kind,
        {agent: judged.word(judged.kind, agent) for agent in named}, simulated, registered.digest,
    )  # fmt: skip


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
            f", needs to be surely {side} {found.threshold:.3g}{everywhere}" if found.tested else ""
        )
        met = "met" if found.met else "not met"
        said.append(f"{met}: {part.metric} against {part.against} {_words(found)}{limit}")
    return said


def _reasons(judged: Judged, registered: Registration) -> list[str]:
    """Return the numbers of the other agents and kinds, each as a phrase."""
    claim, kind, said = judged.claim, judged.kind, []
    for agent in judged.agents:
        if agent not in (claim.about, ""):
            role = "best rival " if agent in registered.rivals else ""
            text = f"{role}{agent}: {_words(judged.numbers[kind, agent][0])}"
            said.append(f"{text} ({judged.word(kind, agent)})")
    found = judged.number
    if claim.parts[0].statistic == "largest" and found.tested:
        said.append(f"median over {len(found.each)} loads {np.median(found.each):.3g} %")
        over = judged.numbers.get(("overload", claim.about), (Number(),))[0]
        if over.tested:
            said.append(f"overload, apart: {_words(over)} %")
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
    return said + (["the agents minimise the share of late requests"] if tuned else [])


def _tested(judged: Judged, registered: Registration, limits: pd.DataFrame) -> list[str]:
    """Say what the problems can test: good configurations, ceilings, and what is left out."""
    claim, said = judged.claim, []
    if limits.empty or not claim.about:
        return said
    limits = limits[limits["workload"].isin(claim.workloads or ("",))]
    metrics = {part.metric for part in claim.parts}
    rows = limits[limits["kind"] == judged.kind]
    fit = rows[rows["problem"].isin(judged.number.problems)]
    if "speed" in metrics and len(fit):
        good, of = fit["good"], fit["configurations"]
        said.append(f"{good.min()} to {good.max()} of {of.min()} to {of.max()} configurations are "
                    "within 5 % there")  # fmt: skip
    for part in claim.parts:
        if part.least_ceiling and len(rows):
            most = rows[f"ceiling_{part.against}"]
            said.append(f"the speed of {part.against} itself allows {most.min():.3g} to "
                        f"{most.max():.3g} times, at least {part.least_ceiling:g} on "
                        f"{(most >= part.least_ceiling).sum()} of {len(rows)} loads")  # fmt: skip
    for kind in (judged.kind, "simulated") if metrics & {"latency", "late", "served"} else ():
        near = limits[(limits["kind"] == kind) & ~limits["saves"].astype(bool)]
        if len(near):
            names = ", ".join(dict.fromkeys(name.split()[0] for name in near["problem"]))
            said.append(f"left out, {kind}, as the default is within "
                        f"{100 * registered.rules.least_gap:g} % of the best: {len(near)} loads "
                        f"of {names}")  # fmt: skip
    return said


def _words(found: Number) -> str:
    return as_text(found.value, found.low, found.high) if found.tested else "no problem can test it"


def write_claims(claims: Sequence[Claim], folder: str | os.PathLike[str]) -> None:
    """Write ``claims.json`` and ``claims.md``; both contain the same numbers."""
    from rrl.support.files import write_atomically

    rows = [
        {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in asdict(c).items()}
        for c in claims
    ]
    head = ("claim", "the paper", "ours", "measured", "testbed", "agent", "verdict",
            "verdicts by agent", "simulated", "why")  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for c in claims:
        by = (", ".join(f"{agent} {word}" for agent, word in words.items())
              for words in (c.verdicts, c.simulated))  # fmt: skip
        cells = (c.id, c.paper, c.ours, c.measured, c.testbed, c.agent, f"**{c.verdict}**", *by)
        lines.append("| " + " | ".join((*cells, c.why)) + " |")
    if claims:
        lines += ["", f"Registered in `data/claims.yaml`, SHA-256 {claims[0].registration}."]
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_atomically(Path(folder) / "claims.json", json.dumps(rows, indent=1) + "\n")
    write_atomically(Path(folder) / "claims.md", "\n".join(lines) + "\n")
