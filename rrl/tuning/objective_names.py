"""Objectives by name, as the command line and the settings of a sweep give them."""

from __future__ import annotations

import re

from rrl.support.errors import UsageError
from rrl.tuning.constrained import Constrained
from rrl.tuning.objective import MeanLatency, Objective, Percentile, SLOViolations
from rrl.tuning.presets import CPUS
from rrl.tuning.slo import parse_slo

_NUMBER = r"(\d+\.?\d*|\.\d+)(e-?\d+)?"


def parse_objective(name: str, most_cpus: int | None = None) -> Objective:
    """Return the objective with the given name.

    Parameters
    ----------
    name : str
        The name is ``mean``; ``p`` and a percentile, as in ``p99.9``; ``slo:`` and a time in
        seconds, as in ``slo:0.1``; or it asks for the fewest CPUs that keep a service-level
        objective, as in ``cpus with p99<80ms``.
    most_cpus : int, optional
        The highest number of CPUs of any configuration, see
        :func:`rrl.tuning.constrained.most_cpus`. The fewest CPUs need it.

    Raises
    ------
    ValueError
        If the name is none of these.
    UsageError
        If the service-level objective has another form, or the fewest CPUs are wanted and there is
        no knob for them.

    Examples
    --------
    >>> parse_objective("mean"), parse_objective("p99").q, parse_objective("slo:0.1").target_s
    (MeanLatency(), 99.0, 0.1)
    >>> str(parse_objective("cpus with p99 < 80ms", most_cpus=2))
    'cpus with p99<80ms'
    """
    what, limited, slo = name.partition(" with ")
    if limited and what.strip() == CPUS:
        kept = parse_slo(slo)
        if most_cpus is None:
            raise UsageError(f"objective {name!r} needs a knob such as --knob cpus=1,2")
        return Constrained(kept, most_cpus)
    kind = name.strip()
    if kind == "mean":
        return MeanLatency()
    if re.fullmatch("p" + _NUMBER, kind):
        return Percentile(float(kind[1:]))
    if re.fullmatch("slo:" + _NUMBER, kind):
        return SLOViolations(float(kind[4:]))
    raise ValueError(
        f"unknown objective {name!r}: use mean, p99, slo:SECONDS or 'cpus with p99<80ms'"
    )
