"""The unit cube: where the rivals that need a metric or a kernel see a configuration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rrl.core.knob import coordinates
from rrl.core.space import ConfigSpace

Floats = NDArray[np.float64]


def unit_cube(space: ConfigSpace) -> Floats:
    """Return coordinates of all configurations, each from 0 to 1: shape (configurations, columns).

    A knob whose values have an order has one column, with its positions shifted and scaled. A
    category has one column per value, with equal distances of 1 between any two of its values. A
    knob with a single value has no column.

    Examples
    --------
    >>> from rrl import Knob
    >>> space = ConfigSpace([Knob("device", ("cpu", "gpu")), Knob("batch", (1, 4, 6))])
    >>> unit_cube(space)[-1].round(2)
    array([0.  , 0.71, 1.  ])
    """
    columns = [np.empty((len(space), 0))]
    for knob, indices in zip(space.knobs, space.value_indices.T, strict=True):
        if len(knob.values) > 1:
            own = coordinates(knob)
            if not knob.categorical:
                own = (own - own.min()) / np.ptp(own)
            columns.append(own[indices])
    return np.concatenate(columns, axis=1)
