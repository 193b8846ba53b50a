"""The recommended agent for TensorFlow Serving."""

from __future__ import annotations

from typing import Any

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.rrl import RRL, gp
from rrl.core.space import ConfigSpace
from rrl.tuning.defaults import serving_default
from rrl.tuning.presets import SERVING_KNOBS


def recommended(
    space: ConfigSpace,
    rng: np.random.Generator,
    *,
    start: Configuration | None = None,
    **settings: Any,
) -> RRL:
    """Make the agent `rrl-gp`: :func:`rrl.core.rrl.gp`, which starts from what serves now.

    Parameters
    ----------
    space : ConfigSpace
    rng : numpy.random.Generator
    start : configuration, optional
        The configuration that serves now. If it is not given and all knobs are knobs of TensorFlow
        Serving, the default of TensorFlow Serving is used.
    **settings
        Of :func:`rrl.core.rrl.gp`, such as `warm`, which also gives a start if there is no other.

    Examples
    --------
    >>> from rrl import paper_cpu
    >>> agent = recommended(paper_cpu(), np.random.default_rng(7))
    >>> agent.ask(load=14.0)
    {'inter_op': 0, 'intra_op': 0, 'batch_threads': 0}
    >>> agent.tell(agent.ask(load=14.0), 0.5)
    >>> agent.ask(load=14.0)
    {'inter_op': 6, 'intra_op': 6, 'batch_threads': 6}
    """
    if start is None and set(space.names) <= set(SERVING_KNOBS):
        start = serving_default(space)
    return gp(space, rng, start=start, **settings)
