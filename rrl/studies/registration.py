"""The registration of the claims: what each one says, and what decides about it.

`data/claims.yaml` has all of it. It is checked when it is read: an unknown or a missing key is an
error, and so is a change that its list `changes` does not explain.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rrl.rivals.agents import AGENTS
from rrl.studies.settings import Load, workload
from rrl.support.errors import DataError
from rrl.support.files import read_text

NAME = "claims.yaml"
VERDICTS = ("reproduced", "partly", "not", "cannot be tested")
METRICS = ("similarity", "information", "speed", "loss", "quality", "latency", "late", "served",
           "runtime", "binary")  # fmt: skip
STATISTICS = ("median", "geometric mean", "largest", "all of a family", "count")


@dataclass(frozen=True)
class ClaimPart:
    """A number that a claim needs, and its threshold.

    Parameters
    ----------
    metric, statistic : str
        One of `METRICS` and one of `STATISTICS`.
    against : str
        What the agent is compared with: another agent, or a word that the metric explains.
    direction : float
        The part has the claim's direction if its interval lies beyond this number.
    above, below : float, optional
        The threshold. Exactly one of them is given.
    least_ceiling : float, optional
        A problem counts only if the other agent is slow enough for this factor.
    """

    metric: str
    statistic: str
    against: str
    direction: float
    above: float | None = None
    below: float | None = None
    least_ceiling: float = 0.0


@dataclass(frozen=True)
class Rules:
    """Numbers that hold for all claims; `data/claims.yaml` says what each one means."""

    seeds: int
    confidence: float
    steady_episodes: int
    deployed_after: int
    least_episodes: float
    least_reached: float
    least_gap: float
    least_late: float
    late_factor: float
    similarity_episodes: int


@dataclass(frozen=True)
class RegisteredClaim:
    """A claim of the paper with all that decides about it.

    Parameters
    ----------
    paper, words, source : str
        The claim in short, in the paper's words, and where it stands.
    ours, unit : str
        What is measured, and the unit of the first part.
    parts : tuple of ClaimPart
    selection, correction : str
        Which problems count, and what is done because there are many.
    needs : mapping of str to str
        What each of `VERDICTS` needs.
    about : str
        The agent that the verdict of the claim is about. It is empty if the claim is about none.
    also : tuple of str
        Further agents that the claim is measured for.
    workloads : tuple of str
        The kinds of changing loads that count. Without any, the loads are those that stay.
    earlier : float, optional
        The number of the earlier paper.
    history, rests_on : str
        Numbers reported before, and what the claim rests on until something better exists.
    """

    paper: str
    words: str
    source: str
    ours: str
    unit: str
    parts: tuple[ClaimPart, ...]
    selection: str
    correction: str
    needs: Mapping[str, str]
    about: str = ""
    also: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    earlier: float | None = None
    history: str = ""
    rests_on: str = ""


@dataclass(frozen=True)
class Problem:
    """A problem that agents are judged on: a testbed under a load, for so many episodes."""

    kind: str
    testbed: str
    load: Load
    episodes: int

    @property
    def workload(self) -> str:
        """The name of a load that changes; it is empty for one that stays."""
        return "" if isinstance(self.load, int | float) else str(self.load[0])


@dataclass(frozen=True)
class Registration:
    """All that `data/claims.yaml` says.

    Parameters
    ----------
    paper_agents, recommended, rivals : tuple of str
    rules : Rules
    decided_by : tuple of str
        The kinds of problems that decide, the first one that can.
    problems : tuple of Problem
    claims : mapping of str to RegisteredClaim
    changes : tuple of mapping
    digest : str
        The SHA-256 of the file.
    """

    paper_agents: tuple[str, ...]
    recommended: tuple[str, ...]
    rivals: tuple[str, ...]
    rules: Rules
    decided_by: tuple[str, ...]
    problems: tuple[Problem, ...]
    claims: Mapping[str, RegisteredClaim]
    changes: tuple[Mapping[str, str], ...]
    digest: str = field(compare=False)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of problems, those that decide first."""
        return tuple(dict.fromkeys((*self.decided_by, *(p.kind for p in self.problems))))

    @property
    def agents(self) -> tuple[str, ...]:
        """Every agent that a claim is measured for or compared with."""
        own = (*self.recommended, *self.paper_agents, *self.rivals)
        also = [name for claim in self.claims.values() for name in claim.also]
        return tuple(dict.fromkeys((*own, *also)))

    def present(self, data: str | os.PathLike[str]) -> tuple[Problem, ...]:
        """Return the problems that can be run: simulated ones, and profiles in the folder `data`.

        Examples
        --------
        >>> registered = read_registration("data")
        >>> {p.testbed for p in registered.present("/no/profiles")} == {"cpu10", "gpu"}
        True
        """
        from rrl.simulation.testbeds import TESTBEDS

        def known(testbed: str) -> bool:
            return testbed in TESTBEDS or (Path(data) / testbed / "profile.json").is_file()

        return tuple(problem for problem in self.problems if known(problem.testbed))


