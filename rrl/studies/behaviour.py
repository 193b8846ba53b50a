"""Digests of what agents, problems and the judge do, on small cases.

A digest tells behaviours apart, not texts. A renamed variable or another error message leaves it as
it is; another constant, another order of draws or another rule changes it. `rrl/versions.json` has
the digest that belongs to each version. :func:`versioned` names the present behaviour by its
version if the digest is the known one, and otherwise by the digest itself. So a result of a method
that was changed a minute ago is never taken for a stored one.

An agent's digest covers four runs of up to 160 episodes, with steady and changing loads. The digest
of a problem covers the latencies of some configurations, and that of a load its arrivals. The judge
consists of the loop, the objectives and the truth.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from rrl.core.knob import Configuration, Knob
from rrl.core.space import ConfigSpace
from rrl.recording.replay import NoisyReplay
from rrl.rivals.agents import HOME, maker
from rrl.rivals.variants import ABLATED
from rrl.simulation.testbeds import TESTBEDS
from rrl.studies.days import Day, run_days
from rrl.studies.problems import DRAWN, NOISY, WITHOUT_LOAD, half_of, open_scenario
from rrl.studies.scenario import find_truth
from rrl.studies.settings import WORKLOADS
from rrl.support.errors import DataError, UsageError
from rrl.support.files import read_json, write_atomically
from rrl.support.machine import available_cpus, one_thread
from rrl.support.provenance import NUMERICAL, PACKAGE, PATH, Version, installed, known
from rrl.support.provenance import digest as file_digest
from rrl.tuning.episode import Status
from rrl.tuning.loop import tune
from rrl.tuning.presets import effective_space, paper_cpu
from rrl.tuning.slo import parse_objective
from rrl.workloads.workload import Phases, Poisson

DATA = PACKAGE.parent / "data"
CACHE = PACKAGE.parent / "build" / "behaviour.json"
Numbers = Iterator[Any]
"""Numbers and arrays of numbers, which show what an agent, a problem or the judge does."""
LATER = ("exercises", "plotting", "publishing", "operating")
"""The rooms whose code no behaviour can depend on, because `studies` does not import from them."""
SHORT = {"rrl-released": 25, "gp-ei": 40, "optuna-tpe": 60}
"""Episodes of the agents that take long for a decision."""

LOADS: dict[str, tuple[Any, ...]] = {
    "Poisson": (20.0,),
    "Phases": ((0, 3, 6), (0.05, 0.02, 0.05), 40),
    "Fleet": (60, 7.0, 0.6, 0.8),
    "Bursts": ((8.0, 16.0), (2.0, 1.0)),
    "Diurnal": (12.0, 0.4, 9.0),
    "FlashCrowd": (8.0, 16.0, 3.0, 1.0, 3.0, 2.0, 10.0),
}
"""Arguments of each workload for its digest."""

RATES = {"cpu10": 12.5, "cpu10-cores": 12.5, "gpu": 500.0}  # 115 requests/s elsewhere
JUDGED = "mobilenet_v2-joint-279"
"""The recording by which the digests of replays and truths are made; it is never recorded anew."""


def _cases() -> Iterator[tuple[ConfigSpace, list[float], float, float]]:
    """Yield the runs of each agent.

    A run has a space, the load of each episode (requests/s), the curvature by which the costs of
    configurations differ, and the sd of an episode's cost, as a fraction.
    """
    changing = [10.0] * 50 + [40.0] * 55 + [10.0] * 25
    yield paper_cpu(), changing, 1.0, 0.07
    threads = {"inter_op": (1, 2, 4), "intra_op": (1, 2), "batch_threads": (0, 1, 2, 4)}
    serving = effective_space({**threads, "max_batch_size": (1, 2, 4, 8)}, cores=2)
    yield serving, [10.0] * 160, 1.0, 0.2
    yield serving, [10.0] * 120, 0.2, 0.1  # here the rule of deployment decides
    mixed = [Knob("policy", ("a", "b", "c")), Knob("size", (1, 2, 4, 8)), Knob("rate", range(8))]
    available = np.argwhere(np.random.default_rng(0).random((3, 4, 8)) < 0.9)
    yield ConfigSpace(mixed, available), changing[::2], 1.0, 0.3


def _choices(name: str) -> Numbers:
    """Yield the choices of an agent; DataError if its package is not installed."""
    for number, (space, loads, curvature, noise) in enumerate(_cases()):
        try:
            agent = maker(name)(space, np.random.default_rng([7, number]))
        except (ImportError, AttributeError, UsageError) as error:
            raise DataError(f"the agent {name} cannot be made here: {error}") from error
        except (ValueError, KeyError):  # an agent for the knobs of TensorFlow Serving
            continue
        draws, positions = np.random.default_rng(number), space.positions
        away = positions - positions[len(space) // 3]
        scaled = (away / np.maximum(np.ptp(positions, axis=0), 1.0)) ** 2
        for load in loads[: SHORT.get(name)]:
            index = space.index(agent.ask(load))
            bend = 1.0 + curvature * load / 10.0 * float(scaled[index].sum())
            factor = max(1 + noise * float(draws.standard_normal()), 0.1)
            agent.tell(space[index], 0.01 * bend * factor)
            yield index, space.index(agent.best(load))


def _answers(*problems: tuple[str, Any]) -> Numbers:
    """Yield what twelve configurations of each problem answer; a surface also tells its costs."""
    for testbed, load in problems:
        scenario, rng = open_scenario(testbed, load, DATA), np.random.default_rng(3)
        if scenario.known:
            yield scenario.cost
        for index in rng.permutation(len(scenario.space))[:12].tolist():
            arrivals = scenario.workload.arrivals(scenario.requests, rng)
            episode = scenario.server.measure(scenario.space[index], arrivals, rng)
            yield from (index, episode.latency, episode.status)


def _noisy_answers() -> Numbers:
    """Yield what a replay with noise answers, and which configuration it has for the best."""
    for half in (0, 1):
        server, rng = NoisyReplay(DATA / JUDGED, 81.5, half), np.random.default_rng(3)
        yield server.best(81.5)
        for index in rng.permutation(len(server.space))[:12].tolist():
            yield server.measure(server.space[index], np.arange(100) / 81.5, rng).latency


def _arrivals(name: str) -> Numbers:
    yield WORKLOADS[name](*LOADS[name]).arrivals(400, np.random.default_rng(6))


def _days() -> Numbers:
    """Yield short days of devices, with and without a neighbour."""
    for neighbour in ((), (0.5, 20.0, 40.0)):
        day = Day("cpu2", 75.0, "tf-serving-default", 1, 300, 0.1, neighbour, 60.0, first_seed=1)
        for agent in ("tf-serving-default", "knowing"):
            yield from run_days(day._replace(agent=agent), str(DATA)).values()


class _Cycle:
    """An agent that serves all configurations in turn, and notes the loads that it is shown."""

    def __init__(self, space: ConfigSpace) -> None:
        self.space, self.loads, self.costs = space, list[float](), list[float]()

    def ask(self, load: float) -> Configuration:
        self.loads.append(load)
        return self.space[len(self.loads) % len(self.space)]

    def tell(self, configuration: Configuration, cost: float) -> None:
        self.costs.append(cost)

    def best(self, load: float) -> Configuration:
        return self.space[int(np.argmin(self.costs)) % len(self.space)]


def _loop() -> Numbers:
    """Yield a run of the loop: loads, costs and recommendations."""
    for load in (Poisson(115.0), Phases((0, 10, 20), (1 / 60, 1 / 165, 1 / 60), 100)):
        server = TESTBEDS["cpu2"]()
        agent = _Cycle(server.space)
        run = tune(server, agent, load, 125, np.random.default_rng(8))
        yield from (run.costs, agent.costs, agent.loads)
        yield [server.space.index(c) for c in run.recommended]


def _objectives() -> Numbers:
    """Yield the costs of some episodes by each kind of objective."""
    server, rng = TESTBEDS["cpu10-cores"](), np.random.default_rng(9)
    episodes = [
        server.measure(server.space[i], Poisson(rate).arrivals(200, rng), rng)
        for i in range(0, len(server.space), max(len(server.space) // 9, 1))
        for rate in (12.0, 200.0)
    ]
    some = episodes[0]
    status = np.where(np.arange(len(some)) % 9, some.status, Status.UNAVAILABLE.value)
    episodes.append(replace(some, status=status))
    for name in ("mean", "p99", "slo:0.05", "cpus with p99<522ms"):
        yield from map(parse_objective(name, most_cpus=10), episodes)


def _truths() -> Numbers:
    """Yield the truth of a simulated load, a changing one, and a recorded one."""
    phases = Phases((0, 2, 4), (1 / 60, 1 / 165, 1 / 60), 100)
    for testbed, load in (("cpu2", 115.0), ("cpu2", phases), (JUDGED, 81.5), (f"{JUDGED}/1", 81.5)):
        yield find_truth(open_scenario(testbed, load, DATA), replications=6, episodes=6)


def behaviours() -> dict[str, Callable[[], Numbers]]:
    """Return what has a version, by name, with the function that shows what it does."""
    agents = {f"agent {name}": partial(_choices, name) for name in (*HOME, *ABLATED)}
    rates = {name: RATES.get(name, 115.0) * np.array([0.7, 1.0, 4.0]) for name in TESTBEDS}
    changing = Phases((0, 2, 4), (1 / 50, 1 / 113, 1 / 80), 100)
    replays = product((f"{JUDGED}/0", f"{JUDGED}/1"), (81.5, changing))
    problems: dict[str, list[tuple[str, Any]]] = {
        **{name: [(name, rate) for rate in rates[name].tolist()] for name in TESTBEDS},
        **{name: [(name, None)] for name in WITHOUT_LOAD if name not in DRAWN},
        "drawn": [(name, None) for name in DRAWN],
        "replay": list(replays),
    }
    return {
        **agents,
        **{f"problem {name}": partial(_answers, *some) for name, some in problems.items()},
        "problem noisy replay": _noisy_answers,
        "problem day": _days,
        **{f"load {name}": partial(_arrivals, name) for name in WORKLOADS},
        "judge loop": _loop,
        "judge objectives": _objectives,
        "judge truth": _truths,
    }


def problem_behaviour(testbed: str) -> str:
    """Return the name under which a testbed has its version.

    Recordings share that of their replay, and the drawn problems share one.

    Examples
    --------
    >>> problem_behaviour("gpu"), problem_behaviour("keyword-threads/1")
    ('problem gpu', 'problem replay')
    """
    name, _ = half_of(testbed)
    if name in DRAWN:
        return "problem drawn"
    if name in (*TESTBEDS, *WITHOUT_LOAD):
        return f"problem {testbed}"
    return "problem noisy replay" if name in NOISY else "problem replay"


@cache
def digests() -> dict[str, str | None]:
    """Return the digest of each present behaviour by name; None if it cannot be told here.

    Digests are kept in ``build/`` for as long as no file of the code changes.
    """
    with suppress(OSError, DataError, KeyError, TypeError):
        stored = read_json(CACHE)
        if stored["code"] == code():
            return dict(stored["digests"])
    names = list(behaviours())
    found = Parallel(processes())(delayed(_digest)(name) for name in names)
    present = dict(zip(names, found, strict=True))
    with suppress(OSError):  # a package that was installed has no folder for it
        CACHE.parent.mkdir(exist_ok=True)
        write_atomically(CACHE, json.dumps({"code": code(), "digests": present}, indent=1))
    return present


def processes() -> int:
    """Return the number of processes: ``RRL_WORKERS`` in the environment, or one per CPU.

    Raises
    ------
    UsageError
        If ``RRL_WORKERS`` is no whole number from 1.
    """
    given = os.environ.get("RRL_WORKERS") or str(available_cpus())
    if not given.isdecimal() or int(given) < 1:
        raise UsageError(f"RRL_WORKERS is {given!r}; give a whole number from 1")
    return int(given)


def _digest(name: str) -> str | None:
    with one_thread(), suppress(OSError, DataError):  # its data or its package are missing
        numbers = (number for some in behaviours()[name]() for number in np.ravel(some))
        return _hash([f"{float(number):.9g}" for number in numbers])  # processors differ in more
    return None


@cache
def code() -> str:
    """Return the digest of all that a behaviour can depend on."""
    rooms = sorted(room for room in PACKAGE.iterdir() if room.name not in LATER)
    files = sorted(path for room in rooms for path in room.rglob("*.py"))
    return _hash([list(map(file_digest, files)), installed((*NUMERICAL, "tensorflow"))])


def versioned(name: str) -> str:
    """Return the name of a behaviour with its version, or with its digest if that is another one.

    Examples
    --------
    >>> versioned("load Poisson").startswith("load Poisson ")
    True
    """
    digest = digests()[name]
    which = known()[name].number if _is_known(name, digest) else (digest or "unknown")[:12]
    return f"{name} {which}"


def changed() -> dict[str, str]:
    """Return the digests of all behaviours that are not those of their versions, by name."""
    present = digests().items()
    return {name: digest for name, digest in present if digest and not _is_known(name, digest)}


def _is_known(name: str, digest: str | None) -> bool:
    """Return whether a version has this digest; what cannot be told here counts as the same."""
    stored = known().get(name)
    return stored is not None and (digest is None or stored.digest in ("", digest))


def accept() -> list[str]:
    """Give the behaviours that have changed their next versions; return lines that say which.

    An agent whose package is not installed has version 1 without a digest. Whatever it does then
    counts as the same, so its number must be raised by hand.

    Raises
    ------
    UsageError
        If nothing has changed.
    """
    new = changed()
    gone = sorted(set(known()) - set(behaviours()))
    if not new and not gone:
        raise UsageError("no behaviour has changed: the versions stay as they are")
    stored = {name: version for name, version in known().items() if name not in gone}
    stored |= {name: Version(1, "") for name in behaviours() if name not in stored | new}
    lines = [f"{name}: gone" for name in gone]
    for name, digest in new.items():
        number = stored[name].number + 1 if name in stored else 1
        stored[name] = Version(number, digest)
        lines.append(f"{name}: version {number}")
    text = (f'"{name}": {json.dumps(list(stored[name]))}' for name in sorted(stored))
    write_atomically(PATH, "{\n" + ",\n".join(text) + "\n}\n")
    return lines


def _hash(found: Any) -> str:
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:24]
