"""What a plan leaves to the machine: loads as fractions of the sustained rate, and the rule."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from rrl.core.knob import Configuration
from rrl.recording.plan import Plan
from rrl.recording.profile import DESCRIPTION
from rrl.recording.source import sustained_rate
from rrl.recording.steadiness import Probe, Rule, calibrated
from rrl.support.errors import ServerError
from rrl.support.files import read_json
from rrl.tuning.defaults import heuristic_candidates, serving_default
from rrl.tuning.episode import Server

REQUESTS = 300  # they arrive at once
DRAWN = 12  # configurations that are tried besides the usual ones
AGAIN = 3  # configurations, the fastest ones, that are measured again as often


def for_machine(plan: Plan, folder: Path, sustained: Callable[[], float]) -> Plan:
    """Return a plan with the loads and the rule of this machine.

    A recording that has begun keeps its loads and its rule.

    Parameters
    ----------
    plan : Plan
    folder : pathlib.Path
        The folder of the profile.
    sustained : callable
        It measures the rate (requests/s) that the machine sustains, for a plan with `shares`.
    """
    rates, rule = plan.rates_per_s, plan.rule
    with suppress(OSError, ValueError, LookupError, TypeError):  # the recorder says what is wrong
        stored = read_json(folder / DESCRIPTION)["plan"]
        begun = Rule(**stored["rule"]) if stored.get("rule") else None
        return replace(plan, rates_per_s=rates or stored["rates_per_s"], rule=rule or begun)
    if plan.shares and not rates:
        top = sustained()
        rates = [float(f"{part * top:.3g}") for part in plan.shares]
    return replace(plan, rates_per_s=rates, rule=rule or Rule(calibrated(Probe())))


def sustained(server: Server, plan: Plan, rng: np.random.Generator) -> float:
    """Return the rate (requests/s) that the fastest of some configurations of a plan serves.

    The server's default, the settings of the batching guide and some random configurations are
    tried. All requests of an episode arrive at once, so the rate is their number divided by the
    seconds until the last answer. The fastest ones are measured again, and their medians decide.

    Parameters
    ----------
    server : Server
    plan : Plan
    rng : numpy.random.Generator

    Raises
    ------
    ServerError
        If no configuration answers any request.

    Examples
    --------
    >>> from rrl import testbed
    >>> threads = {"inter_op": (1, 2, 4), "intra_op": (1, 2), "batch_threads": (0, 2)}
    >>> plan = Plan("mobilenet_v2", threads, shares=(0.4, 0.9))
    >>> round(sustained(testbed("cpu2"), plan, np.random.default_rng(0)))
    226
    """
    space = plan.space
    drawn = [space[i] for i in rng.permutation(len(space))[:DRAWN].tolist()]
    tried: list[Configuration] = []
    for one in (serving_default(space), *heuristic_candidates(space), *drawn):
        if one not in tried:
            tried.append(one)
    rates = [[sustained_rate(server, one, rng, REQUESTS)] for one in tried]
    fastest = np.argsort([-found[0] for found in rates], kind="stable")[:AGAIN].tolist()
    for i in fastest:
        rates[i] += [sustained_rate(server, tried[i], rng, REQUESTS) for _ in range(AGAIN - 1)]
    best = max(float(np.median(rates[i])) for i in fastest)
    if not best:
        raise ServerError(
            f"no setting answers any of {REQUESTS} requests at once; give the loads as requests/s"
        )
    return best
