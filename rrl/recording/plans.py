"""Plans by name: those of the profiles under `data/`, and those of the paper's grids."""

from __future__ import annotations

from rrl.recording.plan import Plan
from rrl.tuning.presets import paper_gpu

_THREADS = {"inter_op": (1, 2, 3, 4), "intra_op": (1, 2, 3, 4), "batch_threads": (0, 1, 2, 3, 4, 8)}
_DEEP_QUEUE = {"grpc_max_threads": 64, "max_enqueued_batches": 1000}

# The loads are about 30, 60 and 85 % of the rate that the best configuration sustained on the
# 2-core machine of the committed profiles. The rates are 192 requests per second for mobilenet_v2
# (126 in the busy hour), 35 for inception_v3 and 1500 for keyword.
PLANS: dict[str, Plan] = {
    "mobilenet_v2-threads": Plan(
        "mobilenet_v2", _THREADS, rates_per_s=(60, 115, 165), repeats=2, finalists=10
    ),
    "mobilenet_v2-busy": Plan(  # the same grid while other users made the machine slower
        "mobilenet_v2", _THREADS, rates_per_s=(38, 76, 107), repeats=2, finalists=10
    ),
    "mobilenet_v2-overload": Plan(  # half way between what the default and the best sustain
        "mobilenet_v2",
        {"inter_op": (1, 2), "intra_op": (1, 2), "batch_threads": (0, 4)},
        rates_per_s=(117,),
        requests=1000,
    ),
    "inception_v3-threads": Plan(
        "inception_v3",
        {"inter_op": (1, 2), "intra_op": (1, 2), "batch_threads": (0, 1, 2, 4)},
        rates_per_s=(10, 21, 30),
        finalists=10,
    ),
    "mobilenet_v2-batching": Plan(
        "mobilenet_v2",
        {
            "max_batch_size": (1, 2, 4, 8),
            "batch_timeout_micros": (0, 2000, 10_000),
            "batch_threads": (1, 2, 4),
        },
        rates_per_s=(60, 115, 165),
        # A waiting request blocks a handler thread, so a full batch needs one thread per request.
        fixed={"inter_op": 2, "intra_op": 1, **_DEEP_QUEUE},
        finalists=10,
    ),
    "keyword-threads": Plan(
        "keyword",
        {"inter_op": (1, 2), "intra_op": (1, 2), "batch_threads": (0, 1, 2, 4)},
        rates_per_s=(450, 900, 1275),
        requests=300,
        repeats=2,
        finalists=10,
    ),
}
"""The plans by name, which is also the name of a profile's folder under `data/`."""

REPEATED = tuple(PLANS)
"""The plans that ``make reproduce-all`` measures again. Those below take hours. And
``mobilenet_v2-joint-279`` stays as it is, because ``claims.yaml`` names it and its loads."""

# The best settings served 250 requests per second when 300 requests arrived at once (measured three
# times). The loads are 40, 65 and 90 % of that.
PLANS["mobilenet_v2-joint"] = Plan(
    "mobilenet_v2",
    {
        **_THREADS,
        "max_batch_size": (1, 2, 4, 8),
        "batch_timeout_micros": (0, 1000, 2000, 5000, 10_000),
    },
    rates_per_s=(100, 162, 225),
    fixed=_DEEP_QUEUE,
    seed=1,
    distinct=True,
    finalists=30,
)

# A part of that grid, at the same fractions of what another machine sustained.
PLANS["mobilenet_v2-joint-279"] = Plan(
    "mobilenet_v2",
    {
        "inter_op": (1, 2, 4),
        "intra_op": (1, 2, 4),
        "batch_threads": (0, 1, 2, 4),
        "max_batch_size": (1, 2, 4, 8),
        "batch_timeout_micros": (0, 2000, 10_000),
    },
    rates_per_s=(50.2, 81.5, 113.0),
    fixed=_DEEP_QUEUE,
    seed=2,
    distinct=True,
    finalists=10,
)

_INTERARRIVAL_S = (0.07, 0.06, 0.10, 0.12)  # gaps in the phases of the paper's released code
_TO_TEN = tuple(range(11))

PLANS["paper-cpu10"] = Plan(
    "inception_v3",
    {"inter_op": _TO_TEN, "intra_op": _TO_TEN, "batch_threads": _TO_TEN},
    rates_per_s=tuple(round(1 / gap, 2) for gap in _INTERARRIVAL_S),
    fixed=_DEEP_QUEUE,
    finalists=30,
)
PLANS["paper-gpu"] = Plan(
    "inception_v3",
    {knob.name: knob.values for knob in paper_gpu().knobs},
    rates_per_s=(200.0, 500.0, 900.0),
    fixed={"inter_op": 0, "intra_op": 0, **_DEEP_QUEUE, "grpc_max_threads": 256},
    distinct=True,
    finalists=30,
    gpu=True,
)
