"""How an agent learns, as an animated picture: its table, its region, and the latency it serves."""

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

from rrl.core.space import ConfigSpace
from rrl.plotting.cells import plot_cells, slices
from rrl.plotting.shared import MARK, MS, plain_log_ticks
from rrl.support.files import replacing

SHOWN_MS = 200  # how long each figure of an animation is shown


class Moment(NamedTuple):
    """An episode of a learning agent.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Expected cost of each configuration in seconds; NaN where no measurement has updated it.
    region : ndarray of bool, shape (n,)
        The configurations that the episode's measurement updated.
    measured, incumbent : int
        Number of the configuration that served, and of the one that would be deployed.
    cost : float
        Mean latency of the episode in seconds.
    """

    values: NDArray[np.float64]
    region: NDArray[np.bool_]
    measured: int
    incumbent: int
    cost: float


def draw_episode(
    space: ConfigSpace,
    truth: ArrayLike,
    moments: Sequence[Moment],
    episodes: int,
    default: int,
) -> Figure:
    """Draw the table after the last of these episodes, and the latency of all of them.

    A line marks the region of the last measurement, a cross the measurement, and a ring the
    incumbent. What no measurement has updated is hatched.

    Parameters
    ----------
    space : ConfigSpace
        A space of two or three knobs.
    truth : array_like, shape (n,)
        True mean latency of each configuration in seconds.
    moments : sequence of Moment
        The episodes so far, at least one.
    episodes : int
        Number of episodes of the whole run, for the horizontal axis.
    default : int
        Number of the server's default configuration.
    """
    truth, last, shown = np.asarray(truth), moments[-1], slices(space)
    figure = Figure(figsize=(8.4, 4.6), dpi=100)
    parts: list[Any] = [shown, ["latency"] * len(shown)]
    place = {"left": 0.09, "right": 0.97, "top": 0.83, "bottom": 0.11}
    place |= {"wspace": 0.08, "hspace": 0.55}
    axes = figure.subplot_mosaic(parts, height_ratios=(3, 2), gridspec_kw=place)
    norm = mpl.colors.LogNorm(MS * np.nanmin(truth), MS * np.nanmax(truth))
    for middle in shown:
        plot_cells(
            space, MS * last.values, axes[middle], middle, text="", norm=norm,
            region=last.region, cross=last.measured, ring=last.incumbent,
        )  # fmt: skip
    for middle in shown[1:]:
        axes[middle].set(xlabel="", ylabel="", yticks=[])
    tried = len({moment.measured for moment in moments})
    known = np.count_nonzero(~np.isnan(last.values))
    figure.suptitle(
        f"Episode {len(moments)}: {tried} of {len(space)} configurations measured (cross), "
        f"{known} estimated through regions (line).\nLight is fast, and hatched is unknown.",
        fontsize="medium",
    )
    ax, x = axes["latency"], np.arange(1, len(moments) + 1)
    ax.plot(x, [MS * m.cost for m in moments], ".", ms=6, color="0.45", label="what clients see")
    served = [MS * truth[m.incumbent] for m in moments]
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
