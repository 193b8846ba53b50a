"""How an agent learns, as an animated picture.

All configurations of a space are on one heat map. Half of the knobs are nested along each axis: the
last knob of an axis changes from cell to cell, the one before it from block to block. So no
configuration is hidden behind another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from rrl.core.space import ConfigSpace
from rrl.plotting.shared import KNOB_LABELS, MARK, MS, plain_log_ticks, value_label
from rrl.support.files import replacing

SHADES = 32  # of the heat map


class Moment(NamedTuple):
    """An episode of a learning agent.

    Parameters
    ----------
    paying : ndarray of int
        Numbers of the configurations whose trial would pay after the episode.
    measured, deployed : int
        Number of the configuration that served, and of the one that would be deployed.
    cost : float
        Mean latency of the episode in seconds.
    """

    paying: NDArray[np.int64]
    measured: int
    deployed: int
    cost: float


class Mosaic(NamedTuple):
    """Where each configuration is on the heat map.

    Parameters
    ----------
    row, column : ndarray of int, shape (n,)
    downs, acrosses : tuple of str
        Names of the knobs along each axis, from the outer to the inner one.
    blocks : tuple of list of (int, str)
        For each axis, the first cell of each block of the outer knob, and its value as text.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    downs: tuple[str, ...]
    acrosses: tuple[str, ...]
    blocks: tuple[list[tuple[int, str]], list[tuple[int, str]]]


def mosaic(space: ConfigSpace, down: int) -> Mosaic:
    """Lay out a space: the first `down` knobs go along the vertical axis, the others across.

    Values are in order of position, and combinations that the space does not have take no place.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> space = ConfigSpace([Knob("a", (1, 2)), Knob("b", (1, 2)), Knob("c", (1, 2, 4))])
    >>> layout = mosaic(space, 1)
    >>> layout.column.tolist()[:6], layout.blocks[1]
    ([0, 1, 2, 3, 4, 5], [(0, '1'), (3, '2')])
    """
    ranks = np.stack(
        [
            np.argsort(np.argsort(knob.positions, kind="stable"))[space.value_indices[:, number]]
            for number, knob in enumerate(space.knobs)
        ],
        axis=1,
    )
    places, blocks = [], []
    for first, ends in ((0, down), (down, len(space.knobs))):
        found, place = np.unique(ranks[:, first:ends], axis=0, return_inverse=True)
        places.append(place.ravel())
        outer, starts = np.unique(found[:, 0], return_index=True)
        knob = space.knobs[first]
        order = np.argsort(knob.positions, kind="stable")
        names = [value_label(knob.name, knob.values[order[rank]]) for rank in outer]
        blocks.append(list(zip(starts.tolist(), names, strict=True)))
    names = tuple(space.names)
    return Mosaic(*places, names[:down], names[down:], tuple(blocks))


def plot_trials(
    space: ConfigSpace, truth: ArrayLike, moments: Sequence[Moment], ax: Axes, down: int = 2
) -> Axes:
    """Draw the true costs (s) of all configurations: bright where a trial would pay.

    A cross marks the last measurement, and a ring marks what would be deployed.
    """
    layout, truth, last = mosaic(space, down), np.asarray(truth), moments[-1]
    shape = layout.row.max() + 1, layout.column.max() + 1
    norm = mpl.colors.LogNorm(truth.min(), np.quantile(truth, 0.9))
    shades = mpl.colormaps["cividis_r"].resampled(SHADES)(norm(truth))
    pale = np.ones(len(space), dtype=bool)
    pale[last.paying] = False
    shades[pale, :3] = 0.75 + 0.25 * shades[pale, :3]
    image = np.ones((*shape, 4))
    image[layout.row, layout.column] = shades
    ax.imshow(image, aspect="auto", interpolation="nearest")
    for index, marker, size in ((last.measured, "x", 6), (last.deployed, "o", 9)):
        at = layout.column[index], layout.row[index]
        ax.plot(*at, marker, ms=size, mew=1.8, mfc="none", color=MARK)
    for axis, knobs, blocks, length in (
        (ax.yaxis, layout.downs, layout.blocks[0], shape[0]),
        (ax.xaxis, layout.acrosses, layout.blocks[1], shape[1]),
    ):
        starts = [start for start, _ in blocks]
        ends = [*starts[1:], length]
        middles = [(a + b - 1) / 2 for a, b in zip(starts, ends, strict=True)]
        axis.set_ticks(middles, [name for _, name in blocks])
        axis.set_tick_params(length=0)
        labels = [KNOB_LABELS.get(name, name) for name in knobs]
        inner = f",\nwithin: {', '.join(labels[1:])}" if labels[1:] else ""
        axis.set_label_text(labels[0] + inner)
        line = ax.axhline if axis is ax.yaxis else ax.axvline
        for start in starts[1:]:
            line(start - 0.5, color="white", lw=1.5)
    return ax


