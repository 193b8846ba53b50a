"""Heat maps: one cell per configuration; a grid of three knobs is drawn in slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray
from seaborn.utils import relative_luminance

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace, Floats
from rrl.plotting.shared import KNOB_LABELS, MARK, value_label

EVEN = 0.18  # relative luminance on which black and white have the same contrast
SLICES = 5  # largest number of panels side by side


def plot_cells(
    space: ConfigSpace,
    values: ArrayLike,
    ax: Axes,
    middle: int = 0,
    *,
    text: str = ".0f",
    region: Sequence[int] | NDArray[np.int64] = (),
    cross: int | None = None,
    ring: int | None = None,
    **how: Any,
) -> Axes:
    """Draw a heat map of one value per configuration, or a slice of it.

    The values of the first knob are the rows, and those of the last knob the columns. A cell
    without a value (NaN) is hatched.

    Parameters
    ----------
    space : ConfigSpace
        A space of two or three knobs.
    values : array_like, shape (n,)
    ax : Axes
    middle : int, optional
        Index of the middle knob's value, if the space has three knobs; see :func:`slices`.
    text : str, optional
        Format of the number in each cell, "" for none.
    region : sequence of int, optional
        A line is drawn around the configurations of these numbers.
    cross, ring : int, optional
        These configurations get a cross (the last measurement) and a ring (the incumbent).
    **how
        Arguments of :meth:`matplotlib.axes.Axes.imshow`, such as `clim`, so that panels can be
        compared, `cmap`, and `norm`, which is logarithmic unless it is given.
    """
    table, numbers = (on_grid(space, each, middle) for each in (values, np.arange(len(space))))
    image = ax.imshow(table, **{"norm": "log", "cmap": "cividis_r", "aspect": "auto"} | how)
    ax.set_facecolor("white")  # it is seen where a cell has no value
    ax.patch.set(hatch="////", edgecolor="0.6", linewidth=0)
    ax.spines[:].set_visible(True)
    within = np.zeros(len(space))
    within[list(region)] = 1
    lines = outline(on_grid(space, within, middle) == 1)
    for colour, width in (("white", 4.0), (MARK, 2.0)):
        edge: dict[str, Any] = {"colors": colour, "linewidths": width, "capstyle": "projecting"}
        ax.add_collection(LineCollection(lines, zorder=2.5, clip_on=False, **edge))
    halo = [withStroke(linewidth=3.6, foreground="white")]  # seen on all colours, also in grey
    for index, mark, size in ((cross, "x", 7), (ring, "o", 12)):
        for y, x in np.argwhere(numbers == (-1 if index is None else index)):
            ax.plot(x, y, mark, ms=size, mew=1.6, mfc="none", color=MARK, path_effects=halo)
    for y, x in np.argwhere(~np.isnan(table)) if text else ():
        below = -12.0 * (numbers[y, x] in (cross, ring))  # the mark is in the middle of its cell
        ax.annotate(f"{table[y, x]:{text}}", (x, y), xytext=(0, below), ha="center", va="center",
                    textcoords="offset points", color=ink(image.to_rgba(table[y, x])))  # fmt: skip
    for axis, knob in (("x", space.knobs[-1]), ("y", space.knobs[0])):
        names = [value_label(knob.name, knob.values[index]) for index in value_order(knob)]
        every = -(-len(names) // 12)  # with many values, only some get a label
        ticks = {f"{axis}ticks": range(0, len(names), every), f"{axis}ticklabels": names[::every]}
        ax.set(**ticks, **{f"{axis}label": KNOB_LABELS.get(knob.name, knob.name)})
    for knob in space.knobs[1:-1]:
        name, value = KNOB_LABELS.get(knob.name, knob.name), knob.values[middle]
        ax.set_title(f"{name}: {value_label(knob.name, value)}", fontsize="small")
    return ax


def slices(space: ConfigSpace) -> list[int]:
    """Return the indices of the middle knob's values that get a panel; [0] without such a knob."""
    if len(space.knobs) == 2:
        return [0]
    order = value_order(space.knobs[1])
    places = np.linspace(0, len(order) - 1, min(len(order), SLICES)).round().astype(int)
    return [order[place] for place in places]


def ink(face: Any) -> str:
    """Return black or white, whichever is easier to read on a colour.

    Examples
    --------
    >>> ink((1.0, 1.0, 0.8)), ink((0.1, 0.1, 0.3))
    ('black', 'white')
    """
    return "black" if relative_luminance(face) > EVEN else "white"


def value_order(knob: Knob) -> list[int]:
    """Return the indices of a knob's values in order of position."""
    return np.argsort(knob.positions, kind="stable").tolist()


def on_grid(space: ConfigSpace, costs: ArrayLike, middle: int = 0) -> Floats:
    """Return one slice of costs or other numbers; NaN where a configuration is not available.

    The rows are the values of the first knob, and the columns those of the last knob. With three
    knobs, `middle` is the index of the middle knob's value.

    Examples
    --------
    >>> from rrl import Knob
    >>> space = ConfigSpace([Knob("a", (1, 2)), Knob("b", (0, 1), positions=(1, 0))])
    >>> on_grid(space, [1.0, 2.0, 3.0, 4.0])  # b's value 1 comes first, as its position does
    array([[2., 1.],
           [4., 3.]])
    """
    grid = np.full(space.shape, np.nan)
    grid[tuple(space.value_indices.T)] = costs
    flat = grid[:, middle] if grid.ndim == 3 else grid
    return flat[np.ix_(value_order(space.knobs[0]), value_order(space.knobs[-1]))]


def outline(region: NDArray[np.bool_]) -> list[list[tuple[float, float]]]:
    """Return the edges around a region's cells, as lines from (x, y) to (x, y).

    Examples
    --------
    >>> len(outline(np.array([[True, True, False]])))
    6
    """
    padded = np.pad(region, 1)
    across = np.argwhere(padded[:, 1:] != padded[:, :-1])
    down = np.argwhere(padded[1:] != padded[:-1])
    upright = [[(x - 0.5, y - 1.5), (x - 0.5, y - 0.5)] for y, x in across.tolist()]
    flat = [[(x - 1.5, y - 0.5), (x - 0.5, y - 0.5)] for y, x in down.tolist()]
    return upright + flat
