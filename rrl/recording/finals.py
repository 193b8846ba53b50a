"""The finals of a profile: measure the best of each load again to find out which ones are good.

A grid is measured only a few times, and the smallest of many noisy means is partly small by luck.
So the best configurations of each half of the data are measured again, in new episodes. The finals
also have two halves, and each half decides by itself. So an agent is never judged by the data from
which it learned.

In each round, all finalists of a load get the same arrivals. A half continues with the *open*
finalists: their ratio to the best is not yet known within `PRECISION`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rrl.core.space import from_table
from rrl.recording.plan import Plan, Visit, ordered
from rrl.recording.record import Recorder
from rrl.recording.truth import Verdict, judge
from rrl.serving.quiet import load_tensorflow
from rrl.support.errors import UsageError
from rrl.support.machine import available_cpus
from rrl.tuning.defaults import heuristic_candidates, serving_default
from rrl.tuning.episode import Episode

if TYPE_CHECKING:
    from rrl.serving.live import LiveServer
    from rrl.serving.sample import Inputs

HALVES = (0, 1)
REPEATS = 4  # episodes per finalist and load in one round
PRECISION = 0.03  # half the width of the 95 % interval of a ratio to the best, as a fraction
MOST_ROUNDS = 40  # largest number of rounds per half


class Finals:
    """The rounds of the finals, which depend on earlier results; give `order()` to `Recorder.run`.

    Parameters
    ----------
    recorder : Recorder
        A recorder that has completed the passes of its plan.

    Attributes
    ----------
    finalists : list of list of int
        The numbers of the finalists at each load: the best of the two halves.
    guests : list of list of int
        The numbers of the guests at each load: the usual settings that are best by a half, if they
        are no finalists. The usual settings are the server's default, those that the batching guide
        suggests, and those of the adaptive scheduler. While the finals are recorded, guests are
        compared with the best, but are never the best. Later they are judged like the finalists,
        see :func:`rrl.recording.truth.judge_half`.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder, self.plan = recorder, recorder.plan
        rates = range(len(self.plan.rates_per_s))
        self.finalists = [self._finalists(rate) for rate in rates]
        self.guests = [self._guests(rate) for rate in rates]

    def _finalists(self, rate: int) -> list[int]:
        count, size = self.plan.finalists, len(self.plan.space)
        best = [np.argsort(self._half(rate, h)[:size], kind="stable")[:count] for h in HALVES]
        return sorted({int(index) for half in best for index in half})

    def _guests(self, rate: int) -> list[int]:
        space = self.plan.space
        cores = available_cpus()
        usual = [
            [space.index(serving_default(space, cores))],
            [space.index(c) for c in heuristic_candidates(space, cores)],
            list(range(len(space), len(self.plan.configurations))),
        ]
        means = [self._half(rate, half) for half in HALVES]
        found = {group[int(np.nanargmin(m[group]))] for group in usual if group for m in means}
        return sorted(found - set(self.finalists[rate]))

    def _half(self, rate: int, half: int) -> NDArray[np.float64]:
        """Return means (s) over the grid passes of a half at a rate index; infinite if no data."""
        means = self.recorder.grid_means(rate, range(half, self.plan.grid_passes, 2))
        return np.nan_to_num(means, nan=np.inf)

    def rounds(
        self, rate: int, half: int, before: float = np.inf
    ) -> tuple[list[int], NDArray[np.float64]]:
        """Return what the finals of a half have measured at a rate index before a pass.

        Returns
        -------
        columns : list of int
            The numbers of the finalists, then those of the guests.
        means : ndarray, shape (episodes, columns)
            Mean latencies in seconds; NaN if the configuration took no part.
        """
        columns, rows = [*self.finalists[rate], *self.guests[rate]], self.recorder.means(rate)
        finals = (rows["pass"] >= self.plan.grid_passes) & (rows["pass"] % 2 == half)
        rows = rows[finals & (rows["pass"] < before)]
        means = rows.pivot(index=["pass", "repeat"], columns="configuration", values="mean_s")
        return columns, means.reindex(columns=columns).to_numpy()

    def entrants(self, rate: int, pass_: int) -> list[int]:
        """Return the numbers of the configurations that a round measures at a rate index.

        The first round measures all finalists and guests. A later round measures those that are
        open after the earlier rounds, and the best. If none is open, it measures nothing.
        """
        columns, means = self.rounds(rate, pass_ % 2, before=pass_)
        if not len(means):
            return columns
        best, verdicts = judge(means, contenders=len(self.finalists[rate]))
        opened = [i for i, verdict in enumerate(verdicts) if not known(verdict)]
        return [columns[i] for i in sorted({*opened, best})] if opened else []

    def order(self) -> Iterator[list[Visit]]:
        """Yield the rounds of the two halves in turn, until no ratio is open in either half.

        Each round depends only on earlier rounds, so an interrupted round continues unchanged.
        """
        plan, idle = self.plan, 0
        for pass_ in range(plan.grid_passes, plan.grid_passes + 2 * MOST_ROUNDS):
            wanted: dict[int, list[tuple[int, int]]] = defaultdict(list)
            for rate in range(len(plan.rates_per_s)):
                for index in self.entrants(rate, pass_):
                    wanted[index] += [(rate, repeat) for repeat in range(REPEATS)]
            if wanted:
                yield ordered(plan, wanted, pass_)
            idle = 0 if wanted else idle + 1
            if idle == len(HALVES):
                return


