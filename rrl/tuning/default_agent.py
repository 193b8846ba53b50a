"""The agent to use if there is no reason for another one."""

from __future__ import annotations

import numpy as np

from rrl.core.growing import GrowingRegion
from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.tuning.defaults import serving_default
from rrl.tuning.presets import SERVING_KNOBS


def default_agent(
    space: ConfigSpace, rng: np.random.Generator, *, start: Configuration | None = None
) -> GrowingRegion:
    """Make the agent to use if there is no reason for another one.

    Parameters
    ----------
    space : ConfigSpace
    rng : numpy.random.Generator
    start : configuration, optional
        The configuration that serves now. If it is not given and all knobs are knobs of TensorFlow
        Serving, the default of TensorFlow Serving is used.

    Examples
    --------
    >>> from rrl import paper_cpu
    >>> agent = default_agent(paper_cpu(), np.random.default_rng(7))
    >>> agent.ask(load=14.0)
    {'inter_op': 0, 'intra_op': 0, 'batch_threads': 0}
    >>> agent.tell(agent.ask(load=14.0), 0.5)
    >>> agent.ask(load=14.0)
    {'inter_op': 6, 'intra_op': 6, 'batch_threads': 6}
    """
    if start is None and set(space.names) <= set(SERVING_KNOBS):
        start = serving_default(space)
    return GrowingRegion(space, rng, start=start)
