"""One rule of what to deploy for all agents: what is due to a rival's search, and what to its rule.

A rival deploys the configuration with the lowest mean so far (`gp-ei`: by its model), and the RRL
agents deploy by :func:`rrl.core.rrl.deploy`. The lowest mean moves at once to a configuration that
was lucky. So it may meet a good one sooner and keep it less long. What a rival serves under a
steady load does not depend on what it would deploy. So its runs can be judged by the other rule,
too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rrl.core.qtable import QTable
from rrl.core.rrl import deploy
from rrl.core.space import ConfigSpace
from rrl.studies.race import Race


def redeployed(space: ConfigSpace, runs: Race) -> Race:
    """Return the same runs as if the RRL agents' rule had chosen what to deploy.

    The table has the measurements of the run and no estimates, because rivals make none.

    Parameters
    ----------
    space : ConfigSpace
    runs : Race
        Runs under a steady load, with their costs.

    Examples
    --------
    A single measurement that is lower by a tenth may be luck, so it changes nothing:

    >>> from rrl import Knob
    >>> space = ConfigSpace([Knob("threads", (1, 2))])
    >>> chosen, costs = np.array([[0, 1, 1, 1]]), np.array([[1.0, 0.9, 0.5, 0.5]])
    >>> lowest = np.array([[0, 1, 1, 1]])
    >>> redeployed(space, Race(chosen, lowest, 0.0, costs)).recommended
    array([[0, 0, 1, 1]], dtype=int32)
    """
    recommended = np.empty(runs.chosen.shape, dtype=np.int32)
    for row, (chosen, costs) in enumerate(zip(runs.chosen, runs.costs, strict=True)):
        table = QTable(space)
        for episode, (index, cost) in enumerate(zip(chosen.tolist(), costs.tolist(), strict=True)):
            table.record(index, cost)
            table.incumbent = recommended[row, episode] = deploy(table)
    return replace(runs, recommended=recommended)
