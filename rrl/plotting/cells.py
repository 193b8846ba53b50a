"""Heat maps: one cell per configuration, or one number per cell of a table."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike, NDArray
from seaborn.utils import relative_luminance

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.plotting.shared import KNOB_LABELS, MARK, value_label

Floats = NDArray[np.float64]

EVEN = 0.18  # relative luminance on which black and white have the same contrast
RING = {"marker": "o", "ms": 24, "mew": 1.8, "mfc": "none", "color": MARK, "ls": ""}
CROSS = RING | {"marker": "X", "ms": 6}


def plot_cells(
    space: ConfigSpace,
    values: ArrayLike,
    ax: Axes | None = None,
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
        A cell without a value (NaN) stays grey.
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
        These configurations get a small cross (the last measurement) and a ring.

    Raises
    ------
    ValueError
        If the space does not have two knobs.
    """
    if len(space.knobs) != 2:
        raise ValueError(f"a heat map needs two knobs, the space has {len(space.knobs)}")
    ax = ax or plt.gca()
    table, numbers = on_grid(space, values), on_grid(space, np.arange(len(space)))
    scale = (mpl.colors.LogNorm if log else mpl.colors.Normalize)(*(limits or (None, None)))
    sns.heatmap(
        table, ax=ax, norm=scale, cmap=colours, cbar=False, annot=bool(text), fmt=text or ".0f"
    )
    readable(ax, table)
    lines = np.array(outline(np.isin(numbers, region))).reshape(-1, 2, 2) + 0.5
    ax.add_collection(LineCollection(lines, colors=MARK, linewidths=2.5, clip_on=False))
    for index, how, shift in ((cross, CROSS, 0.36), (ring, RING, 0.0)):
        for y, x in np.argwhere(numbers == (-1 if index is None else index)) + 0.5:
            ax.plot(x + shift, y - shift, **how)
    for axis, knob in zip("yx", space.knobs, strict=True):
        names = [value_label(knob.name, knob.values[index]) for index in value_order(knob)]
        name = KNOB_LABELS.get(knob.name, knob.name)
        ax.set(**{f"{axis}ticklabels": names, f"{axis}label": name})
    return ax


def ink(face: ArrayLike) -> str:
    """Return black or white, whichever is easier to read on a colour.

    Examples
    --------
    >>> ink((1.0, 1.0, 0.8)), ink((0.1, 0.1, 0.3))
    ('black', 'white')
    """
    return "black" if relative_luminance(face) > EVEN else "white"


def readable(ax: Axes, table: ArrayLike) -> None:
    """Make a heat map of seaborn readable: the colour of its numbers, upright labels, no gaps.

    Parameters
    ----------
    ax : Axes
    table : array_like
        The values of the heat map. Those without a value (NaN) are grey and have no number.
    """
    faces = ax.collections[0].get_facecolors()[~np.isnan(np.asarray(table, dtype=float).ravel())]
    for number, face in zip(ax.texts, faces, strict=False):  # none, if there is no text
        number.set_color(ink(face))
    ax.set_facecolor("0.9")
    ax.tick_params(axis="y", rotation=0)


def write_in_cells(
    image: AxesImage,
    texts: Mapping[tuple[int, int], str],
    bold: Container[tuple[int, int]] = (),
) -> None:
    """Write a text into cells of an image, given by their row and column.

    What is in `bold` is bold. A cell without a value is taken for light.
    """
    faces = image.to_rgba(image.get_array())
    for (row, column), text in texts.items():
        face = faces[row, column]
        weight = "bold" if (row, column) in bold else "normal"
        how = {"ha": "center", "va": "center", "fontsize": "x-small", "weight": weight}
        image.axes.text(column, row, text, color=ink(face) if face[3] else "black", **how)


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
