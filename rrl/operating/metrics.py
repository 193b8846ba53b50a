"""The metrics of a tuning as Prometheus text, so that an operator sees it beside the service's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from rrl.operating.options import NO_LIMIT
from rrl.support.errors import UsageError
from rrl.tuning.guard import Guard

HOST = "127.0.0.1"


class TuningMetrics(Collector):
    """What a guard knows of a run, at the moment when it is asked.

    Parameters
    ----------
    guard : Guard

    Examples
    --------
    >>> from prometheus_client import generate_latest
    >>> from rrl import ConfigSpace, Knob
    >>> guard = Guard(ConfigSpace([Knob("threads", (1, 2))]), {"threads": 2}, budget=10)
    >>> registry = CollectorRegistry()
    >>> registry.register(TuningMetrics(guard))
    >>> lines = generate_latest(registry).decode().splitlines()
    >>> [line for line in lines if "serves" in line or "budget" in line and line[0] != "#"][-2:]
    ['rrl_tuning_serves_info{threads="2"} 1.0', 'rrl_tuning_budget_left 10.0']
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | InfoMetricFamily]:
        """Yield the metrics of this moment."""
        guard = self._guard
        done, serves = guard.summary(), dict(guard.serves)
        labels = {
            re.sub(r"\W", "_", name.partition(":")[2].lstrip("-") or name): str(value)
            for name, value in serves.items()
        }
        yield InfoMetricFamily("rrl_tuning_serves", "The configuration that serves.", labels)
        trial = GaugeMetricFamily("rrl_tuning_trial", "1 during a trial, 0 with the default.")
        trial.add_metric([], float(not guard.is_default(serves)))
        yield trial
        requests = CounterMetricFamily(
            "rrl_tuning_requests", "Requests that were measured.", labels=["with"]
        )
        bad = CounterMetricFamily(
            "rrl_tuning_bad_requests", "Late or failed ones among them.", labels=["with"]
        )
        for side in ("trial", "default"):
            requests.add_metric([side], done[f"{side}_requests"])
            bad.add_metric([side], done[f"{side}_bad"])
        yield requests
        yield bad
        ended = CounterMetricFamily(
            "rrl_tuning_trials_ended", "Trials that were stopped or crashed.", labels=["how"]
        )
        ended.add_metric(["stopped"], done["aborted"])
        ended.add_metric(["crashed"], done["crashed"])
        yield ended
        if guard.budget < NO_LIMIT:
            yield GaugeMetricFamily(
                "rrl_tuning_budget_left", "Bad requests that trials may still have.",
                value=guard.allowance,
            )  # fmt: skip
        if guard.late_s is not None:
            yield GaugeMetricFamily(
                "rrl_tuning_late_seconds", "A slower request is late.", value=guard.late_s
            )


@contextmanager
def metrics_at(port: int | None, guard: Guard | None) -> Iterator[None]:
    """Answer at a port of this machine with the metrics of a guard, for the block.

    Raises
    ------
    UsageError
        If the port is taken.
    """
    if port is None or guard is None:
        yield
        return
    registry = CollectorRegistry()
    registry.register(TuningMetrics(guard))
    try:
        server, thread = start_http_server(port, addr=HOST, registry=registry)
    except OSError as error:
        raise UsageError(f"--metrics-port {port}: {error.strerror}; choose another one") from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
