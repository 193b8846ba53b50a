"""The ablation: what the size of the region, and what the agent assumes, are worth.

Each agent but `random` and `zooming` differs in one part from the reference of its family, the
recommended `rrl-gp` or the paper's `rrl`. All meet the same arrivals.
:func:`rrl.studies.outcomes.duels` compares each reference with the others of its family.
"""

from __future__ import annotations

import pandas as pd

from rrl.studies.outcomes import COMPARED, runs_table
from rrl.studies.problems import ANY_LOAD, MADE, SURFACES, both_halves
from rrl.studies.settings import Problem, Setting, cross
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
    *both_halves([("mobilenet_v2-joint-279", 81.5)]),
    *((name, ANY_LOAD) for name in MADE),
)
"""The problems: surfaces, simulated servers, a recording by both halves, and made spaces."""

FIRST_SEED = 6000  # no agent and no setting was chosen on these seeds
SEEDS, EPISODES = 30, 150


def ablation_settings(seeds: int = SEEDS) -> tuple[Setting, ...]:
    """Return the settings of every agent on every problem.

    Examples
    --------
    >>> len(ablation_settings()), ablation_settings()[0][:5]
    (154, ('wide', 10.0, 'rrl-gp', 30, 150))
    """
    agents = (agent for family in FAMILIES.values() for agent in family)
    return cross(PROBLEMS, dict.fromkeys(agents, seeds), EPISODES, FIRST_SEED)


def ablation_runs(sweep: Sweep) -> pd.DataFrame:
    """Race the settings of a sweep, and return one row per run.

    Returns
    -------
    DataFrame
        The columns are those of :func:`rrl.studies.outcomes.runs_table`. The measures of
        `COMPARED` have six digits, on which the published tables rest.
    """
    runs = runs_table(sweep.run(), sweep.scenarios())
    six = {name: runs[name].map("{:.6g}".format).astype(float) for name in COMPARED}
    return runs.assign(problem=runs["problem"].str.removesuffix("/s"), **six)
