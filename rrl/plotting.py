"""Figures: one function each, readable in print, in grey and by the colour-blind.

A function takes data and axes and returns the axes; :func:`save` writes the figure so that the
same data give the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rrl.experiments import Run, bootstrap_interval
from rrl.knob import Knob
from rrl.space import Configuration

if TYPE_CHECKING:
    from rrl.profile import Profile

MS = 1000.0  # milliseconds are for people; everything else is in seconds
KNOB_LABELS = {
    "inter_op": "inter-op threads",
    "intra_op": "intra-op threads",
    "batch_threads": "batch threads",
    "max_batch_size": "max batch size",
    "batch_timeout_micros": "batch timeout (ms)",
}
_MARKERS = ("o", "s", "^", "D", "v", "P")


def style() -> None:
    """Set the look of all figures: seaborn's colour-blind palette on white."""
    sns.set_theme(context="paper", style="ticks", palette="colorblind")
    mpl.rcParams.update({"figure.dpi": 110, "savefig.dpi": 200, "legend.frameon": False})


def save(figure: Figure, name: str, folder: str | os.PathLike[str] = "figures") -> Path:
    """Write ``name.pdf`` and ``name.png`` without dates, and return the PNG's path."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    figure.savefig(target / f"{name}.pdf", bbox_inches="tight", metadata={"CreationDate": None})
    figure.savefig(target / f"{name}.png", bbox_inches="tight", metadata={"Software": None})
    return target / f"{name}.png"


def level_label(name: str, level: Any) -> str:
    """A knob's level as people read it: 0 batch threads is "off", microseconds become ms."""
    if name == "batch_threads" and level == 0:
        return "off"
    if name in ("inter_op", "intra_op") and level == 0:
        return "auto"
    return f"{level / 1000:g}" if name == "batch_timeout_micros" else str(level)


def label(configuration: Configuration) -> str:
    """A configuration in a few words.

    Examples
    --------
    >>> label({"inter_op": 2, "batch_threads": 0})
    'inter-op 2, batch threads off'
    """
    words = {name: text.replace(" threads", "", 1) for name, text in KNOB_LABELS.items()}
    words["batch_threads"] = "batch threads"
    parts = (f"{words.get(k, k)} {level_label(k, v)}" for k, v in configuration.items())
    return ", ".join(parts)


def plot_tuning(
    run: Run, references: Mapping[str, float] | None = None, ax: Axes | None = None
) -> Axes:
    """Cost of each episode, with reference costs (s) as horizontal lines."""
    ax = ax or plt.gca()
    costs = MS * np.array(run.costs)
    ax.plot(np.arange(1, len(run) + 1), costs, "o", ms=3.5, label="an episode")
    for (name, cost), line in zip((references or {}).items(), ("--", ":", "-."), strict=False):
        ax.axhline(MS * cost, ls=line, color="0.25", lw=1, label=f"{name}: {MS * cost:.1f} ms")
    ax.legend(loc="upper right")
    ax.set(xlabel="episode", ylabel="mean latency (ms)", yscale="log")
    _plain_log_ticks(ax)
    sns.despine(ax=ax)
    return ax


def plot_comparison(
    costs: Mapping[str, Mapping[str, NDArray[np.float64]]], ax: Axes | None = None
) -> Axes:
    """Costs (s) of contestants in paired episodes, load by load: points, median and interval."""
    ax = ax or plt.gca()
    rng = np.random.default_rng(0)  # only for the bootstrap and the jitter of the points
    loads, names = list(costs), list(next(iter(costs.values())))
    for i, name in enumerate(names):
        offset = 0.3 * (i - (len(names) - 1) / 2)
        color = f"C{i}"
        for x, load in enumerate(loads):
            values = MS * costs[load][name]
            at = x + offset
            ax.plot(at + rng.uniform(-0.06, 0.06, len(values)), values, ".", color=color, alpha=0.4)
            centre, low, high = bootstrap_interval(values, rng)
            ax.errorbar(
                at,
                centre,
                [[centre - low], [high - centre]],
                fmt=_MARKERS[i],
                color=color,
                mec="black",
                ecolor="black",
                capsize=3,
                label=name if x == 0 else None,
            )
    ax.set(yscale="log", ylabel="mean latency (ms)", xticks=range(len(loads)), xticklabels=loads)
    ax.margins(x=0.2)
    _plain_log_ticks(ax)
    ax.legend()
    sns.despine(ax=ax)
    return ax