def draw_episode(
    space: ConfigSpace,
    truth: ArrayLike,
    moments: Sequence[Moment],
    episodes: int,
    default: int,
) -> Figure:
    """Draw which trials would pay after the last of these episodes, and the latency up to it.

    Parameters
    ----------
    space : ConfigSpace
    truth : array_like, shape (n,)
        True mean latency of each configuration in seconds.
    moments : sequence of Moment
        The episodes so far, at least one.
    episodes : int
        Number of episodes of the whole run, for the horizontal axis.
    default : int
        Number of the server's default configuration.
    """
    truth = np.asarray(truth)
    figure = Figure(figsize=(8.4, 4.6), dpi=100)
    grid = figure.add_gridspec(2, 1, height_ratios=(3, 2))
    grid.update(left=0.1, right=0.97, top=0.93, bottom=0.11, hspace=0.55)
    top, bottom = (figure.add_subplot(cell) for cell in grid)
    plot_trials(space, truth, moments, top)
    tried = len({moment.measured for moment in moments})
    top.set_title(
        f"episode {len(moments)}: {tried} of {len(space)} configurations tried, "
        f"{len(moments[-1].paying)} trials would pay (bright; yellow is fast)",
        fontsize="medium",
    )
    x = np.arange(1, len(moments) + 1)
    bottom.plot(x, [MS * m.cost for m in moments], ".", color="0.55", label="an episode")
    bottom.step(
        x, [MS * truth[m.deployed] for m in moments], where="mid", color=MARK, label="deployed"
    )
    for name, cost, dashes in (("default", truth[default], "--"), ("best", truth.min(), ":")):
        bottom.axhline(MS * cost, ls=dashes, color="0.25", lw=1, label=name)
    highest = MS * max(truth[default], *(m.cost for m in moments))
    bottom.set(
        xlim=(0, episodes + 1),
        ylim=(0.4 * MS * truth.min(), 2 * highest),
        yscale="log",
        xlabel="episode",
        ylabel="mean latency (ms)",
    )
    plain_log_ticks(bottom.yaxis)
    bottom.legend(loc="upper right", ncols=4, fontsize="small")
    for side in ("top", "right"):
        bottom.spines[side].set_visible(False)
    return figure


def save_animation(
    figures: Iterable[Figure], name: str, folder: str | Path, seconds: float = 0.2
) -> Path:
    """Write figures of one size as ``name.gif``, which is played once and ends at the last one.

    Parameters
    ----------
    figures : iterable of Figure
        They are drawn one by one. The most frequent colours of the last one are those of all.
    name : str
    folder : path
    seconds : float, optional
        How long each figure is shown.
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
    each = round(1000 * seconds)
    with replacing(path) as file:  # without a `loop`, it is not repeated
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=each)
    return path


def common_colours(pixels: NDArray[np.uint8], most: int = 255) -> NDArray[np.uint8]:
    """Return the most frequent colours of a picture, one per row; one of 256 stays free.

    Pillow needs that one to store only what changes from picture to picture.

    Examples
    --------
    >>> pixels = np.array([[[255] * 3] * 3, [[213, 94, 0]] * 3], dtype=np.uint8)
    >>> common_colours(pixels).tolist()
    [[213, 94, 0], [255, 255, 255]]
    """
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    return colours[np.argsort(-counts, kind="stable")[:most]]


def _indexed(pixels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> Image.Image:
    """Replace each colour by the nearest of a palette (Pillow's own way changes white a little)."""
    packed = pixels.astype(np.int64) @ (1 << 16, 1 << 8, 1)
    found, places = np.unique(packed, return_inverse=True)
    colours = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1)
    away = ((colours[:, None] - palette[None].astype(np.int64)) ** 2).sum(axis=2)
    picture = Image.fromarray(away.argmin(axis=1).astype(np.uint8)[places.reshape(packed.shape)])
    picture.putpalette(palette.ravel().tolist())
    return picture
