"""The common parts of all figures: their style, the names that they show, and :func:`save`.

A function that draws takes data and axes, and it returns the axes. :func:`save` writes the same
bytes for the same data.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.axis import Axis
from matplotlib.figure import Figure

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
AGENT_LABELS = {
    "rrl": "RRL",
    "rrl-boltzmann": "RRL, Boltzmann",
    "rrl-boltzmann-wide": "RRL, Boltzmann, radius 3",
    "rrl-adaptive": "RRL, adaptive radius",
    "rrl-selected-reach": "RRL, selected reach",
    "rrl-reach-1": "RRL, reach 1",
    "rrl-reach-2": "RRL, reach 2",
    "rrl-reach-3": "RRL, reach 3",
    "rrl-whole-space": "RRL, whole space",
    "rrl-shrinking-reach": "RRL, shrinking reach",
    "rrl-random-reach": "RRL, random reach",
    "rrl-flat-prior": "RRL, flat prior of lengths",
    "rrl-expected-lengths": "RRL, lengths not learned",
    "rrl-one-length": "RRL, one length for all knobs",
    "rrl-boltzmann-radius-2": "RRL, Boltzmann, radius 2",
    "rrl-boltzmann-schedule": "RRL, radius by schedule",
    "rrl-boltzmann-random-radius": "RRL, random radius",
    "rrl-adaptive-flat-prior": "RRL, adaptive radius, flat prior",
    "rrl-released": "RRL, released settings",
    "rrl-released-copy": "RRL, released settings, copy",
}
AGENT_STYLES = {
    "tf-serving-default": ("0.55", "X"),
    "heuristic": ("C1", "D"),
    "rrl-boltzmann": ("C2", "s"),
    "rrl-adaptive": ("C3", "^"),
    "rrl": ("C0", "o"),
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def style() -> None:
    """Set the style of all figures: seaborn's colour-blind palette on white."""
    sns.set_theme(context="paper", style="ticks", palette="colorblind")
    mpl.rcParams.update({"figure.dpi": 110, "savefig.dpi": 200, "legend.frameon": False})
    mpl.rcParams["axes.formatter.min_exponent"] = 4  # a logarithmic axis shows 20, not 2 x 10^1


def save(figure: Figure, name: str, folder: str | os.PathLike[str] = "figures") -> Path:
    """Write ``name.pdf`` and ``name.png`` without dates, and return the PNG's path.

    Each file is written completely or not at all; see :func:`rrl.support.files.replacing`.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for kind, dated in (("pdf", "CreationDate"), ("png", "Software")):
        with replacing(target / f"{name}.{kind}") as file:
            figure.savefig(file, format=kind, bbox_inches="tight", metadata={dated: None})
    return target / f"{name}.png"


def level_label(name: str, level: Any) -> str:
    """Return a label of a knob's level: 0 batch threads is "off", and microseconds become ms."""
    if name == "batch_threads" and level == 0:
        return "off"
    if name in ("inter_op", "intra_op") and level == 0:
        return "auto"
    return f"{level / 1000:g}" if name == "batch_timeout_micros" else str(level)


def in_order(name: str, levels: Iterable[Any]) -> list[Any]:
    """Sort a knob's levels by position: "off" and "auto" come after the largest number.

    Examples
    --------
    >>> in_order("batch_threads", [0, 1, 4, 2]), in_order("max_batch_size", [4, 1])
    ([1, 2, 4, 0], [1, 4])
    """
    return sorted(levels, key=lambda level: (level_label(name, level) in ("off", "auto"), level))


def label(configuration: Configuration) -> str:
    """Return a short text for a configuration.

    Examples
    --------
    >>> label({"inter_op": 2, "batch_threads": 0})
    'inter-op 2, batch threads off'
    """
    words = {name: text.replace(" threads", "", 1) for name, text in KNOB_LABELS.items()}
    words["batch_threads"] = "batch threads"
    parts = (f"{words.get(k, k)} {level_label(k, v)}" for k, v in configuration.items())
    return ", ".join(parts)


def agent_label(name: str) -> str:
    """Return the label of an agent; one without a label keeps its name.

    Examples
    --------
    >>> agent_label("rrl-boltzmann"), agent_label("heuristic")
    ('RRL, Boltzmann', 'heuristic')
    """
    return AGENT_LABELS.get(name, name)


def agent_style(name: str) -> dict[str, Any]:
    """Return an agent's colour and marker, the same in all figures that show it.

    Raises
    ------
    KeyError
        If the agent has none. Then `AGENT_STYLES` needs an entry.

    Examples
    --------
    >>> agent_style("rrl")
    {'color': 'C0', 'marker': 'o'}
    """
    color, marker = AGENT_STYLES[name]
    return {"color": color, "marker": marker}


def plain_log_ticks(axis: Axis) -> None:
    """Label the ticks of a logarithmic axis as 20, 50, 100 and not as powers of ten."""
    axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axis.set_minor_formatter(mpl.ticker.NullFormatter())