def read_registration(data: str | os.PathLike[str] = "data") -> Registration:
    """Read and check `claims.yaml` in the folder `data`.

    Raises
    ------
    DataError
        If the file is missing, is not YAML, has a wrong key or value, or was changed without an
        entry in `changes`. The message says what to do.

    Examples
    --------
    >>> registered = read_registration("data")
    >>> registered.claims["C4"].parts[0].above, len(registered.digest)
    (8, 64)
    """
    import yaml

    path = Path(data) / NAME
    if not path.is_file():
        raise DataError(f"{path}: not found; restore it")
    text = read_text(path)
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = " ".join(str(error).split())
        raise DataError(f"{path}: not YAML ({line}); restore it") from None
    wanted = ("paper", "columns", "rules", "decided_by", "steady", "changing", "claims", "changes")
    _keys(path, "", content, wanted)
    columns, rules = content["columns"], content["rules"]
    _keys(path, "columns", columns, ("paper", "recommended", "rivals"))
    _keys(path, "rules", rules, [one.name for one in fields(Rules)])
    for name in _agents(content):
        if name not in AGENTS:
            raise DataError(f"{path}: unknown agent {name!r}; use one of {', '.join(AGENTS)}")
    _check_changes(path, content)
    claims = {key: _claim(path, key, value) for key, value in content["claims"].items()}
    return Registration(
        tuple(columns["paper"]), tuple(columns["recommended"]),
        tuple(columns["rivals"]), Rules(**rules), tuple(content["decided_by"]),
        tuple(_problems(path, content)), claims, tuple(content["changes"]),
        hashlib.sha256(text.encode()).hexdigest(),
    )  # fmt: skip


def content_digest(content: Mapping[str, Any]) -> str:
    """Return a digest of all that is registered, without the list of changes."""
    rest = {key: value for key, value in content.items() if key != "changes"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]


def _check_changes(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse a content that the last entry of `changes` does not name."""
    entries, digest = content["changes"], content_digest(content)
    if not entries:
        raise DataError(f"{path}: `changes` is empty; it begins with the registration itself")
    for number, entry in enumerate(entries):
        _keys(path, f"changes[{number}]", entry, ("date", "reason", "digest"))
    if entries[-1]["digest"] != digest:
        raise DataError(
            f"{path}: changed, and `changes` does not say why; undo it, or add an entry with the "
            f"date, the reason and the digest {digest}"
        )


def _keys(path: Path, where: str, content: Any, wanted: Any, optional: Any = ()) -> None:
    """Refuse a mapping that lacks a key or has an unknown one."""
    place = f"{path}: {where}".rstrip(": ")
    if not isinstance(content, dict):
        raise DataError(f"{place}: write it as `key: value` lines")
    if missing := [key for key in wanted if key not in content]:
        raise DataError(f"{place}: no key {missing[0]!r}; add it")
    if unknown := [key for key in content if key not in (*wanted, *optional)]:
        known = ", ".join((*wanted, *optional))
        raise DataError(f"{place}: unknown key {unknown[0]!r}; the keys are {known}")


def _agents(content: Mapping[str, Any]) -> Iterator[str]:
    for names in content["columns"].values():
        yield from names
    for claim in content["claims"].values():
        if isinstance(claim, dict):
            yield from (*claim.get("also", ()), *filter(None, [claim.get("about")]))


def _claim(path: Path, key: str, content: Any) -> RegisteredClaim:
    known = [one.name for one in fields(RegisteredClaim)]
    optional = known[known.index("about") :]
    _keys(path, f"claims.{key}", content, known[: known.index("about")], optional)
    _keys(path, f"claims.{key}.needs", content["needs"], VERDICTS)
    parts = []
    for number, part in enumerate(content["parts"]):
        where = f"claims.{key}.parts[{number}]"
        names = ("metric", "statistic", "against", "direction")
        _keys(path, where, part, names, ("above", "below", "least_ceiling"))
        for name, values in (("metric", METRICS), ("statistic", STATISTICS)):
            if part[name] not in values:
                raise DataError(f"{path}: {where}: unknown {name} {part[name]!r}; use one of "
                                f"{', '.join(values)}")  # fmt: skip
        if ("above" in part) == ("below" in part):
            raise DataError(f"{path}: {where}: give either `above` or `below`")
        parts.append(ClaimPart(**part))
    listed = {name: tuple(content.get(name, ())) for name in ("also", "workloads")}
    return RegisteredClaim(**(content | listed | {"parts": tuple(parts)}))


def _problems(path: Path, content: Mapping[str, Any]) -> Iterator[Problem]:
    steady = content["rules"]["steady_episodes"]
    for group, optional in (("steady", ()), ("changing", ("episodes",))):
        for kind, entries in content[group].items():
            for number, entry in enumerate(entries):
                where = f"{group}.{kind}[{number}]"
                _keys(path, where, entry, ("testbed", "loads", *optional))
                for value in entry["loads"]:
                    load = _literal(value)
                    try:
                        workload(load)
                    except ValueError as error:
                        raise DataError(f"{path}: {where}: {error}") from None
                    yield Problem(kind, entry["testbed"], load, entry.get("episodes", steady))


def _literal(value: Any) -> Any:
    return tuple(map(_literal, value)) if isinstance(value, list) else value
