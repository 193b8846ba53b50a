"""The registration: what each claim says, what decides about it, and the log of all changes.

`data/claims.yaml` has all of it. It is an error if the file, or the code that judges, has a change
that its log does not explain.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import yaml

from rrl.rivals.agents import HOME
from rrl.rivals.variants import ABLATED
from rrl.simulation.testbeds import TESTBEDS
from rrl.studies.days import Day
from rrl.studies.scenario import SLO_FACTOR
from rrl.studies.settings import Setting, literal
from rrl.support.errors import DataError
from rrl.support.files import read_text
from rrl.support.provenance import PACKAGE

METRICS = {
    "similarity": ("similarity", "error"),
    "information": ("similarity", "error"),
    "speed": ("runs", "first_within_5"),
    "loss": ("runs", "deployed"),
    "price": ("runs", "mean_cost"),
    "latency": ("runs", "latency_s"),
    "late": ("late", "late"),
    "served": ("served", "latency_s"),
    "runtime": ("recorded", "runtime"),
    "binary": ("recorded", "binary"),
}
"""The table of :class:`rrl.studies.claim_tables.Evidence`, and its column, that a metric reads."""
FAMILY = "all of a family"
STATISTICS = ("median", "geometric mean", "largest", FAMILY, "count")
DAY = "DeviceDay"
"""The name of the load of a day of devices, among the `workloads` of a claim."""
JUDGES = tuple(
    PACKAGE / f"{name}.py"
    for name in (
        *("studies/registration", "studies/claims", "studies/claim_tables", "studies/other_half"),
        *("studies/map_claims", "studies/map_factors", "studies/side_by_side"),
        *("studies/race", "studies/scenario", "studies/similarity_error"),
        *("recording/profile", "recording/replay", "recording/truth"),
        *("support/aggregates", "support/intervals"),
    )
)
"""The code that judges, from the reading of the rules to the intervals: the digest covers it.

So it covers what replays a recording, and its truth.
"""


class ClaimPart(NamedTuple):
    """A number that a claim needs.

    Parameters
    ----------
    metric, against, statistic : str
        What is measured, what the agent is compared with, and how the number is summarised over the
        problems.
    threshold : float
        The part is met if its interval lies beyond this number.
    side : {"above", "below"}
        On which side of a limit the claim is.
    direction : float
        The part has the claim's direction if its interval lies beyond this number.
    """

    metric: str
    against: str
    statistic: str
    threshold: float
    side: str
    direction: float

    def beyond(self, low: float, high: float, limit: float) -> bool:
        """Return whether an interval lies beyond a limit, on the side of the claim."""
        return low > limit if self.side == "above" else high < limit


@dataclass(frozen=True)
class RegisteredClaim:
    """A claim of the paper with all that decides about it.

    Parameters
    ----------
    paper, words, source : str
        The claim in short, in the paper's words, and where it stands.
    ours, unit : str
        What is measured, and the unit of the first part.
    selection, correction, note : str
        Which problems count, what is done because there are many, and what else is known.
    about : str
        The agent that the verdict is about. It is empty if the claim is about none.
    also : sequence of str
        Further agents that the claim is measured for, under loads that stay.
    workloads : sequence of str
        The kinds of changing loads that count. Without any, the loads are those that stay.
    use : bool
        It is a use of the system and no claim, so it gets numbers and no verdict.
    """

    paper: str
    words: str
    source: str
    ours: str
    unit: str
    parts: tuple[ClaimPart, ...]
    selection: str
    correction: str
    about: str = ""
    also: Sequence[str] = ()
    workloads: Sequence[str] = ()
    note: str = ""
    use: bool = False

    @property
    def asked(self) -> str:
        """The threshold of the first part, in words."""
        return f"{self.parts[0].side} {self.parts[0].threshold:g} {self.unit}"


class Problem(NamedTuple):
    """A problem that agents are judged on: a setting or a day that names no agent and no seeds."""

    kind: str
    what: Setting | Day

    @property
    def testbed(self) -> str:
        """The simulated testbed, or the recording, with ``/1`` if its second half is replayed."""
        return self.what.testbed

    @property
    def workload(self) -> str:
        """The name of a load that changes; it is empty for one that stays."""
        if isinstance(self.what, Day):
            return DAY
        load = self.what.load
        return "" if isinstance(load, int | float) else str(load[0])


@dataclass(frozen=True)
class Registration:
    """All that `data/claims.yaml` says.

    Parameters
    ----------
    columns : mapping of str to sequence of str
        The agents: `paper`, `recommended`, `rivals`, and those of the rivals that are `simple`.
    rules : namespace
        Numbers that hold for all claims; the file says what each one means.
    decided_by : sequence of str
        The kinds of problems that decide, the first one that can.
    confirmed_by : mapping
        The `kinds` of problems that decide nothing and are judged apart, the `claims` that they may
        test (:meth:`confirming`), and the `rule`.
    problems : tuple of Problem
        Each recording is there twice: its second half is replayed where ``/1`` follows its name.
    live : mapping
        The runs on live servers.
    changes : sequence of mapping
        The log.
    digest : str
        The SHA-256 of the file.
    """

    columns: Mapping[str, Sequence[str]]
    rules: SimpleNamespace
    decided_by: Sequence[str]
    confirmed_by: Mapping[str, Any]
    problems: tuple[Problem, ...]
    live: Mapping[str, Any]
    claims: Mapping[str, RegisteredClaim]
    changes: Sequence[Mapping[str, Any]]
    digest: str

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of problems, those that decide first, without those that confirm."""
        kinds = dict.fromkeys((*self.decided_by, *(one.kind for one in self.problems)))
        return tuple(kind for kind in kinds if kind not in self.confirmed_by["kinds"])

    def confirming(self) -> Registration:
        """Return the claims that are confirmed or not, decided by the problems for this alone."""
        kinds, ids = self.confirmed_by["kinds"], self.confirmed_by["claims"]
        return replace(
            self,
            decided_by=kinds,
            confirmed_by={"kinds": (), "claims": ()},
            problems=tuple(one for one in self.problems if one.kind in kinds),
            claims={id: self.claims[id] for id in ids},
        )

    @property
    def agents(self) -> tuple[str, ...]:
        """Every agent that runs on all problems."""
        columns = (self.columns[name] for name in ("recommended", "paper", "rivals"))
        return tuple(dict.fromkeys(name for column in columns for name in column))

    @property
    def steady_agents(self) -> tuple[str, ...]:
        """Every agent that runs under loads that stay: also those that others are compared with."""
        claims = self.claims.values()
        also = (name for claim in claims for name in claim.also)
        others = (part.against for claim in claims for part in claim.parts)
        compared = (name for name in others if name in HOME | ABLATED)
        return tuple(dict.fromkeys((*self.agents, *also, *compared)))


