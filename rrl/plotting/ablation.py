"""The figure of the ablation: every agent against the reference of its family, on every problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from rrl.plotting.experiments import LABELS, plot_ratios
from rrl.studies.outcomes import COMPARED

if TYPE_CHECKING:
    import pandas as pd


def plot_ablation(table: pd.DataFrame, family: str) -> Figure:
    """Plot all measures of a family of agents, one panel per measure; a marker is a problem.

    Parameters
    ----------
    table : DataFrame
        :func:`rrl.studies.ablation.ablation_table` returns it.
    family : str
        This is the name of the reference.

    Returns
    -------
    Figure
        The position is the agent's measure divided by the reference's. It is left of 1 if the agent
        is better. A marker is hollow if the interval of the ratio contains 1.
    """
    rows = table[(table["family"] == family) & (table["agent"] != family)]
    fig, axes = plt.subplots(
        1, len(COMPARED), figsize=(11, 1.5 + 0.3 * rows["agent"].nunique()), layout="constrained",
        sharey=True,
    )  # fmt: skip
    for measure, ax in zip(COMPARED, axes, strict=True):
        plot_ratios(rows[rows["measure"] == measure], "agent", ax)
        ax.set_title(LABELS[measure], fontsize="small")
    fig.supxlabel(
        f"agent / {family}: left of 1 the agent is better, right of 1 {family}; "
        "hollow: not certain",
        fontsize="medium",
    )
    return fig