def plot_knob(profile: Profile, knob: str, at: Configuration, ax: Axes | None = None) -> Axes:
    """Mean latency against one knob, the others held at `at`; a line and marker a load."""
    ax = ax or plt.gca()
    summary = profile.summary()
    for name in profile.knobs:
        if name != knob:
            summary = summary[summary[name] == at[name]]
    levels = _knob(profile, knob).levels
    for i, (rate, rows) in enumerate(summary.groupby("rate_per_s")):
        rows = rows.set_index(knob).loc[list(levels)]
        ax.errorbar(
            range(len(levels)),
            MS * rows["mean_s"],
            MS * rows["sem_s"].fillna(0),
            marker=_MARKERS[i],
            ls=("-", "--", ":")[i % 3],
            capsize=2,
            label=f"{rate:g} requests/s",
        )
    ax.set(
        xticks=range(len(levels)),
        xticklabels=[level_label(knob, level) for level in levels],
        xlabel=KNOB_LABELS.get(knob, knob),
        ylabel="mean latency (ms)",
        yscale="log",
    )
    _plain_log_ticks(ax)
    sns.despine(ax=ax)
    return ax


def plot_surface(
    profile: Profile,
    rate_per_s: float,
    knobs: tuple[str, str],
    ax: Axes | None = None,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Heat map of mean latency over two knobs: the best over the others; a ring at the best.

    `limits` (s) fixes the colour scale, so that panels can be compared.
    """
    ax = ax or plt.gca()
    summary = profile.summary()
    at_rate = summary[np.isclose(summary["rate_per_s"], rate_per_s)]
    table = MS * at_rate.groupby(list(knobs))["mean_s"].min().unstack()
    low, high = (MS * limit for limit in limits) if limits else (None, None)
    sns.heatmap(
        table,
        ax=ax,
        norm=mpl.colors.LogNorm(low, high),
        cmap="cividis_r",
        annot=True,
        fmt=".0f",
        cbar=False,
        annot_kws={"size": "small"},
    )
    row, column = np.unravel_index(np.argmin(table.to_numpy()), table.shape)
    ax.add_patch(plt.Circle((column + 0.5, row + 0.5), 0.42, fill=False, ec="red", lw=1.5))
    ax.set(
        title=f"{rate_per_s:g} requests/s",
        xlabel=KNOB_LABELS.get(knobs[1], knobs[1]),
        ylabel=KNOB_LABELS.get(knobs[0], knobs[0]),
        xticklabels=[level_label(knobs[1], level) for level in table.columns],
        yticklabels=[level_label(knobs[0], level) for level in table.index],
    )
    return ax


def plot_noise(profile: Profile, ax: Axes | None = None) -> Axes:
    """Distribution of an episode's mean over the mean of its configuration and load."""
    ax = ax or plt.gca()
    table = profile.grid
    cells = table.groupby([*profile.knobs, "rate_per_s"])["mean_s"]
    ratio = table["mean_s"] / cells.transform("mean")
    for i, (rate, values) in enumerate(ratio.groupby(table["rate_per_s"])):
        values = np.sort(values.to_numpy())
        share = (np.arange(len(values)) + 0.5) / len(values)
        line = ("-", "--", ":")[i % 3]
        ax.plot(values, share, ls=line, lw=1.8, label=f"{rate:g} requests/s")
    ax.set(xlabel="an episode / mean of its configuration", ylabel="share of episodes")
    ax.legend()
    sns.despine(ax=ax)
    return ax


def plot_finals(
    finalists: Sequence[Mapping[str, Any]], knobs: Sequence[str], ax: Axes | None = None
) -> Axes:
    """The re-measured best of one load: cost over that of the best, and what is known of each.

    Bars are the one-sided 95 % limits of :func:`rrl.finals.judge`.
    """
    ax = ax or plt.gca()
    ranked = sorted(finalists, key=lambda f: (f["verdict"] != "best", f["ratio"]))
    markers = {"best": "*", "tied": "o", "separated": "x", "undecided": "s"}
    for y, finalist in enumerate(ranked):
        verdict, ratio = finalist["verdict"], finalist["ratio"]
        reach = [[ratio - finalist.get("low", ratio)], [finalist.get("high", ratio) - ratio]]
        ax.errorbar(
            ratio,
            y,
            xerr=reach,
            fmt=markers[verdict],
            ms=9 if verdict == "best" else 6,
            color=f"C{list(markers).index(verdict)}",
            label=verdict,
        )
    names = [" / ".join(level_label(k, f[k]) for k in knobs) for f in ranked]
    ax.set(yticks=range(len(ranked)), yticklabels=names, xlabel="mean latency / that of the best")
    ax.invert_yaxis()
    handles, labels = ax.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    ax.legend(unique.values(), unique.keys())
    sns.despine(ax=ax)
    return ax


def _knob(profile: Profile, name: str) -> Knob:
    return next(knob for knob in profile.space.knobs if knob.name == name)


def _plain_log_ticks(ax: Axes) -> None:
    """Ticks as 20, 50, 100 and not as powers of ten."""
    ax.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    ax.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
