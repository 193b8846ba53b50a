"""The map of regions: how many times sooner an agent arrives, by roughness and noise.

A panel has a cell per roughness (up) and noise (to the right). The figures show the middle
tolerance. The tables beside them have the other tolerances and the intervals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from rrl.plotting.cells import ink
from rrl.plotting.shared import MARK
from rrl.studies.map_cells import MEASURES, TOLERANCES
from rrl.studies.map_factors import ENOUGH, LARGE_GRID, MIDDLE

if TYPE_CHECKING:
    import pandas as pd

HIGHEST = 30.0
"""Factors from its inverse to it have a colour of their own."""

SHAPES = {"^": "sooner", "v": "later", "o": "neither"}
SIGNS = {"": "", "at least": "≥", "at most": "≤"}


def plot_region_map(factors: pd.DataFrame, places: pd.DataFrame) -> Figure:
    """Plot the factors of one agent over its rival: green is sooner, purple later.

    A panel belongs to a measure. A cell is hatched if its factor is a bound, and grey if neither
    agent arrives. A number in brackets is not surely different from 1, and a bold one is at least
    the paper's factor. A triangle is a simulated or recorded grid in the colour of its own factor:
    it points up if the agent is sooner, and down if it is later; it is a circle if neither arrives
    or both at once. A small grid's is small and hollow.

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
        digits = ".0f" if row.factor >= 100 else ".2g"
        number = f"{SIGNS[row.bound]}{row.factor:{digits}}"
        return f"({number})" if row.low <= 1 <= row.high else number

    figure, axes = plt.subplots(
        1, len(MEASURES), figsize=(9, 4.4), layout="constrained", sharex=True, sharey=True
    )
    for ax, measure, column in zip(axes, MEASURES, MIDDLE, strict=True):
        rows = factors[factors["column"] == column]
        image = _draw_cells(ax, rows, text)
        levels = _levels(rows)
        for row in rows[rows["bound"].isin(["at least", "at most"])].itertuples():
            corner = levels[1].index(row.noise) - 0.5, levels[0].index(row.roughness) - 0.5
            ax.add_patch(Rectangle(corner, 1, 1, fill=False, hatch="///", ec="0.45", lw=0))
        _draw_places(ax, image, places[places["column"] == column], levels)
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
    that no radius arrives on the surfaces of the tuning. Green says that the best fixed radius
    arrives sooner than ``rrl-adaptive`` on the surfaces that judge, purple that it arrives later.

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
        return f"{best} ({row.theory:.1f})"

    figure, ax = plt.subplots(figsize=(5.4, 4.2), layout="constrained")
    image = _draw_cells(ax, rows[rows["column"] == MIDDLE[0]], text)
    figure.colorbar(image, ax=ax, extend="both", label="times sooner than rrl-adaptive")
    return figure


def _draw_cells(ax: Axes, rows: pd.DataFrame, text: Callable[[Any], str]) -> AxesImage:
    """Draw a heat map of the factors with a text in each cell."""
    levels = _levels(rows)
    shown = np.ma.masked_invalid(_table(rows, levels))
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
        y, x = levels[0].index(row.roughness), levels[1].index(row.noise)
        colour = ink(faces[y, x]) if faces[y, x, 3] else "black"
        weight = "bold" if row.factor >= ENOUGH else "normal"
        label = ax.text(x, y - 0.28, text(row), color=colour, weight=weight, fontsize="small")
        ground = faces[y, x] if faces[y, x, 3] else "0.85"
        halo = [withStroke(linewidth=2.5, foreground=ground)]  # above the marks of the grids
        label.set(ha="center", va="center", zorder=5, path_effects=halo)
    ax.set_xticks(range(len(levels[1])), [f"{100 * value:g}" for value in levels[1]])
    ax.set_yticks(range(len(levels[0])), [f"{100 * value:g}" for value in levels[0]])
    ax.set(xlabel="noise of an episode (%)", ylabel="neighbours differ by (%)")
    return image


def _draw_places(
    ax: Axes, image: AxesImage, places: pd.DataFrame, levels: tuple[list[float], list[float]]
) -> None:
    for place in places.dropna(subset=["roughness", "noise"]).itertuples():
        x, y = (
            np.interp(np.log(max(value, 1e-9)), np.log(of), np.arange(len(of)))
            for value, of in ((place.noise, levels[1]), (place.roughness, levels[0]))
        )
        colour = "0.85" if np.isnan(place.factor) else image.cmap(image.norm(place.factor))
        large = place.cells >= LARGE_GRID
        shape = "^" if place.factor > 1 else "v" if place.factor < 1 else "o"
        ax.plot(x, y, shape, mfc=colour if large else "none", mec=MARK, ms=8 if large else 4)


def _levels(rows: pd.DataFrame) -> tuple[list[float], list[float]]:
    return sorted(set(rows["roughness"])), sorted(set(rows["noise"]))


def _table(rows: pd.DataFrame, levels: tuple[list[float], list[float]]) -> np.ndarray:
    wide = rows.pivot(index="roughness", columns="noise", values="factor")
    return wide.reindex(index=levels[0], columns=levels[1]).to_numpy(dtype=float)