def known(verdict: Verdict) -> bool:
    """Return whether a ratio to the best is known within `PRECISION`, above and below.

    Examples
    --------
    >>> known(Verdict("tied", 1.0, 0.98, 1.02)), known(Verdict("undecided", 1.0, 0.9, 1.1))
    (True, False)
    """
    return verdict.word == "best" or verdict.high <= verdict.low * (1 + PRECISION) ** 2


def least_seconds(plan: Plan) -> float:
    """Return about how many seconds the finals take at least: one round per half.

    Examples
    --------
    >>> plan = Plan("keyword", {"inter_op": (1, 2)}, rates_per_s=(50.0,))
    >>> round(least_seconds(plan))
    62
    """
    entrants = plan.configurations[: plan.finalists]
    return len(HALVES) * plan.seconds(entrants, REPEATS) if entrants else 0.0


def prepare_machine(plan: Plan) -> None:
    """Check that this machine can record a plan, and use no more cores than the plan names.

    Raises
    ------
    UsageError
        If there are too few cores, or if the plan needs a GPU and there is none.
    """
    cores = sorted(os.sched_getaffinity(0))
    if plan.cpus and len(cores) < plan.cpus:
        raise UsageError(
            f"the plan needs {plan.cpus} cores, this machine has {len(cores)}; "
            "record it on a larger one, see data/README.md"
        )
    if plan.cpus:
        os.sched_setaffinity(0, cores[: plan.cpus])  # its servers inherit this
    if plan.gpu:
        load_tensorflow()
        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU"):
            raise UsageError(
                "the plan needs a GPU, and TensorFlow finds none; if this machine has one, install "
                "tensorflow[and-cuda], see data/README.md"
            )


def live_server(
    plan: Plan,
    rng: np.random.Generator,
    *,
    models: str | os.PathLike[str] = "build/models",
    base: Path | None = None,
    inputs: Sequence[Inputs] | None = None,
    **settings: Any,
) -> LiveServer:
    """Return a server for the configurations of a plan.

    Parameters
    ----------
    plan : Plan
    rng : numpy.random.Generator
        It draws the request of a known model.
    models : path
        The folder in which known models are built.
    base : pathlib.Path, optional
        The base path of one's own model. By default, the plan names a known model.
    inputs : sequence, optional
        The requests to send to one's own model. The default is one random request.
    **settings
        Of :class:`rrl.serving.live.LiveServer`, such as `executable`, `start_timeout_s` (s),
        `signature`, and the `timeout_s` of a request (s).
    """
    from rrl.serving.live import LiveServer
    from rrl.serving.models import build, sample

    if base is None:
        base, inputs = build(plan.model, models), [sample(plan.model, rng)]
    names = list(plan.configurations[0])
    space = from_table({name: [c[name] for c in plan.configurations] for name in names}, names)
    return LiveServer(base, space, inputs=inputs, fixed=plan.fixed, **settings)


def record_live(
    plan: Plan, folder: Path, say: Callable[[str], None] = lambda line: None, **server: Any
) -> Iterator[tuple[int, Episode]]:
    """Record a plan and its finals on a new server, or continue the recording in `folder`.

    Parameters
    ----------
    plan : Plan
    folder : pathlib.Path
        The folder of the profile.
    say : callable, optional
        It is told in one line why the recording waits.
    **server
        See :func:`live_server`.

    Yields
    ------
    done, episode
        The number of episodes recorded so far, and the newest episode, which is on disk.

    Raises
    ------
    UsageError
        If this machine cannot record the plan, or if another process records into the folder.
    """
    prepare_machine(plan)
    rng = np.random.default_rng(plan.seed)
    with (
        closing(Recorder(plan, folder, say=say)) as recorder,
        live_server(plan, rng, **server) as running,
    ):
        for episode in recorder.run(running, rng):
            yield len(recorder), episode
        if plan.finalists:
            for episode in recorder.run(running, rng, Finals(recorder).order()):
                yield len(recorder), episode
        recorder.finish()
