"""The source of a notebook's latencies: a recorded profile, or a server that is started now."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from rrl.core.knob import Configuration
from rrl.recording.replay import RecordedServer
from rrl.support.errors import UsageError
from rrl.support.machine import available_cpus, describe_machine
from rrl.tuning.defaults import serving_default
from rrl.tuning.episode import Server
from rrl.tuning.presets import paper_cpu

DATA, MODELS = Path("../data"), Path("../build/models")  # as a notebook sees them


@dataclass
class Source:
    """Servers to tune and to compare.

    Parameters
    ----------
    server : Server
        The server to tune.
    default : configuration
        TensorFlow Serving's default on the machine of the measurements.
    provenance : str
        One line for figures: what was measured, where and when.
    another : callable
        It returns a server for one more contestant; a live contestant gets its own process.
    """

    server: Server
    default: Configuration
    provenance: str
    another: Callable[[], Server]


@contextmanager
def open_source(source: str, name: str, data: str | os.PathLike[str] = DATA) -> Iterator[Source]:
    """Open a source by name; at the end of the block, stop its servers.

    Parameters
    ----------
    source : {"recorded", "live"}
    name : str
        The name of a profile in `data`. A live source serves the model of that profile's plan.
    data : path
        The folder of the profiles.

    Raises
    ------
    UsageError
        If the source is unknown.
    DataError
        If there is no such profile.
    """
    if source == "recorded":
        server = RecordedServer(Path(data) / name)
        about = server.profile.description
        words = f"{about['plan']['model']} recorded {about['recorded']}"
        yield _source(words, about["machine"], lambda: server)
    elif source == "live":
        with ExitStack() as stack:
            yield _live(name, stack)
    else:
        raise UsageError(f"unknown source {source!r}; known: recorded, live")


def _live(name: str, stack: ExitStack) -> Source:
    from rrl.recording.plan import PLANS
    from rrl.serving.launcher import find_executable, kind_of
    from rrl.serving.live import LiveServer
    from rrl.serving.models import build

    if name not in PLANS:
        raise UsageError(f"unknown plan {name!r}; known: {', '.join(PLANS)}")
    model, kind = PLANS[name].model, kind_of(find_executable())
    path, space = build(model, MODELS), paper_cpu(min(available_cpus(), 8))
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    words = f"{model} measured here and now ({kind} server): {when}"
    return _source(words, describe_machine(), lambda: stack.enter_context(LiveServer(path, space)))


def _source(words: str, machine: Mapping[str, Any], another: Callable[[], Server]) -> Source:
    server = another()
    provenance = f"{words}, {machine['cpus']} CPUs, {machine['processor']}"
    return Source(server, serving_default(server.space), provenance, another)


def sustained_rate(
    server: Server, configuration: Configuration, rng: np.random.Generator, requests: int = 100
) -> float:
    """Return the requests per second that a configuration serves when all arrive at once.

    Examples
    --------
    >>> from rrl import TableServer
    >>> server = TableServer({"threads": [1], "cost": [0.5]}, ["threads"])
    >>> sustained_rate(server, {"threads": 1}, np.random.default_rng(0))
    200.0
    """
    episode = server.measure(configuration, np.zeros(requests), rng)
    return float(episode.ok.sum() / episode.latency.max())


def choose_rates(
    rates_per_s: Sequence[float], source: Source, rng: np.random.Generator
) -> list[float]:
    """Return the given loads; if there is none, those that make sense for a source.

    They are the recorded loads, or 60 and 110 % of the rate that the default sustains live.
    """
    if len(rates_per_s):
        return [float(rate) for rate in rates_per_s]
    if isinstance(source.server, RecordedServer):
        return list(source.server.profile.rates_per_s)
    sustained = sustained_rate(source.server, source.default, rng)
    return [round(fraction * sustained, 1) for fraction in (0.6, 1.1)]
