"""Heat maps: one cell per configuration; a grid of three knobs is drawn in slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.plotting.shared import KNOB_LABELS, MARK, value_label

Floats = NDArray[np.float64]

EVEN = 0.18  # relative luminance on which black and white have the same contrast
SLICES = 5  # largest number of panels side by side


def plot_cells(
    space: ConfigSpace,
    values: ArrayLike,
    ax: Axes,
    *,
    text: str = ".0f",
    limits: tuple[float, float] | None = None,
    colours: str = "cividis_r",
    log: bool = True,
    region: Sequence[int] | NDArray[np.int64] = (),
    cross: int | None = None,
    ring: int | None = None,
) -> Axes:
    """Draw a heat map of one value per configuration, with the number in each cell.

    Parameters
    ----------
    space : ConfigSpace
        It has two knobs. The values of the first one are the rows.
    values : array_like, shape (n,)
        A cell without a value (NaN) is hatched.
    ax : Axes
    text : str, optional
        Format of the numbers, "" for none.
    limits : (float, float), optional
        Ends of the colour scale, so that panels can be compared.
    colours : str, optional
        Name of the colour map.
    log : bool, optional
        Whether the colour scale is logarithmic.
    region : array of int, optional
        A line is drawn around these configurations.
    cross, ring : int, optional
        These configurations get a cross (the last measurement) and a ring.

    Raises
    ------
    ValueError
        If the space does not have two knobs.
    """
    if len(space.knobs) != 2:
        raise ValueError(f"a heat map needs two knobs, the space has {len(space.knobs)}")
    norm = (mpl.colors.LogNorm if log else mpl.colors.Normalize)(*(limits or (None, None)))
    within = np.isin(np.arange(len(space)), region)
    image = plot_slice(
        space, values, 0, ax, norm=norm, colours=colours, region=within, cross=cross, ring=ring
    )
    name_slices(np.array([[ax]]), space, [0])
    table, below = on_grid(space, values), not (cross is None and ring is None)
    for y, x in np.argwhere(~np.isnan(table)) if text else ():
        write_number(
            f"{table[y, x]:{text}}", x, y, ax, ink(image.to_rgba(table[y, x])), below=below
        )
    return ax


def write_number(
    text: str, x: float, y: float, ax: Axes, colour: str = "black", *, below: bool = True
) -> None:
    """Write a number into a cell, or below the mark that is in its middle."""
    place: dict[str, Any] = {"xytext": (0, -12.0 * below), "textcoords": "offset points"}
    ax.annotate(text, (x, y), color=colour, ha="center", va="center", **place)


def ink(face: ArrayLike) -> str:
    """Return black or white, whichever is easier to read on a colour.

    Examples
    --------
    >>> ink((1.0, 1.0, 0.8)), ink((0.1, 0.1, 0.3))
    ('black', 'white')
    """
    rgb = np.asarray(face)[:3]
    linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > EVEN else "white"


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


# --- Grids of two or three knobs, in slices -----------------------------------------------------


def slices(space: ConfigSpace) -> list[int]:
    """Return the indices of the middle knob's values that get a panel; [0] without such a knob."""
    if len(space.knobs) == 2:
        return [0]
    order = value_order(space.knobs[1])
    places = np.linspace(0, len(order) - 1, min(len(order), SLICES)).round().astype(int)
    return [order[place] for place in places]


def plot_slice(
    space: ConfigSpace,
    values: ArrayLike,
    middle: int,
    ax: Axes,
    *,
    norm: mpl.colors.Normalize,
    colours: str = "cividis_r",
    region: ArrayLike,
    cross: int | None = None,
    ring: int | None = None,
) -> AxesImage:
    """Draw one slice of a value per configuration; what has no value (NaN) is hatched.

    Parameters
    ----------
    space : ConfigSpace
        A space of two or three knobs.
    values : array_like, shape (n,)
    middle : int
        Index of the middle knob's value; 0 without such a knob.
    ax : Axes
    norm : Normalize
        The scale of the colours.
    colours : str, optional
        Name of the colour map.
    region : array_like of bool, shape (n,)
        A line is drawn around these configurations.
    cross, ring : int, optional
        These configurations get a cross (the last measurement) and a ring (the incumbent).
    """
    image = ax.imshow(on_grid(space, values, middle), norm=norm, cmap=colours, aspect="auto")
    ax.set_facecolor("white")  # it is seen where a cell has no value
    ax.patch.set(hatch="////", edgecolor="0.6", linewidth=0)
    ax.spines[:].set_visible(True)
    halo = [withStroke(linewidth=3.6, foreground="white")]  # seen on all colours, also in grey
    lines = outline(on_grid(space, region, middle) == 1)
    for colour, width in (("white", 4.0), (MARK, 2.0)):
        how: dict[str, Any] = {"colors": colour, "linewidths": width, "capstyle": "projecting"}
        ax.add_collection(LineCollection(lines, zorder=2.5, clip_on=False, **how))
    numbers = on_grid(space, np.arange(len(space)), middle)
    for index, mark, size in ((cross, "x", 7), (ring, "o", 12)):
        for y, x in np.argwhere(numbers == (-1 if index is None else index)):
            ax.plot(x, y, mark, ms=size, mew=1.6, mfc="none", color=MARK, path_effects=halo)
    return image


def name_slices(axes: NDArray[Any], space: ConfigSpace, shown: Sequence[int]) -> None:
    """Name the values of the knobs at the edges of a table of slices, shape (rows, slices)."""
    down, *middle, across = space.knobs
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    for edge, axis, knob in ((axes[-1], "x", across), (axes[:, 0], "y", down)):
        names = [value_label(knob.name, knob.values[index]) for index in value_order(knob)]
        every = -(-len(names) // 12)  # with many values, only some get a label
        ticks = {f"{axis}ticks": range(0, len(names), every), f"{axis}ticklabels": names[::every]}
        for ax in edge:
            ax.set(**ticks, **{f"{axis}label": KNOB_LABELS.get(knob.name, knob.name)})
    for knob in middle:
        for ax, index in zip(axes[0], shown, strict=True):
            name = KNOB_LABELS.get(knob.name, knob.name)
            ax.set_title(f"{name}: {value_label(knob.name, knob.values[index])}", fontsize="small")
