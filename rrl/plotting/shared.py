"""What all figures share: their style, the names that they show, and :func:`save`.

A function that draws takes data and axes, and it returns the axes. :func:`save` writes the same
bytes for the same data.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from rrl.core.knob import Configuration
from rrl.support.files import replacing

MS = 1000.0  # figures show milliseconds; the code computes in seconds
KNOB_LABELS = {
    "inter_op": "inter-op threads",
    "intra_op": "intra-op threads",
    "batch_threads": "batch threads",
    "max_batch_size": "max batch size",
    "batch_timeout_micros": "batch timeout (ms)",
}
#: Colour, marker and line of each agent. Agents that a legend tells apart differ in two or three of
#: these, so a grey print and a reader who cannot tell colours apart lose nothing. Relatives share a
#: hue.
AGENT_STYLES: dict[str, tuple[str, str, Any]] = {
    "rrl-gp": ("C0", "o", "-"),
    "rrl": ("C2", "s", "--"),
    "rrl-prior": ("C0", "d", (0, (5, 2))),
    "rrl-adaptive": ("C3", "^", "-."),
    "tf-serving-default": ("0.55", "X", ":"),
    "heuristic": ("C1", "D", (0, (5, 1, 1, 1, 1, 1))),
    "q-learning": ("C4", "v", (0, (8, 2))),
    "q-learning-near": ("C4", ">", (0, (2, 1))),
    "deep-q-network": ("C5", "P", (0, (3, 1, 1, 1))),
    "coordinate-descent": ("0.2", "<", (0, (1, 1))),
    "hill-climbing": ("C9", ">", (0, (8, 2, 1, 2))),
    "optimistic-table": ("C9", "d", (0, (2, 1))),
    "random": ("#6a51a3", "*", (0, (1, 4))),
    "exhaustive": ("0.2", "p", (0, (4, 4))),
    "rrl-wide": ("C2", "D", (0, (2, 1))),
    "rrl-one-cell": ("C2", "X", ":"),
    "rrl-released": ("C2", "h", (0, (4, 4))),
    "rrl-released-copy": ("C2", "p", (0, (8, 2))),
    "optuna-tpe": ("C5", "h", (0, (4, 4))),
    "gp-ei": ("#6a51a3", "h", (0, (2, 1))),
    "zooming": ("C4", "p", (0, (4, 4))),
    "knowing": ("C5", "*", (0, (4, 4))),
    "fixed": ("0.35", "x", (0, (6, 1))),
}
OTHER_STYLE = ("0.35", "8", "-")  # of an agent that is not among them
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MARK = "#d55e00"  # vermilion: visible on all colour maps here, also to colour-blind people

STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 200,
    "legend.frameon": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.formatter.min_exponent": 4,  # a logarithmic axis shows 20, not 2 x 10^1
}
"""What the figures add to seaborn's theme."""


def style() -> None:
    """Set the style of all figures: seaborn's theme for papers, in colours for the colour-blind.

    Tables of a notebook show long texts whole.
    """
    import pandas as pd  # here, because both take a second
    import seaborn as sns

    pd.set_option("display.max_colwidth", None)
    sns.set_theme(context="paper", style="ticks", palette="colorblind", rc=STYLE)


def save(figure: Figure, name: str, folder: str | os.PathLike[str]) -> Path:
    """Write ``name.pdf`` and ``name.png`` without dates, and return the PNG's path.

    Each file is written completely or not at all; see :func:`rrl.support.files.replacing`.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for kind, dated in (("pdf", "CreationDate"), ("png", "Software")):
        with replacing(target / f"{name}.{kind}") as file:
            figure.savefig(file, format=kind, bbox_inches="tight", metadata={dated: None})
    return target / f"{name}.png"


def value_label(name: str, value: Any) -> str:
    """Return a label of a knob's value: 0 batch threads is "off", and microseconds become ms."""
    if name == "batch_threads" and value == 0:
        return "off"
    if name in ("inter_op", "intra_op") and value == 0:
        return "auto"
    return f"{value / 1000:g}" if name == "batch_timeout_micros" else str(value)


def label(configuration: Configuration) -> str:
    """Return a short text for a configuration.

    Examples
    --------
    >>> label({"inter_op": 2, "batch_threads": 0})
    'inter-op 2, batch threads off'
    """
    words = {name: text.replace(" threads", "", 1) for name, text in KNOB_LABELS.items()}
    words["batch_threads"] = "batch threads"
    settings = (f"{words.get(k, k)} {value_label(k, v)}" for k, v in configuration.items())
    return ", ".join(settings)


def marker(number: int) -> str:
    """Return the marker of a series by its number; after the last marker the first one follows."""
    return MARKERS[number % len(MARKERS)]


def agent_style(name: str, **how: Any) -> dict[str, Any]:
    """Return an agent's colour, marker and line, the same in all figures that show it.

    An agent without an entry in `AGENT_STYLES` has `OTHER_STYLE`.

    Parameters
    ----------
    name : str
    **how
        These arguments are added, or they replace some: ``ls=""`` is for points without a line.

    Examples
    --------
    >>> agent_style("rrl-gp", ls="", ms=4)
    {'color': 'C0', 'marker': 'o', 'ls': '', 'ms': 4}
    """
    color, marker, line = AGENT_STYLES.get(name, OTHER_STYLE)
    return {"color": color, "marker": marker, "ls": line} | how


def plot_intervals(
    ax: Axes,
    at: ArrayLike,
    centre: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    in_rows: bool = False,
    **how: Any,
) -> None:
    """Plot values with their intervals against `at`; in rows, `at` is the height of each.

    The other arguments are those of :meth:`matplotlib.axes.Axes.errorbar`.
    """
    middle = np.asarray(centre, dtype=float)
    reach = np.reshape([middle - low, high - middle], (2, -1))
    if in_rows:
        ax.errorbar(middle, at, xerr=reach, **how)
    else:
        ax.errorbar(at, middle, yerr=reach, **how)


def legend_below(fig: Figure, ax: Axes, ncols: int) -> None:
    """Put the legend of one panel below all panels, where it hides no data."""
    handles, labels = ax.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=ncols, fontsize="small")


class _PlainLog(ticker.Locator):
    """Ticks at round numbers of a logarithmic axis, within the room that there is."""

    axis: Axis

    def __call__(self) -> Any:
        return self.tick_values(*self.axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> Any:
        (low, high), room = sorted((vmin, vmax)), max(self.axis.get_tick_space(), 3)
        if high < 4 * low:  # the axis is so short that it is nearly linear
            steps = ticker.MaxNLocator(min(room, 4), steps=[1, 2, 2.5, 5, 10])
            return steps.tick_values(low, high)
        # On less than a decade, the usual steps would give only two or three ticks.
        dense = ((1, 1.5, 2, 3, 5, 7), (1, 2, 3, 5)) if high < 10 * low else ()
        for subs in (*dense, (1, 2, 5), (1, 3), (1,)):
            ticks = np.asarray(ticker.LogLocator(subs=subs, numticks=99).tick_values(low, high))
            if np.count_nonzero((low <= ticks) & (ticks <= high)) <= room:
                break
        return ticks


def plain_log_ticks(axis: Axis) -> None:
    """Label the ticks of a logarithmic axis as 20, 50, 100 and not as powers of ten."""
    axis.set_major_locator(_PlainLog())
    axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axis.set_minor_formatter(ticker.NullFormatter())
