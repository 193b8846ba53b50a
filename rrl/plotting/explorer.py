"""Figures of the explorer: what an agent knows and chooses, and how it learns, as an animation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from rrl.core.space import ConfigSpace, Floats
from rrl.plotting.cells import plot_cells, slices
from rrl.plotting.shared import MARK, MS, plain_log_ticks
from rrl.support.files import replacing

SHOWN_MS = 200  # how long each figure of an animation is shown


class View(NamedTuple):
    """What a learning agent knows and chooses under one load.

    Parameters
    ----------
    space : ConfigSpace
    cost : ndarray, shape (n,)
        The table's expected cost in seconds. It is NaN where no measurement has updated it.
    probability : ndarray, shape (n,)
        Probability that the agent chooses each configuration next.
    sd : ndarray, shape (n,)
        Standard deviation of each expected cost, as a fraction of it. It is NaN where it is
        infinite.
    region : ndarray of int
        Indices of the configurations in the region of the last measurement.
    measured, recommended : int or None
        Indices of the last measured configuration and of the configuration to deploy.
    title : str
    """

    space: ConfigSpace
    cost: Floats
    probability: Floats
    sd: Floats
    region: NDArray[np.int64]
    measured: int | None
    recommended: int | None
    title: str


def draw_view(view: View) -> Figure:
    """Draw three rows of heat maps: the table, the next choice, the table's standard deviations.

    A line marks the region of the last measurement, a cross marks the measurement, and a ring marks
    the configuration to deploy. Columns are slices through the grid. Values are in order of
    position. Darker means more: a higher cost, a likelier choice, a larger standard deviation. A
    configuration that no measurement has updated is hatched.
    """
    costs = MS * view.cost
    known = costs[~np.isnan(costs)]
    lowest, highest = (known.min(), known.max()) if len(known) else (1.0, 10.0)
    cost = mpl.colors.LogNorm(lowest, max(highest, 1.01 * lowest))
    rows = (
        ("expected cost (ms)", costs, cost, "cividis_r"),
        ("next choice (%)", 100 * view.probability, mpl.colors.LogNorm(0.1, 100), "Greys"),
        ("standard dev. (%)", 100 * view.sd, mpl.colors.Normalize(0, 100), "Purples"),
    )
    shown = slices(view.space)
    figure = Figure(figsize=(2.3 * len(shown) + 1.2, 6.0), dpi=90)
    axes = figure.subplots(
        3,
        len(shown) + 1,
        squeeze=False,
        width_ratios=[1] * len(shown) + [0.06],
        gridspec_kw={"left": 0.07, "right": 0.93, "top": 0.9, "bottom": 0.09, "wspace": 0.08},
    )
    for row, (name, values, norm, colours) in zip(axes, rows, strict=True):
        for ax, middle in zip(row[:-1], shown, strict=True):
            plot_cells(
                view.space, values, ax, middle, text="", norm=norm, cmap=colours,
                region=view.region, cross=view.measured, ring=view.recommended,
            )  # fmt: skip
            ax.label_outer(remove_inner_ticks=True)
        bar = figure.colorbar(ax.images[0], cax=row[-1], label=name)
        if isinstance(norm, mpl.colors.LogNorm):
            bar.ax.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5), numticks=6))
            bar.ax.yaxis.set_major_formatter("{x:g}")
            bar.ax.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    for ax in axes[1:, :-1].flat:
        ax.set_title("")
    figure.suptitle(view.title, fontsize="medium")
    return figure


def draw_episode(
    views: Sequence[View],
    costs: Sequence[float],
    truth: ArrayLike,
    episodes: int,
    default: int,
) -> Figure:
    """Draw the table after the last of these episodes, and the latency of all of them.

    A line marks the region of the last measurement, a cross the measurement, and a ring the
    incumbent. What no measurement has updated is hatched.

    Parameters
    ----------
    views : sequence of View
        What the agent knew after each of the episodes so far, at least one. The space has two or
        three knobs.
    costs : sequence of float
        Mean latency of each episode in seconds; further ones are left out.
    truth : array_like, shape (n,)
        True mean latency of each configuration in seconds.
    episodes : int
        Number of episodes of the whole run, for the horizontal axis.
    default : int
        Index of the server's default configuration.
    """
    truth, last = np.asarray(truth), views[-1]
    space, shown = last.space, slices(last.space)
    figure = Figure(figsize=(8.4, 4.6), dpi=100)
    panels: list[Any] = [shown, ["latency"] * len(shown)]
    place = {"left": 0.09, "right": 0.97, "top": 0.83, "bottom": 0.11}
    place |= {"wspace": 0.08, "hspace": 0.55}
    axes = figure.subplot_mosaic(panels, height_ratios=(3, 2), gridspec_kw=place)
    norm = mpl.colors.LogNorm(MS * np.nanmin(truth), MS * np.nanmax(truth))
    for middle in shown:
        plot_cells(
            space, MS * last.cost, axes[middle], middle, text="", norm=norm,
            region=last.region, cross=last.measured, ring=last.recommended,
        )  # fmt: skip
    for middle in shown[1:]:
        axes[middle].set(xlabel="", ylabel="", yticks=[])
    tried = len({view.measured for view in views})
    known = np.count_nonzero(~np.isnan(last.cost))
    figure.suptitle(
        f"Episode {len(views)}: {tried} of {len(space)} configurations measured (cross), "
        f"{known} estimated through regions (line).\nLight is fast, and hatched is unknown.",
        fontsize="medium",
    )
    ax, x = axes["latency"], np.arange(1, len(views) + 1)
    seen = MS * np.array(costs[: len(views)])
    ax.plot(x, seen, ".", ms=6, color="0.45", label="what clients see")
    served = [MS * truth[view.recommended] for view in views]
    ax.step(x, served, where="mid", color=MARK, lw=1.8, label="incumbent (ring)")
    for name, cost, dashes in (("default", truth[default], "--"), ("best", truth.min(), ":")):
        ax.axhline(MS * cost, ls=dashes, color="0.25", lw=1, label=name)
    ax.set(
        xlim=(0, episodes + 1),
        ylim=(0.6 * MS * truth.min(), 3 * MS * np.quantile(truth, 0.9)),
        yscale="log",
        xlabel="episode",
        ylabel="mean latency (ms)",
    )
    plain_log_ticks(ax.yaxis)
    ax.legend(loc="upper right", ncols=4, fontsize="small")
    return figure


def save_animation(figures: Iterable[Figure], name: str, folder: str | Path) -> Path:
    """Write figures of one size as ``name.gif``, which is played once and ends at the last one."""
    frames = []
    for figure in figures:  # they may be drawn one by one
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]))
    path = Path(folder) / f"{name}.gif"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:  # without a `loop`, it is not repeated
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=SHOWN_MS)
    return path
