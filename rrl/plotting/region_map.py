"""The map of regions: how many times sooner an agent arrives, by roughness and noise.

A panel has a cell per roughness (up) and noise (to the right). The figures show the middle
tolerance. The tables beside them have the other tolerances and the intervals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from rrl.plotting.cells import ink
from rrl.plotting.shared import MARK
from rrl.studies.map_cells import MEASURES, TOLERANCES
from rrl.studies.map_factors import ENOUGH, LARGE_GRID, MIDDLE

HIGHEST = 30.0
"""Factors from its inverse to it have a colour of their own."""

HEIGHTS = (0.0, 0.2, -0.2, 0.35, -0.35)
"""Where a number may stand, in heights of a cell above its middle; the first of the best counts."""

HALF_WIDTH, ROOM = 0.25, 0.3  # of a number, and around it, in cells
SHAPES = {"^": "sooner", "v": "later", "o": "neither"}
SIGNS = {"": "", "at least": "≥", "at most": "≤"}


def plot_region_map(factors: pd.DataFrame, places: pd.DataFrame) -> Figure:
    """Plot the factors of one agent over its rival: green is sooner, purple later.

    A panel belongs to a measure. A cell is grey if neither agent arrives, and hatched if the factor
    is only a bound, because one agent never arrives. A number in brackets is not surely different
    from 1, and a bold one is at least the paper's factor. A triangle is a simulated or recorded
    grid in the colour of its own factor: it points up if the agent is sooner, and down if it is
    later; it is a circle if neither arrives or both at once. A small grid's is small and hollow.
    A grid that is noisier or rougher than the map is drawn in its last column or row. The numbers
    stand where the grids leave room.

    Parameters
    ----------
    factors : DataFrame
        The rows of one agent, see :func:`rrl.studies.map_factors.map_factors`.
    places : DataFrame
        See :func:`rrl.studies.map_factors.place_factors`.
    """

    def text(row: Any) -> str:
        if np.isnan(row.factor):
            return ""
        return f"({_number(row)})" if row.low <= 1 <= row.high else _number(row)

    figure, axes = plt.subplots(
        1, len(MEASURES), figsize=(9, 4.4), layout="constrained", sharex=True, sharey=True
    )
    for ax, measure, column in zip(axes, MEASURES, MIDDLE, strict=True):
        rows = factors[factors["column"] == column]
        marks = _on_map(places[places["column"] == column], rows)
        image = _draw_cells(ax, rows, text)
        for row, label in zip(rows.itertuples(), ax.texts, strict=True):
            x, y = label.get_position()
            label.set_y(_free_height(x, y, marks))
            if SIGNS.get(row.bound):
                cell = Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, hatch="//", ec="0.6", lw=0)
                ax.add_patch(cell)
        for mark in marks.itertuples():
            colour = "0.85" if np.isnan(mark.factor) else image.cmap(image.norm(mark.factor))
            large = mark.cells >= LARGE_GRID
            shape = "^" if mark.factor > 1 else "v" if mark.factor < 1 else "o"
            how = {"mfc": colour, "ms": 8} if large else {"mfc": "none", "ms": 4}
            ax.plot(mark.x, mark.y, shape, mec=MARK, **how)
        ax.set_title(f"what is {measure} stays within {100 * TOLERANCES[1]:g} %", fontsize="small")
        ax.label_outer()
    figure.colorbar(image, ax=axes, shrink=0.8, extend="both", label="times sooner")
    keys = [
        Line2D([], [], ls="", marker=shape, mfc="0.85", mec=MARK, ms=8, label=f"a grid: {word}")
        for shape, word in SHAPES.items()
    ]
    keys.append(Line2D([], [], ls="", marker="o", mfc="none", mec=MARK, ms=4, label="a small grid"))
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), fontsize="small")
    return figure


def plot_best_radius(losses: pd.DataFrame, radii: pd.DataFrame) -> Figure:
    """Plot the best fixed radius, and what the selection of the radius loses to it.

    A cell shows the best radius by what is served, and in brackets that of the theory; "none" says
    that no radius arrives on the surfaces of the tuning. The second line says how many times sooner
    than ``rrl-adaptive`` the best fixed radius arrives on the surfaces that judge: below 1 (purple)
    it arrives later, and a cell without this line is grey, because neither arrives.

    Parameters
    ----------
    losses : DataFrame
        The rows of `rrl` against ``rrl-adaptive``, see
        :func:`rrl.studies.map_factors.map_factors`.
    radii : DataFrame
        See :func:`rrl.studies.map_factors.by_radius`.
    """
    rows = losses.merge(radii[["roughness", "noise", "column", "best", "theory"]])

    def text(row: Any) -> str:
        best = "none" if np.isnan(row.best) else f"{row.best:g}"
        sooner = "" if np.isnan(row.factor) else f"\n{_number(row)} times"
        return f"{best} ({row.theory:.1f}){sooner}"

    figure, ax = plt.subplots(figsize=(5.4, 4.2), layout="constrained")
    image = _draw_cells(ax, rows[rows["column"] == MIDDLE[0]], text)
    figure.colorbar(image, ax=ax, extend="both", label="times sooner than rrl-adaptive")
    return figure


def _number(row: Any) -> str:
    digits = ".0f" if row.factor >= 100 else ".2g"
    return f"{SIGNS[row.bound]}{row.factor:{digits}}"


def _draw_cells(ax: Axes, rows: pd.DataFrame, text: Callable[[Any], str]) -> AxesImage:
    """Draw a heat map of the factors with a text in each cell."""
    wide = rows.pivot(index="roughness", columns="noise", values="factor")
    shown = np.ma.masked_invalid(wide.to_numpy(float))
    ax.spines[:].set_visible(True)
    image = ax.imshow(
        shown,
        cmap=mpl.colormaps["PRGn"].with_extremes(bad="0.85"),
        norm=mpl.colors.LogNorm(1 / HIGHEST, HIGHEST),
        aspect="auto",
        origin="lower",
    )
    faces = image.to_rgba(shown)
    for row in rows.itertuples():
        y, x = wide.index.get_loc(row.roughness), wide.columns.get_loc(row.noise)
        weight = "bold" if row.factor >= ENOUGH else "normal"
        label = ax.text(x, y, text(row), color=ink(faces[y, x]), weight=weight, fontsize="small")
        label.set(ha="center", va="center")
    ax.set_xticks(range(len(wide.columns)), [f"{100 * value:g}" for value in wide.columns])
    ax.set_yticks(range(len(wide)), [f"{100 * value:g}" for value in wide.index])
    ax.set(xlabel="noise of an episode (%)", ylabel="neighbours differ by (%)")
    return image


def _free_height(x: float, y: float, marks: pd.DataFrame) -> float:
    """Return the height in the cell (x, y) that is furthest from the marks, up to enough room."""
    beside = np.maximum((marks["x"] - x).abs() - HALF_WIDTH, 0)

    def room(height: float) -> float:
        return min(np.hypot(beside, marks["y"] - height).min(), ROOM)

    return max((y + height for height in HEIGHTS), key=room)


def _on_map(places: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the places that have both coordinates, with their `x` and `y` in cells of the rows."""
    on = places.dropna(subset=["roughness", "noise"])
    at = {
        axis: np.interp(np.log(on[name].clip(lower=1e-9)), np.log(levels), range(len(levels)))
        for axis, name in (("x", "noise"), ("y", "roughness"))
        for levels in [np.unique(rows[name])]
    }
    return on.assign(**at)
