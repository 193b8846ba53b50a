"""Ready-made simulated servers: each is a model on a machine, with knobs to tune.

==============  =======================================  ==========================  ============
name            knobs                                    served                      requests/s
==============  =======================================  ==========================  ============
``cpu2``        inter_op, intra_op 1..4, batch_threads   MobileNetV2 on 2 cores      60 to 165
                off, 1..4, 8: 96 configurations
``cpu2-joint``  the same with max_batch_size 1..8 and    MobileNetV2 on 2 cores      60 to 165
                batch_timeout_micros 0..10,000:
                1296 configurations
``cpu10``       inter_op, intra_op, batch_threads 0..10  Inception v3 on 10 cores    8.3 to 16.7
                1331 configurations, the paper's grid
``cpu10-cores`` cpus 1..10; inter_op, intra_op 1, 2, 3,  Inception v3 on up to       8.3 to 16.7
                5, 10; batch_threads the same or off:    10 cores
                1500 configurations
``gpu``         max_batch_size, batch_timeout_micros,    Inception v3 on one GPU     200 to 900
                batch_threads: 512 configurations
==============  =======================================  ==========================  ============

Each number was fitted to a recorded profile, was published, or is assumed. A comment beside the
number says which, and `SOURCES` has a word for it. *Fitted* means that
:mod:`rrl.simulation.calibration` fits the number to a profile under ``data/``. The profiles were
recorded on a machine with 2 cores, with TensorFlow's runtime and batch scheduler.

The simulator's notebook shows how well held-out configurations are predicted, and how much depends
on the assumptions.

``cpu10-cores`` is ``cpu10`` with one more knob: the number of cores that the server is bound to.
That a bound server behaves like one on a machine with so few cores is assumed, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from rrl.recording.plan import PLANS
from rrl.simulation.service_model import Machine, Model
from rrl.simulation.simulator import SimulatedServer
from rrl.tuning.presets import CPUS, effective_space, paper_cpu, paper_gpu

# Fitted to mobilenet_v2-threads (288 means of 4 episodes). `variation`, and the `noise` of the
# machines, are assumed: episodes vary as much as recorded ones.
MOBILENET_V2 = Model(
    "mobilenet_v2",
    item=0.0067,  # with `fixed`: fitted to mobilenet_v2-batching, given the sum of the two
    fixed=0.0005,
    parallel=0.3,
    sync=0.0049,
    dispatch=0.00053,
    front_end=0.0087,
    overhead=0.0036,
    variation=0.3,
)
# Fitted to inception_v3-threads, given `parallel`.
INCEPTION_V3 = Model(
    "inception_v3",
    # Assumed: 11.4 GFLOP at 33 GFLOP/s keep 10 cores 30 to 60 % busy at the paper's loads. The fit
    # gives 0.050 s: a core of the recorded profile is faster.
    item=0.35,
    parallel=0.9,  # published: 1 to 12 threads of a server with 16 cores
    sync=0.0111,
    branches=1.3,
    dispatch=0.0007,
    front_end=0.0085,
    overhead=0.0059,
    variation=0.1,
)
# Assumed: the time of a batch is affine in its size (Shen et al., "Nexus", SOSP 2019).
INCEPTION_V3_GPU = Model(
    "inception_v3", item=0.0006, fixed=0.006, dispatch=0.001, overhead=0.0060, variation=0.05
)
# The machine of the profiles, fitted to mobilenet_v2-threads, too.
TWO_CORES = Machine("2 cores", cores=2, spin=0.18, switching=0.09, wake=0.0036, noise=0.1)
AMPLE = {"max_enqueued_batches": 1000}  # so many that an episode of 1000 requests is never rejected


def _on_two_cores(plan: str) -> SimulatedServer:
    """Return a server with the grid of a recording."""
    space = effective_space(PLANS[plan].knobs, int(TWO_CORES.cores))
    return SimulatedServer(space, MOBILENET_V2, TWO_CORES, AMPLE)


# The cores are those of the paper's released code. The contention is assumed: 3 % per busy core.
# With it, notebook 11 fits the 0.90 of `parallel`; with 0.5 %, it would fit 0.87.
TEN_CORES = replace(TWO_CORES, name="10 cores", cores=10, contention=0.03, handlers=40)


def _cpu10() -> SimulatedServer:
    return SimulatedServer(paper_cpu(10), INCEPTION_V3, TEN_CORES, AMPLE)


def _cpu10_cores() -> SimulatedServer:
    threads = (1, 2, 3, 5, 10)
    pools = {"inter_op": threads, "intra_op": threads, "batch_threads": (0, *threads)}
    space = effective_space({CPUS: range(1, 11), **pools}, int(TEN_CORES.cores))
    return SimulatedServer(space, INCEPTION_V3, TEN_CORES, AMPLE)


def _gpu() -> SimulatedServer:
    machine = Machine("one GPU", cores=1, noise=0.05, handlers=512)
    return SimulatedServer(paper_gpu(), INCEPTION_V3_GPU, machine)


_POOLS = ("sync", "dispatch", "front_end", "overhead")
_HELPERS = ("spin", "switching", "wake")
_TWO = {
    **dict.fromkeys((*_POOLS, *_HELPERS, "item", "fixed", "parallel"), "fitted"),
    "cores": "published",
}
_LARGE = {
    **dict.fromkeys((*_POOLS, "branches"), "fitted"),
    **dict.fromkeys((*_HELPERS, "noise"), "carried"),
    **dict.fromkeys(("cores", "parallel"), "published"),
}
#: What each parameter of a testbed is; carried: over from ``cpu2``. The others are assumed.
SOURCES = {"cpu2": _TWO, "cpu2-joint": _TWO, "cpu10": _LARGE, "cpu10-cores": _LARGE, "gpu": {}}


TESTBEDS: dict[str, Callable[[], SimulatedServer]] = {
    "cpu2": partial(_on_two_cores, "mobilenet_v2-threads"),
    "cpu2-joint": partial(_on_two_cores, "mobilenet_v2-joint"),
    "cpu10": _cpu10,
    "cpu10-cores": _cpu10_cores,
    "gpu": _gpu,
}


def testbed(name: str) -> SimulatedServer:
    """Build a testbed by name; the module's table describes each testbed.

    Raises
    ------
    ValueError
        If there is no such testbed. The message lists all testbeds.

    Examples
    --------
    >>> len(testbed("cpu10").space)
    1331
    """
    if name not in TESTBEDS:
        raise ValueError(f"unknown testbed {name!r}: use one of {list(TESTBEDS)}")
    return TESTBEDS[name]()