# --- reading --------------------------------------------------------------------------------------


def read_registration(data: str | os.PathLike[str] = "data") -> Registration:
    """Read and check `claims.yaml` in the folder `data`.

    Raises
    ------
    DataError
        If the file is missing, is not a registration, or was changed without an entry in `changes`.
        The message says what to do.

    Examples
    --------
    >>> registered = read_registration("data")
    >>> registered.claims["C4"].parts[0].threshold, len(registered.digest)
    (8.0, 64)
    """
    path = Path(data) / "claims.yaml"
    if not path.is_file():
        raise DataError(f"{path}: not found; restore it")
    text = read_text(path)
    try:
        content = yaml.safe_load(text)
        _check_log(content)
        rules = SimpleNamespace(**content["rules"])
        if rules.late_factor != SLO_FACTOR:
            raise ValueError(f"`late_factor` is {SLO_FACTOR:g}, as in the truth of each problem")
        claims = {
            id: RegisteredClaim(**claim | {"parts": tuple(map(_part, claim["parts"]))})
            for id, claim in content["claims"].items()
        }
        return Registration(
            content["columns"], rules, content["decided_by"], content["confirmed_by"],
            tuple(_problems(content)), content["live"], claims, content["changes"],
            hashlib.sha256(text.encode()).hexdigest(),
        )  # fmt: skip
    except (yaml.YAMLError, AttributeError, LookupError, TypeError, ValueError) as error:
        line = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{path}: {line}; restore it, or mend what was changed") from None


def content_digest(content: Mapping[str, Any]) -> str:
    """Return a digest of all that is registered, without the log, and of the code that judges."""
    rest = {key: value for key, value in content.items() if key != "changes"}
    code = [without_words(read_text(path)) for path in JUDGES]
    return hashlib.sha256(json.dumps([rest, code], sort_keys=True).encode()).hexdigest()[:16]


def without_words(source: str) -> str:
    r"""Return a module's source without comments, docstrings and empty lines.

    Indentation stays, because it decides what a line belongs to. A docstring has triple quotes, and
    a space or a line's start precedes a comment.

    Examples
    --------
    >>> without_words("def f(x):  # f\n    return x + 1\n")
    'def f(x):\n    return x + 1'
    """
    text = re.sub(r'"{3}.*?"{3}|(?<!\S)#[^\n]*', "", source, flags=re.DOTALL)
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def _check_log(content: Mapping[str, Any]) -> None:
    """Refuse a content that the last entry of the log does not name."""
    entries, digest = content["changes"], content_digest(content)
    if any(not {"date", "reason", "moved", "digest"} <= set(entry) for entry in entries):
        raise ValueError("each entry of `changes` has a date, a reason, a digest, and what moved")
    if not entries or entries[-1]["digest"] != digest:
        raise ValueError(
            "it, or the code that judges, changed, and `changes` does not say why; undo it, or add "
            "an entry with the date, the reason, whose verdicts it moved, and the digest "
            f"{digest}"
        )


def _part(content: Mapping[str, Any]) -> ClaimPart:
    sides = {"above", "below"} & set(content)
    if len(sides) != 1:
        raise ValueError("give either `above` or `below`")
    (side,) = sides
    rest = {name: value for name, value in content.items() if name != side}
    part = ClaimPart(**rest, side=side, threshold=float(content[side]))
    for value, known in ((part.metric, METRICS), (part.statistic, STATISTICS)):
        if value not in known:
            raise ValueError(f"unknown {value!r}; use one of {', '.join(known)}")
    if part.statistic == FAMILY and part[3:] != (1, "above", 1):
        raise ValueError(f"{FAMILY!r} tests ratios against 1; give `above: 1`, `direction: 1`")
    return part


def _problems(content: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield all problems: of a recording, each one is there once more, for its second half."""
    usual = content["rules"]["steady_episodes"]
    found: list[tuple[str, Setting | Day]] = [
        (kind, Setting(one["testbed"], literal(load), "", 0, one.get("episodes", usual)))
        for group in ("steady", "changing")
        for kind, entries in content[group].items()
        for one in entries
        for load in one["loads"]
    ]
    for kind, entries in content["days"].items():
        for one in entries:
            about = {name: literal(value) for name, value in one.items()}
            found.append((kind, Day(agent="", seeds=0, **about)))
    for kind, what in found:
        yield Problem(kind, what)
        if what.testbed not in TESTBEDS:
            yield Problem(kind, what._replace(testbed=f"{what.testbed}/1"))
