"""The registration of the claims: what each one says, and what decides about it.

`data/claims.yaml` has all of it. It is checked when it is read: an unknown or a missing key is an
error, and so is a change that its list `changes` does not explain.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from rrl.rivals.agents import AGENTS
from rrl.studies.days import Day
from rrl.studies.registered import (
    ClaimPart,
    DayProblem,
    Problem,
    RegisteredClaim,
    Registration,
    Rules,
)
from rrl.studies.settings import workload
from rrl.support.errors import DataError
from rrl.support.files import read_text

NAME = "claims.yaml"
VERDICTS = ("reproduced", "partly", "not", "cannot be tested")
METRICS = ("similarity", "information", "speed", "loss", "quality", "latency", "late", "served",
           "runtime", "binary")  # fmt: skip
FAMILY = "all of a family"
STATISTICS = ("median", "geometric mean", "largest", FAMILY, "count")
OBJECTIVES = ("mean", "late")


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
    wanted = ("paper", "columns", "rules", "decided_by", "steady", "changing", "days", "claims",
              "changes")  # fmt: skip
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
        tuple(_problems(path, content)), tuple(_days(path, content)), claims,
        tuple(content["changes"]),
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
        if part["statistic"] == FAMILY and (part.get("above"), part["direction"]) != (1, 1):
            raise DataError(f"{path}: {where}: {FAMILY!r} tests ratios against 1; give `above: 1` "
                            "and `direction: 1`")  # fmt: skip
        parts.append(ClaimPart(**part))
    if content.get("objective", "mean") not in OBJECTIVES:
        words = " or ".join(OBJECTIVES)
        raise DataError(f"{path}: claims.{key}: unknown objective; use {words}")
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


def _days(path: Path, content: Mapping[str, Any]) -> Iterator[DayProblem]:
    known = ("testbed", "rate", "requests", "late_s", "neighbour", "first_seed")
    for kind, entries in content["days"].items():
        for number, entry in enumerate(entries):
            _keys(path, f"days.{kind}[{number}]", entry, known[:4], known[4:])
            about = {name: _literal(value) for name, value in entry.items()}
            yield DayProblem(kind, Day(agent="", seeds=0, **about))


def _literal(value: Any) -> Any:
    return tuple(map(_literal, value)) if isinstance(value, list) else value
