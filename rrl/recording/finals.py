"""The finals of a profile: re-measure the best of each load until it is known who is good.

A grid is measured a few times only, and the smallest of many noisy means is small partly by luck.
So the best of each half of the data meet again, on fresh episodes. The finals have two halves of
their own, and each decides for itself, so what an agent learned from is never what judges it.

Round by round, all finalists of a load meet the same arrivals. A half goes on with those that are
*open*: their ratio to the best is not known within `PRECISION`. At first those that are surely not
good leave too; at the end they are measured to the same precision.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rrl.core.space import from_table
from rrl.recording.judging import TOLERANCE, Verdict, judge
from rrl.recording.plan import Plan, Visit, ordered
from rrl.recording.record import Recorder
from rrl.serving.quiet import load_tensorflow
from rrl.support.errors import UsageError
from rrl.support.machine import available_cpus
from rrl.tuning.defaults import heuristic_candidates, serving_default
from rrl.tuning.episode import Episode

HALVES = (0, 1)
REPEATS = 4  # episodes of a finalist and load in a round
PRECISION = 0.03  # half the width of the 95 % interval of a ratio to the best, as a share
CONFIDENCE = 0.975  # of each of its two limits
SURE = 0.9995  # of the limit that says that a finalist is not good: it is looked at many times
MOST_ROUNDS = 40  # of a half


class Finals:
    """The adaptive order of the rounds; hand `order()` to `Recorder.run`.

    Parameters
    ----------
    recorder : Recorder
        The passes of its plan must be complete.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder, self.plan = recorder, recorder.plan

    def finalists(self, rate: int) -> list[int]:
        """Numbers of those that can be the best: the union of each half's best at a rate index."""
        count, size = self.plan.finalists, len(self.plan.space)
        best = [np.argsort(self._half(rate, h)[:size], kind="stable")[:count] for h in HALVES]
        return sorted({int(index) for half in best for index in half})

    def guests(self, rate: int) -> list[int]:
        """Numbers of those that are compared with the best: each half's best of the usual settings.

        The server's default; of what the batching guide says to try, the better; of the adaptive
        scheduler's settings, the best.
        """
        space = self.plan.space
        cores = available_cpus()
        usual = [
            [space.index(serving_default(space, cores))],
            [space.index(c) for c in heuristic_candidates(space, cores)],
            list(range(len(space), len(self.plan.configurations))),
        ]
        means = [self._half(rate, half) for half in HALVES]
        found = {group[int(np.nanargmin(m[group]))] for group in usual if group for m in means}
        return sorted(found - set(self.finalists(rate)))

    def _half(self, rate: int, half: int) -> NDArray[np.float64]:
        """Means (s) of the grid's passes of a half at a rate index; infinite where none counts."""
        means = self.recorder.grid_means(rate, range(half, self.plan.grid_passes, 2))
        return np.nan_to_num(means, nan=np.inf)

    def rounds(
        self, rate: int, half: int, before: float = np.inf
    ) -> tuple[list[int], NDArray[np.float64]]:
        """Columns, and what the finals of a half measured at a rate index before a pass.

        Returns
        -------
        columns : list of int
            Numbers of the finalists, then of the guests.
        means : ndarray, shape (episodes, columns)
            In seconds; NaN where one took no part.
        """
        columns = [*self.finalists(rate), *self.guests(rate)]
        episodes: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
        for pass_, repeat, index, mean in self.recorder.means(rate):
            of_half = self.plan.grid_passes <= pass_ < before and pass_ % 2 == half
            if of_half and index in columns:
                episodes[pass_, repeat][columns.index(index)] = mean
        table = np.full((len(episodes), len(columns)), np.nan)
        for row, (_, means) in enumerate(sorted(episodes.items())):
            table[row, list(means)] = list(means.values())
        return columns, table

    def entrants(self, rate: int, pass_: int, to_the_end: bool) -> list[int]:
        """Numbers of those that a round measures at a rate index, by all rounds before it.

        All at first; then those that are open, and the best with them.
        """
        columns, means = self.rounds(rate, pass_ % 2, before=pass_)
        if not len(means):
            return columns
        contenders = len(self.finalists(rate))
        _, verdicts = judge(means, confidence=CONFIDENCE, contenders=contenders)
        _, surely = judge(means, confidence=SURE, contenders=contenders)
        words = [verdict.word for verdict in verdicts]
        opened = [
            i
            for i, verdict in enumerate(verdicts)
            if not known(verdict) and (to_the_end or surely[i].low <= 1 + TOLERANCE)
        ]
        return [columns[i] for i in sorted({*opened, words.index("best")})] if opened else []

    def order(self) -> Iterator[list[Visit]]:
        """Rounds of the two halves in turns, until nothing is open in either.

        Each round follows from those before it, so an interrupted one is taken up as it was.
        """
        plan = self.plan
        for pass_ in range(plan.grid_passes, plan.grid_passes + 2 * MOST_ROUNDS):
            for to_the_end in (False, True):
                wanted: dict[int, list[tuple[int, int]]] = defaultdict(list)
                for rate in range(len(plan.rates_per_s)):
                    for index in self.entrants(rate, pass_, to_the_end):
                        wanted[index] += [(rate, repeat) for repeat in range(REPEATS)]
                if wanted:
                    yield ordered(plan, wanted, pass_)
                    break


