"""What passes through a front: times, status, batch size and server of the requests of others."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PREDICTION = "/tensorflow.serving.PredictionService/"
KEPT = 100_000  # records in memory; about 18 MB
_RATE_OVER_S = 10.0

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers
_MOST_FIELDS = 4096  # a message with more fields than this is read no further

# The fields that lead to `ModelSpec.version`: of the first task, if a request has several.
_VERSION = {name: (1, 2) for name in ("Predict", "Classify", "Regress")}
_VERSION["MultiInference"] = (1, 1, 2)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a position, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Give the fields of a message: the number and value, or number, start and end if it has one.

    A number in the message comes as ``(field, value, -1)``; a string or a message comes as
    ``(field, start, end)``. The content is skipped, so a large tensor costs as much as a small one.
    """
    for _ in range(_MOST_FIELDS):
        if at >= end:
            return
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _BYTES:
            size, at = _varint(data, at)
            yield tag >> 3, at, at + size
            at += size
        elif kind == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value, -1
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")


def _inside(data: bytes, number: int, start: int, end: int) -> tuple[int, int]:
    """Return start and end (or the value and -1) of the first field with a number; 0, 0: none."""
    return next(((a, b) for field, a, b in _fields(data, start, end) if field == number), (0, 0))


def _first_dimension(data: bytes, start: int, end: int) -> int:
    """Return the first dimension of an entry of `PredictRequest.inputs`; 1 if it is a scalar."""
    for number in (2, 2, 2):  # the tensor in the entry, its shape, its first dimension
        start, end = _inside(data, number, start, end)
        if end <= 0:
            return 1
    return _inside(data, 1, start, end)[0]  # no field is a dimension of 0


def batch_size(method: str, request: bytes) -> int:
    """Return the batch size of a request to TensorFlow Serving, without parsing its content.

    Parameters
    ----------
    method : str
        The gRPC method. For `Predict`, the batch size is the largest first dimension of the inputs.
        For `Classify` and `Regress`, it is the number of examples.
    request : bytes
        The serialised request.

    Returns
    -------
    int
        It is 0 for other methods, and for a request that is damaged.

    Examples
    --------
    >>> from rrl.serving.loadgen import predict_request
    >>> request = predict_request({"x": np.zeros((4, 2), np.float32)}).SerializeToString()
    >>> batch_size("/tensorflow.serving.PredictionService/Predict", request)
    4
    """
    name = method.removeprefix(PREDICTION)
    if name not in ("Predict", "Classify", "Regress"):
        return 0
    try:
        if name == "Predict":
            fields = _fields(request, 0, len(request))
            sizes = [_first_dimension(request, a, b) for number, a, b in fields if number == 2]
            return max((size for size in sizes if size < 2**31), default=0)
        start, end = _inside(request, 2, 0, len(request))  # the input
        kind, start, end = next(_fields(request, start, end), (0, 0, 0))  # with or without context
        examples = [number for number, _, _ in _fields(request, start, end) if number == 1]
        return len(examples) if kind in (1, 2) else 0
    except (IndexError, ValueError):
        return 0


def names_version(method: str, request: bytes) -> bool:
    """Return whether a request wants one version of the model by its number.

    Examples
    --------
    >>> from rrl.serving.loadgen import predict_request
    >>> request, method = predict_request({}), "/tensorflow.serving.PredictionService/Predict"
    >>> names_version(method, request.SerializeToString())
    False
    >>> request.model_spec.version.value = 3
    >>> names_version(method, request.SerializeToString())
    True
    """
    start, end = 0, len(request)
    try:
        for number in _VERSION.get(method.removeprefix(PREDICTION), (0,)):
            start, end = _inside(request, number, start, end)
            if end <= 0:
                return False
    except (IndexError, ValueError):  # a damaged request
        return False
    return True


