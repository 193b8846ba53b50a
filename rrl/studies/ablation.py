"""The ablation: what the size of the region, and what the agent assumes, are worth.

Each agent but `random` and `zooming` differs in one part from the reference of its family, the
recommended `rrl-gp` or the paper's `rrl`. All meet the same arrivals. :func:`make_ablation` races
them as a :class:`rrl.studies.sweeps.Sweep`, so it can be stopped and run again.
:func:`rrl.studies.outcomes.duels` compares each reference with the others of its family.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pandas as pd

from rrl.studies.outcomes import COMPARED, Problem, runs_table
from rrl.studies.problems import ANY_LOAD, MADE, SURFACES
from rrl.studies.settings import Setting, cross
from rrl.studies.sweeps import Sweep

FAMILIES = {
    "rrl-gp": (
        "rrl-gp",
        "rrl-gp-flat-constant",
        "rrl-gp-no-middle",
        "rrl-gp-reach-1",
        "rrl-gp-reach-3",
        "random",
    ),
    "rrl": (
        "rrl",
        "rrl-radius-2",
        "rrl-wide",
        "rrl-schedule",
        "rrl-random-radius",
        "rrl-adaptive-flat-prior",
        "rrl-adaptive",
        "zooming",
    ),
}
"""The agents of each family, by the reference that they are compared with."""

PROBLEMS: tuple[Problem, ...] = (
    *((name, ANY_LOAD) for name in SURFACES),
    ("cpu10", 12.5),
    ("gpu", 500.0),
    ("cpu2-joint", 115.0),
    ("mobilenet_v2-joint-279", 81.5),
    *((name, ANY_LOAD) for name in MADE),
)
"""The problems: surfaces, simulated servers, a recording, and spaces made on purpose."""

FIRST_SEED = 6000  # no agent and no setting was chosen on these seeds
SEEDS, EPISODES = 30, 150


def ablation_settings(
    testbeds: Collection[str] | None = None,
    agents: Iterable[str] | None = None,
    seeds: int = SEEDS,
) -> tuple[Setting, ...]:
    """Return the settings of some testbeds and agents, by default of all.

    Examples
    --------
    >>> len(ablation_settings()), ablation_settings(["pool"], ["rrl-gp"])[0][:5]
    (140, ('pool', 10.0, 'rrl-gp', 30, 150))
    """
    names = [name for family in FAMILIES.values() for name in family] if agents is None else agents
    where = [problem for problem in PROBLEMS if testbeds is None or problem[0] in testbeds]
    return cross(where, dict.fromkeys(names, seeds), EPISODES, FIRST_SEED)


def ablation_runs(sweep: Sweep) -> pd.DataFrame:
    """Race the settings of a sweep, and return one row per run.

    Returns
    -------
    DataFrame
        The columns are `problem`, `agent`, `seed` and those of
        :data:`rrl.studies.outcomes.COMPARED`, as :func:`rrl.studies.outcomes.runs_table` has them.
    """
    runs = runs_table(sweep.run(), sweep.scenarios())
    names = runs["problem"].str.removesuffix("/s")
    return runs.assign(problem=names)[["problem", "agent", "seed", *COMPARED]]


def make_ablation(sweep: Sweep) -> dict[str, pd.DataFrame]:
    """Race the missing settings, and return the rows of the only file of the table."""
    return {"runs": ablation_runs(sweep.of(ablation_settings()))}