def known(verdict: Verdict) -> bool:
    """Whether a ratio to the best is known within `PRECISION`, above and below.

    Examples
    --------
    >>> known(Verdict("tied", 1.0, 0.98, 1.02)), known(Verdict("undecided", 1.0, 0.9, 1.1))
    (True, False)
    """
    return verdict.word == "best" or verdict.high <= verdict.low * (1 + PRECISION) ** 2


def prepare_machine(plan: Plan) -> None:
    """Refuse a plan that this machine cannot record, and keep to the cores that it names.

    Raises
    ------
    UsageError
        If there are too few cores, or no GPU where the plan needs one.
    """
    cores = sorted(os.sched_getaffinity(0))
    if plan.cpus and len(cores) < plan.cpus:
        raise UsageError(
            f"the plan needs {plan.cpus} cores, this machine has {len(cores)}; "
            "record it on a larger one, see data/README.md"
        )
    if plan.cpus:
        os.sched_setaffinity(0, cores[: plan.cpus])  # servers that are started inherit it
    if plan.gpu:
        load_tensorflow()
        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU"):
            raise UsageError(
                "the plan needs a GPU, and TensorFlow finds none; on a machine with one install "
                "tensorflow[and-cuda], see data/README.md"
            )


def record_live(
    plan: Plan,
    folder: Path,
    executable: str | None = None,
    models: str | os.PathLike[str] = "build/models",
) -> Iterator[tuple[int, Episode]]:
    """Record a plan, then its finals, on servers started here; continues what `folder` holds.

    Parameters
    ----------
    plan : Plan
        Its model is one that `rrl.serving.models` can build.
    folder : pathlib.Path
        The profile to write.
    executable : str, optional
        See `rrl.serving.launcher.find_executable`.
    models : path
        Where models are built.

    Yields
    ------
    done, episode
        Episodes recorded so far, and the newest, which is on disk.

    Raises
    ------
    UsageError
        If this machine cannot record the plan.
    """
    from rrl.serving.live import LiveServer
    from rrl.serving.models import build, sample

    prepare_machine(plan)
    recorder = Recorder(plan, folder)
    rng = np.random.default_rng(plan.seed)
    path, inputs = build(plan.model, models), sample(plan.model, rng)
    names = list(plan.configurations[0])
    table = {name: [c[name] for c in plan.configurations] for name in names}
    space = from_table(table, names)
    with LiveServer(path, space, inputs=inputs, fixed=plan.fixed, executable=executable) as server:
        for episode in recorder.run(server, rng):
            yield len(recorder), episode
        if plan.finalists:
            for episode in recorder.run(server, rng, Finals(recorder).order()):
                yield len(recorder), episode
    recorder.finish()
