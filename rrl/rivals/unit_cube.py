"""The unit cube: where the rivals that need a metric or a kernel see a configuration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rrl.core.knob import Knob, coordinates
from rrl.core.space import ConfigSpace

Floats = NDArray[np.float64]


class UnitCube:
    """Coordinates of all configurations, each from 0 to 1.

    A knob whose values have an order has one column, with its positions shifted and scaled. A
    category has one column per value, with equal distances of 1 between any two of its values. A
    knob with a single value has no column.

    Parameters
    ----------
    space : ConfigSpace

    Attributes
    ----------
    points : ndarray, shape (configurations, columns)
    knobs : ndarray of int, shape (columns,)
        This is the knob of each column.

    Examples
    --------
    >>> cube = UnitCube(ConfigSpace([Knob("device", ("cpu", "gpu")), Knob("batch", (1, 4, 6))]))
    >>> cube.points[-1].round(2), cube.knobs
    (array([0.  , 0.71, 1.  ]), array([0, 0, 1]))
    """

    def __init__(self, space: ConfigSpace) -> None:
        self.space, columns, knobs = space, [np.empty((len(space), 0))], []
        for k, knob in enumerate(space.knobs):
            if len(knob.values) > 1:
                own = coordinates(knob) if knob.categorical else _ordered(knob)
                columns.append(own[space.value_indices[:, k]])
                knobs += [k] * own.shape[1]
        self.points: Floats = np.concatenate(columns, axis=1)
        self.knobs = np.array(knobs, dtype=np.int64)

    def distances(self, index: int) -> Floats:
        """Return the Euclidean distance from one configuration to each, shape (n,)."""
        away = self.points - self.points[index]
        return np.sqrt(np.einsum("ij,ij->i", away, away))


def _ordered(knob: Knob) -> Floats:
    positions = np.asarray(knob.positions)
    return ((positions - positions.min()) / np.ptp(positions))[:, None]
