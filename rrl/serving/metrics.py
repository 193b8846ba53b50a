"""The metrics of the local server, with the names and the text of TensorFlow Serving.

The text format is Prometheus' own: https://prometheus.io/docs/instrumenting/exposition_formats/.
`prometheus_client` would add ``_total`` to the name of a counter, which the original does not.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from rrl.serving.servable import LoadedModel
from rrl.serving.status import NAMES, OK, UNKNOWN

DEFAULT_PATH = "/monitoring/prometheus/metrics"
_PREFIX = ":tensorflow:serving:"
_BOUNDS = [10 * 1.8**power for power in range(33)]  # microseconds, up to about 20 minutes
_US = 1e6  # microseconds per second

Labels = tuple[tuple[str, str], ...]


def read_monitoring_config(file: Path) -> str | None:
    """Return the path under which a `--monitoring_config_file` serves the metrics; None if off.

    Raises
    ------
    ValueError
        If the file is no MonitoringConfig.
    """
    from google.protobuf import text_format

    try:
        config = text_format.Parse(file.read_text(encoding="utf-8"), _message_class()())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"Invalid protobuf file: '{file}': {error}") from None
    prometheus = config.prometheus_config
    return (prometheus.path or DEFAULT_PATH) if prometheus.enable else None


class Metrics:
    """Counts of requests, and histograms of their times in microseconds.

    Examples
    --------
    >>> metrics = Metrics()
    >>> metrics.request("resnet", 0)
    >>> metrics.request("resnet", 0)
    >>> print(metrics.page().splitlines()[1])
    :tensorflow:serving:request_count{model_name="resnet",status="OK"} 2
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[Labels] = Counter()
        self._times: dict[str, dict[Labels, _Histogram]] = {
            "request_latency": {},
            "runtime_latency": {},
        }

    def request(self, model: str, code: int) -> None:
        """Count a request that ended with a code."""
        with self._lock:
            self._requests[("model_name", model), ("status", NAMES[code])] += 1

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Add a time in seconds to one of the histograms."""
        with self._lock:
            self._times[name].setdefault(tuple(labels.items()), _Histogram()).add(seconds * _US)

    def observed(self, answer: Callable[..., Any], api: str, entrypoint: str) -> Callable[..., Any]:
        """Return a function that does what `answer` does with a request, and records it."""

        def call(request: Any) -> Any:
            with self.observing(request.model_spec.name, api, entrypoint):
                return answer(request)

        return call

    @contextmanager
    def observing(self, model: str, api: str, entrypoint: str) -> Any:
        """Record the block as one request; its time counts only if it ends without an error."""
        began, code = time.perf_counter(), OK
        try:
            yield
        except Exception as error:
            code = getattr(error, "error_code", UNKNOWN)
            raise
        finally:
            self.request(model, code)
            if code == OK:
                seconds = time.perf_counter() - began
                labels = {"model_name": model, "API": api, "entrypoint": entrypoint}
                self.time("request_latency", seconds, **labels)

    def page(self) -> str:
        """Return all metrics as Prometheus reads them."""
        with self._lock:
            name = f"{_PREFIX}request_count"
            lines = [f"# TYPE {name} counter"]
            lines += [f"{name}{{{_text(key)}}} {n}" for key, n in sorted(self._requests.items())]
            for short, histograms in self._times.items():
                name = _PREFIX + short
                lines.append(f"# TYPE {name} histogram")
                for key, histogram in sorted(histograms.items()):
                    lines += histogram.lines(name, _text(key))
        return "\n".join(lines) + "\n"


class MeasuredModel(LoadedModel):
    """A loaded version that records how long TensorFlow runs; it takes the metrics first."""

    def __init__(self, metrics: Metrics, *arguments: Any) -> None:
        self._metrics = metrics
        super().__init__(*arguments)

    def run(self, api: str, key: str, arrays: list[Any]) -> list[Any]:
        """Run a signature, and record the time."""
        began = time.perf_counter()
        values = super().run(api, key, arrays)
        seconds = time.perf_counter() - began
        labels = {"model_name": self.name, "API": api, "runtime": "TF1"}
        self._metrics.time("runtime_latency", seconds, **labels)
        return values


class _Histogram:
    """How many values lie in each bucket, and their sum."""

    def __init__(self) -> None:
        self.counts, self.sum = [0] * (len(_BOUNDS) + 1), 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(_BOUNDS, value)] += 1
        self.sum += value

    def lines(self, name: str, labels: str) -> list[str]:
        limits = [*(f"{bound:g}" for bound in _BOUNDS), "+Inf"]
        totals = list(accumulate(self.counts))
        return [
            *(
                f'{name}_bucket{{{labels},le="{limit}"}} {total}'
                for limit, total in zip(limits, totals, strict=True)
            ),
            f"{name}_sum{{{labels}}} {self.sum!r}",
            f"{name}_count{{{labels}}} {totals[-1]}",
        ]


def _text(labels: Labels) -> str:
    escaped = {"\\": r"\\", '"': r"\"", "\n": r"\n"}
    table = str.maketrans(escaped)
    return ",".join(f'{name}="{value.translate(table)}"' for name, value in labels)


@cache
def _message_class() -> Any:
    """Build the protobuf class of MonitoringConfig, which tensorflow-serving-api does not have."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(
        name="monitoring_config.proto", package="tensorflow.serving", syntax="proto3"
    )
    kind = descriptor_pb2.FieldDescriptorProto
    prometheus = file.message_type.add(name="PrometheusConfig")
    for number, (name, type_) in enumerate(
        (("enable", kind.TYPE_BOOL), ("path", kind.TYPE_STRING))
    ):
        prometheus.field.add(name=name, number=number + 1, label=kind.LABEL_OPTIONAL, type=type_)
    file.message_type.add(name="MonitoringConfig").field.add(
        name="prometheus_config",
        number=1,
        label=kind.LABEL_OPTIONAL,
        type=kind.TYPE_MESSAGE,
        type_name=".tensorflow.serving.PrometheusConfig",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("tensorflow.serving.MonitoringConfig")
    )
