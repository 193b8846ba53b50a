"""The table of claims: its rows, and the two files that contain it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from rrl.studies.claim_numbers import Number
from rrl.studies.claims import Judged
from rrl.studies.registration import Registration


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


def row_of(judged: Judged, registered: Registration) -> Claim:
    """Return the row of a claim."""
    claim, found = judged.claim, judged.number
    numbers = [x if np.isfinite(x) else None for x in (found.value, found.low, found.high)]
    named = [agent for agent in judged.agents if agent]
    simulated = {
        agent: judged.word("simulated", agent)
        for kind, agent in judged.numbers
        if kind == "simulated" and agent
    }
    return Claim(
        judged.id, claim.paper, claim.ours, *numbers, claim.unit, _where(judged, found),
        judged.verdict, "; ".join(_reasons(judged, registered)), claim.about, judged.kind,
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


def _reasons(judged: Judged, registered: Registration) -> list[str]:
    """Return the other numbers of a claim, each as a phrase."""
    claim, kind = judged.claim, judged.kind
    said = [f"what decides: {claim.needs[judged.verdict]}"]
    for part, found in list(zip(claim.parts, judged.numbers[kind, claim.about], strict=True))[1:]:
        said.append(f"{part.metric} against {part.against}: {_words(found)}")
    others = [agent for agent in judged.agents if agent not in (claim.about, "")]
    for agent in others:
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
        said.append(f"better on {better} of {len(found.each)} loads, before the test")
    for other in ("real", "simulated"):
        if other != kind and claim.about:
            text = _words(judged.numbers[other, claim.about][0])
            said.append(f"{other}: {text} ({judged.word(other, claim.about)})")
    if claim.earlier is not None:
        said.append(f"the earlier paper's number is {claim.earlier:g} %")
    said += [f"rests on {claim.rests_on}"] if claim.rests_on else []
    return said + ([claim.history] if claim.history else [])


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
