"""How an agent learns, as an animated picture: its table, its region, and the latency it serves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from rrl.core.space import ConfigSpace
from rrl.plotting.cells import name_slices, plot_slice, slices
from rrl.plotting.shared import MARK, MS, plain_log_ticks
from rrl.support.files import replacing

SHOWN_MS = 200  # how long each figure of an animation is shown
COLOURS = 255  # of the 256 that a GIF may have; Pillow needs one for what stays as it was


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
    rows = figure.add_gridspec(2, 1, height_ratios=(3, 2))
    rows.update(left=0.09, right=0.97, top=0.83, bottom=0.11, hspace=0.55)
    columns = rows[0].subgridspec(1, len(shown), wspace=0.08)
    axes = np.array([[figure.add_subplot(columns[i]) for i in range(len(shown))]])
    norm = mpl.colors.LogNorm(MS * np.nanmin(truth), MS * np.nanmax(truth))
    for ax, middle in zip(axes[0], shown, strict=True):
        plot_slice(
            space, MS * last.values, middle, ax,
            norm=norm, region=last.region, cross=last.measured, ring=last.incumbent,
        )  # fmt: skip
    name_slices(axes, space, shown)
    for ax in axes[0, 1:]:
        ax.set(xlabel="")
    tried = len({moment.measured for moment in moments})
    known = np.count_nonzero(~np.isnan(last.values))
    figure.suptitle(
        f"Episode {len(moments)}: {tried} of {len(space)} configurations measured (cross), "
        f"{known} estimated through regions (line).\nLight is fast, and hatched is unknown.",
        fontsize="medium",
    )
    _draw_latency(figure, rows[1], truth, moments, episodes, default)
    return figure


def _draw_latency(
    figure: Figure,
    place: mpl.gridspec.SubplotSpec,
    truth: NDArray[np.float64],
    moments: Sequence[Moment],
    episodes: int,
    default: int,
) -> None:
    """Draw the latency that clients saw, and that of the incumbent, the default and the best."""
    ax = figure.add_subplot(place)
    x = np.arange(1, len(moments) + 1)
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


def save_animation(figures: Iterable[Figure], name: str, folder: str | Path) -> Path:
    """Write figures of one size as ``name.gif``, which is played once and ends at the last one.

    Parameters
    ----------
    figures : iterable of Figure
        They are drawn one by one. The most frequent colours of the last one are those of all.
    name : str
    folder : path
    """
    pictures = []
    for figure in figures:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba())[..., :3])
    palette = common_colours(pictures[-1])
    frames = [_indexed(pixels, palette) for pixels in pictures]
    path = Path(folder) / f"{name}.gif"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:  # without a `loop`, it is not repeated
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=SHOWN_MS)
    return path


def common_colours(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the `COLOURS` most frequent colours of a picture, one per row.

    Examples
    --------
    >>> pixels = np.array([[[255] * 3] * 3, [[213, 94, 0]] * 3], dtype=np.uint8)
    >>> common_colours(pixels).tolist()
    [[213, 94, 0], [255, 255, 255]]
    """
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    return colours[np.argsort(-counts, kind="stable")[:COLOURS]]


def _indexed(pixels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> Image.Image:
    """Replace each colour by the nearest of a palette (Pillow's own way changes white a little)."""
    packed = pixels.astype(np.int64) @ (1 << 16, 1 << 8, 1)
    found, places = np.unique(packed, return_inverse=True)
    colours = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1)
    away = ((colours[:, None] - palette[None].astype(np.int64)) ** 2).sum(axis=2)
    picture = Image.fromarray(away.argmin(axis=1).astype(np.uint8)[places.reshape(packed.shape)])
    picture.putpalette(palette.ravel().tolist())
    return picture
