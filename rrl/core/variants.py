"""The paper's agents: :class:`rrl.core.rrl.RRL` with other parts.

The recommended agent, `rrl`, is :class:`~rrl.core.rrl.RRL` with its default parts. These are
`rrl-boltzmann`, `rrl-adaptive` and `rrl-released`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rrl.core.exploration import Boltzmann, Temperature
from rrl.core.load_levels import LoadLevels
from rrl.core.region import FixedRadius, Region
from rrl.core.released_network import NetworkSimilarity
from rrl.core.rrl import RRL
from rrl.core.selected_radius import SelectedRadius
from rrl.core.similarity import Copy, Similarity
from rrl.core.space import ConfigSpace


def boltzmann(
    space: ConfigSpace,
    rng: np.random.Generator,
    *,
    radius: float = 1.0,
    similarity: Similarity | None = None,
    region: Region | None = None,
    temperature: Temperature | None = None,
    step: float = 0.3,
    average: bool = True,
    **settings: Any,
) -> RRL:
    """Make the paper's agent with this package's settings.

    A measurement is copied to all configurations within a fixed radius, and the next configuration
    is drawn from Boltzmann probabilities. What differs from the released code: the probabilities
    (see :func:`rrl.core.exploration.action_probabilities`), values that are means at first, what
    is deployed, and the load levels.

    Parameters
    ----------
    space, rng
        See :class:`~rrl.core.rrl.RRL`.
    radius : float, optional
        Of the region, in units of the knobs' positions.
    similarity, region : optional
        A copy, and the fixed radius.
    temperature : Temperature, optional
    step, average, **settings
        See :class:`~rrl.core.rrl.RRL`.

    Examples
    --------
    >>> from rrl import paper_cpu
    >>> agent = boltzmann(paper_cpu(), np.random.default_rng(7))
    >>> for _ in range(100):
    ...     configuration = agent.ask(load=14.0)
    ...     cost = 1 + sum((threads - 4) ** 2 for threads in configuration.values())
    ...     agent.tell(configuration, cost)
    >>> agent.best(load=14.0)
    {'inter_op': 4, 'intra_op': 4, 'batch_threads': 4}
    """
    return RRL(
        space,
        rng,
        similarity=Copy() if similarity is None else similarity,
        region=FixedRadius(radius) if region is None else region,
        exploration=Boltzmann(temperature),
        step=step,
        average=average,
        **settings,
    )


def adaptive(
    space: ConfigSpace,
    rng: np.random.Generator,
    *,
    radius: float | None = None,
    widest: float | None = None,
    **settings: Any,
) -> RRL:
    """Make the paper's adaptive agent: Bayesian optimisation selects the radius.

    All else is as in :func:`boltzmann`.

    Parameters
    ----------
    space, rng
        See :class:`~rrl.core.rrl.RRL`.
    radius, widest : float, optional
        The first radius and the widest, see :class:`~rrl.core.selected_radius.SelectedRadius`.
    **settings
        See :func:`boltzmann`.
    """
    return boltzmann(space, rng, region=SelectedRadius(space, radius, widest), **settings)


def released(
    space: ConfigSpace,
    rng: np.random.Generator,
    *,
    similarity: Similarity | None = None,
    **settings: Any,
) -> RRL:
    """Make the agent with the settings of the released code.

    A network estimates the region of radius 3, every estimate moves its value by 0.3, all loads
    share one table, and choices are nearly greedy: exp(500 Qmin / Q) is close to the minimum.

    Parameters
    ----------
    space, rng
        See :class:`~rrl.core.rrl.RRL`.
    similarity : Similarity, optional
        The network (:class:`~rrl.core.released_network.NetworkSimilarity`) by default.
    **settings
        Of :func:`boltzmann`; they replace single settings.
    """
    kept: dict[str, Any] = {
        "radius": 3.0,
        "step": 0.3,
        "average": False,
        "temperature": Temperature(0.002, 0.002),
        "loads": LoadLevels(math.inf),
    }
    similarity = NetworkSimilarity() if similarity is None else similarity
    return boltzmann(space, rng, similarity=similarity, **(kept | settings))