@dataclass(frozen=True)
class TrafficSample:
    """Requests of others that were answered or failed, in the order of their ends.

    Parameters
    ----------
    arrival : ndarray, shape (n,)
        Seconds by `time.monotonic`.
    latency : ndarray, shape (n,)
        Seconds from the arrival to the answer or to the failure.
    status : ndarray of int, shape (n,)
        gRPC status codes, as the client sees them.
    batch : ndarray of int, shape (n,)
        Batch sizes; 0 where the request has none.
    tried : ndarray of str, shape (n,)
        Address of the server that got the request first; empty if no server was running.
    route : ndarray of str, shape (n,)
        Address of the server whose answer the client got.
    """

    arrival: NDArray[np.float64]
    latency: NDArray[np.float64]
    status: NDArray[np.int64]
    batch: NDArray[np.int64]
    tried: NDArray[np.str_]
    route: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.arrival)

    @property
    def saved(self) -> NDArray[np.bool_]:
        """Whether the first server failed and the request was sent again to the incumbent's."""
        return self.tried != self.route


_Record = tuple[float, float, int, int, str, str]
_TYPES = (np.float64, np.float64, np.int64, np.int64, np.str_, np.str_)


class ObservedTraffic:
    """The requests of others that pass through a front; all methods may be called by any thread.

    Only the last `kept` requests stay in memory.

    Parameters
    ----------
    kept : int
        How many requests stay in memory.

    Attributes
    ----------
    largest_batch : int
        The largest batch size of a request that was answered, since the start; 0 if none was.
    mark : int
        How many requests have ended since the start. It is the argument of `since`.
    saved : int
        How many requests were sent again to the incumbent's server, since the start.
    names_version : bool
        Whether a request wanted one version of the model by its number, since the start.

    Examples
    --------
    >>> traffic = ObservedTraffic()
    >>> mark = traffic.mark
    >>> request = traffic.begin(batch=4, tried="127.0.0.1:8501")
    >>> len(traffic.open()), len(traffic.since(mark))
    (1, 0)
    >>> traffic.end(request, status=0, route="127.0.0.1:8501")
    >>> traffic.since(mark).batch.tolist(), traffic.largest_batch
    ([4], 4)
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._ended: deque[_Record] = deque(maxlen=kept)
        self._open: dict[int, tuple[float, int, str]] = {}
        self._numbers, self._lock = itertools.count(), threading.Lock()
        self._began = time.monotonic()
        self.largest_batch = self.mark = self.saved = 0
        self.names_version = False

    def begin(self, batch: int, tried: str, arrival: float | None = None) -> int:
        """Note a request that came in; return its number for `end`."""
        with self._lock:
            number = next(self._numbers)
            self._open[number] = (
                time.monotonic() if arrival is None else arrival,
                batch,
                tried,
            )
            return number

    def end(self, number: int, status: int, route: str) -> None:
        """Note that a request has ended with a gRPC status code, answered by the server `route`."""
        with self._lock:
            arrival, batch, tried = self._open.pop(number)
            latency = time.monotonic() - arrival
            self._ended.append((arrival, latency, status, batch, tried, route))
            self.mark += 1
            self.saved += tried != route
            if not status:  # a size that a server refused says nothing
                self.largest_batch = max(self.largest_batch, batch)

    def since(self, mark: int = 0) -> TrafficSample:
        """Return the requests that ended after an earlier value of `mark`."""
        with self._lock:
            new = min(max(0, self.mark - mark), len(self._ended))
            records = list(itertools.islice(reversed(self._ended), new))[::-1]
        columns = zip(*records, strict=True) if records else [()] * len(_TYPES)
        arrays = [np.array(c, dtype=t) for c, t in zip(columns, _TYPES, strict=True)]
        return TrafficSample(*arrays)

    def open(self) -> list[tuple[float, str]]:
        """Return the requests without an answer: arrival (seconds, monotonic) and server."""
        with self._lock:
            return [(arrival, tried) for arrival, _, tried in self._open.values()]

    def rate_per_s(self) -> float:
        """Return how many requests per second came in during the last `_RATE_OVER_S` seconds."""
        now = time.monotonic()
        first = max(now - _RATE_OVER_S, self._began)
        with self._lock:
            count = sum(arrival >= first for arrival, _, _ in self._open.values())
            for arrival, latency, *_ in reversed(self._ended):
                if arrival + latency < first:  # all others ended earlier still
                    break
                count += arrival >= first
        return count / max(now - first, 1e-9)
