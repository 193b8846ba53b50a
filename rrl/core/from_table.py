"""The space that a table of measurements covers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.knob import Knob, Scale, column, spread
from rrl.core.space import ConfigSpace


def from_table(
    table: Mapping[str, ArrayLike],
    knobs: Sequence[str],
    scale: Scale | Mapping[str, Scale] = "rank",
) -> ConfigSpace:
    """Build the space that a table of measurements covers.

    Parameters
    ----------
    table : DataFrame or mapping of str to array_like
        One row a measurement. Rows may repeat and combinations may be missing.
    knobs : sequence of str
        The columns that are knobs; each column's sorted values become its levels.
    scale : {"rank", "value", "log"} or mapping of str to these, optional
        Positions of the levels: 0, 1, 2, ... (default), the values themselves, or their base-2
        logarithms; a mapping sets it knob by knob.

    Raises
    ------
    ValueError
        If a column is missing, holds NaN, or cannot be put on the scale.

    Examples
    --------
    >>> table = {"batch": [1, 8, 8, 64], "threads": [1, 1, 2, 2], "p99": [0.3, 0.1, 0.2, 0.4]}
    >>> space = from_table(table, ["batch", "threads"], scale={"batch": "log"})
    >>> space
    ConfigSpace(batch[3] x threads[2], 4 available)
    >>> space.knobs[0].positions
    (0.0, 3.0, 6.0)
    """
    if isinstance(knobs, str):
        raise TypeError(f"knobs must be a list of column names, got the string {knobs!r}")
    scales = scale if isinstance(scale, Mapping) else dict.fromkeys(knobs, scale)
    if unknown := sorted(set(scales) - set(knobs)):
        raise ValueError(f"scale names {unknown}, the knobs are {list(knobs)}")
    columns = {name: column(table, name) for name in knobs}
    made = []
    for name, values in columns.items():
        levels = sorted(set(values), key=lambda x: (isinstance(x, str), x))
        made.append(Knob(name, tuple(levels), spread(name, levels, scales.get(name, "rank"))))
    rows = [[knob.index(level) for level in columns[knob.name]] for knob in made]
    return ConfigSpace(made, available=np.array(rows, dtype=np.int64).T)
