"""The map of regions: how many times sooner an agent arrives, by roughness and noise.

Each figure has a panel per measure (rows) and tolerance (columns). A panel has a cell per roughness
(up) and noise (to the right).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rrl.plotting.cells import ink
from rrl.plotting.shared import MARK
from rrl.studies.map_cells import MEASURES, TOLERANCES
from rrl.studies.map_factors import LARGE_GRID

if TYPE_CHECKING:
    import pandas as pd

CONTOURS = {1.0: ":", 8.0: "-"}
"""Factors with a contour, and its line."""

HIGHEST = 30.0
"""Factors from its inverse to it have a colour of their own."""

SIGNS = {"": "", "at least": "≥", "at most": "≤"}


def plot_region_map(factors: pd.DataFrame, places: pd.DataFrame) -> Figure:
    """Plot the factors of one agent: green is sooner than its rival, purple later.

    A cell shows its factor with the 95 % interval. It is hatched if the factor is a bound, and grey
    if neither agent arrives. The lines are the contours at 1 (dotted) and 8. A circle is a
    simulated or recorded grid in the colour of its own factor; a small grid's is small and hollow.

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
        interval = f"{row.low:.2g} to {row.high:.2g}"
        return f"{SIGNS[row.bound]}{row.factor:.2g}\n{interval}"

    figure, panels = _panels(factors, text)
    for column, ax in panels.items():
        rows = factors[factors["column"] == column]
        levels = _levels(rows)
        shown = _table(rows, "factor", levels)
        if min(shown.shape) > 1 and np.isfinite(shown).any():
            lines = list(CONTOURS), list(CONTOURS.values())
            ax.contour(shown, levels=lines[0], linestyles=lines[1], colors="0.1", linewidths=1.6)
        for row in rows[rows["bound"].isin(["at least", "at most"])].itertuples():
            corner = levels[1].index(row.noise) - 0.5, levels[0].index(row.roughness) - 0.5
            ax.add_patch(Rectangle(corner, 1, 1, fill=False, hatch="///", ec="0.45", lw=0))
        _draw_places(ax, places[places["column"] == column], levels)
    return figure


def plot_best_radius(losses: pd.DataFrame, radii: pd.DataFrame) -> Figure:
    """Plot what the selection of the radius loses to the best fixed radius, and that radius.

    A cell shows the best radius, and in brackets that of the theory. Green says that the fixed
    radius arrives sooner than ``rrl-adaptive``, purple that it arrives later.

    Parameters
    ----------
    losses : DataFrame
        The rows of `rrl` against ``rrl-adaptive``, see
        :func:`rrl.studies.map_factors.map_factors`.
    radii : DataFrame
        See :func:`rrl.studies.map_factors.by_radius`.
    """
    both = losses.merge(radii[["roughness", "noise", "column", "best", "theory"]])

    def text(row: Any) -> str:
        best = "never" if np.isnan(row.best) else f"{row.best:g}"
        return f"{best}\n({row.theory:.1f})"

    return _panels(both, text)[0]


def _panels(table: pd.DataFrame, text: Callable[[Any], str]) -> tuple[Figure, dict[str, Axes]]:
    """Draw a heat map of the factors per column of the runs; return the panels by column."""
    figure, axes = plt.subplots(
        len(MEASURES), len(TOLERANCES), figsize=(10, 7), layout="constrained", sharex=True,
        sharey=True,
    )  # fmt: skip
    colours = mpl.colormaps["PRGn"].with_extremes(bad="0.85")
    norm = mpl.colors.LogNorm(1 / HIGHEST, HIGHEST)
    panels, levels, image = {}, _levels(table), None
    for measure, row_of_axes in zip(MEASURES, axes, strict=True):
        for tolerance, ax in zip(TOLERANCES, row_of_axes, strict=True):
            column = f"{measure}_{100 * tolerance:g}"
            rows = table[table["column"] == column]
            image = ax.imshow(
                _table(rows, "factor", levels), cmap=colours, norm=norm, aspect="auto"
            )
            faces = image.to_rgba(image.get_array())
            for row in rows.itertuples():
                y, x = levels[0].index(row.roughness), levels[1].index(row.noise)
                colour = ink(faces[y, x]) if faces[y, x, 3] else "black"
                ax.text(x, y, text(row), color=colour, ha="center", va="center", fontsize="x-small")
            ax.invert_yaxis()
            ax.set_title(f"{measure} within {100 * tolerance:g} %", fontsize="small")
            panels[column] = ax
    for axis, values, word in (
        (axes[0, 0].yaxis, levels[0], "neighbours differ by (%)"),
        (axes[0, 0].xaxis, levels[1], "noise of an episode (%)"),
    ):
        axis.set_ticks(range(len(values)), [f"{100 * value:g}" for value in values])
        (figure.supylabel if axis is axes[0, 0].yaxis else figure.supxlabel)(word, fontsize="small")
    figure.colorbar(image, ax=axes, shrink=0.6, extend="both", label="times sooner")
    return figure, panels


def _draw_places(ax: Axes, places: pd.DataFrame, levels: tuple[list[float], list[float]]) -> None:
    image = ax.get_images()[0]
    for place in places.dropna(subset=["roughness", "noise"]).itertuples():
        x, y = (
            np.interp(np.log(max(value, 1e-9)), np.log(of), np.arange(len(of)))
            for value, of in ((place.noise, levels[1]), (place.roughness, levels[0]))
        )
        colour = "0.85" if np.isnan(place.factor) else image.cmap(image.norm(place.factor))
        large = place.cells >= LARGE_GRID
        ax.plot(x, y, "o", mfc=colour if large else "none", mec=MARK, ms=9 if large else 5)


def _levels(table: pd.DataFrame) -> tuple[list[float], list[float]]:
    return sorted(set(table["roughness"])), sorted(set(table["noise"]))


def _table(rows: pd.DataFrame, value: str, levels: tuple[list[float], list[float]]) -> np.ndarray:
    wide = rows.pivot(index="roughness", columns="noise", values=value)
    return wide.reindex(index=levels[0], columns=levels[1]).to_numpy(dtype=float)
