"""The metrics of a tuning as Prometheus text, so that an operator sees it beside the service's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from rrl.support.errors import UsageError
from rrl.tuning.guard import Guard

HOST = "127.0.0.1"
PREFIX = "rrl_tuning_"


class TuningMetrics(Collector):
    """What a guard knows of a run, at the moment when it is asked.

    Parameters
    ----------
    guard : Guard

    Examples
    --------
    >>> from prometheus_client import generate_latest
    >>> guard = Guard({"threads": 2}, budget=10)
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
        yield InfoMetricFamily(f"{PREFIX}serves", "The configuration that serves.", labels)
        trial = serves != guard.default
        yield GaugeMetricFamily(f"{PREFIX}trial", "1 during a trial, 0 with the default.", trial)
        text = "Bad requests that trials may still have."
        yield GaugeMetricFamily(f"{PREFIX}budget_left", text, guard.allowance)
        for name, key, text in (
            ("requests", "requests", "Requests that were measured."),
            ("bad_requests", "bad", "Late or failed ones among them."),
        ):
            family = CounterMetricFamily(PREFIX + name, text, labels=["with"])
            for who in ("trial", "default"):
                family.add_metric([who], done[f"{who}_{key}"])
            yield family


@contextmanager
def metrics_at(port: int, guard: Guard) -> Iterator[None]:
    """Answer at a port of this machine with the metrics of a guard, for the block.

    Raises
    ------
    UsageError
        If the port is taken.
    """
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
