"""The figure of the warm start: what each source saves on each problem, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from rrl.studies.warm_start import ADVERSARIES

if TYPE_CHECKING:
    import pandas as pd

PANELS = {
    "saved": "episodes saved",
    "mean_cost": "mean cost",
    "deployed": "cost of what is deployed",
}
"""The columns of the table, and what they are called."""


def plot_warm_start(table: pd.DataFrame) -> Figure:
    """Plot what a warm start saves and costs: one row per problem and source.

    Parameters
    ----------
    table : DataFrame
        The rows of :func:`rrl.studies.warm_start.warm_start_table` to show.

    Returns
    -------
    Figure
        The first panel has episodes: more than 0 is sooner. The others have ratios: less than 1 is
        better than without a warm start. The bars are 95 % intervals. A row is orange and has a
        hollow square if its source misleads on purpose.
    """
    fig, axes = plt.subplots(
        1, len(PANELS), figsize=(10, 0.8 + 0.22 * len(table)), layout="constrained", sharey=True
    )
    misled = table["source"].isin(ADVERSARIES)
    labels = table["source"] + "  \N{RIGHTWARDS ARROW}  " + table["problem"]
    for (name, words), ax in zip(PANELS.items(), axes, strict=True):
        ax.axvline(0 if name == "saved" else 1, lw=0.8, color="0.6")
        for row, values in enumerate(table.itertuples()):
            centre, low, high = (getattr(values, name + end) for end in ("", "_low", "_high"))
            colour = "C1" if misled.iloc[row] else "C0"
            ax.plot([low, high], [row, row], lw=1.4, color=colour)
            how = {"marker": "s", "mfc": "white"} if misled.iloc[row] else {"marker": "o"}
            ax.plot(centre, row, ms=4, color=colour, **how)
        ax.set_xlabel(words + ("" if name == "saved" else " / without"))
    axes[0].set_yticks(np.arange(len(table)), labels, fontsize="x-small")
    axes[0].invert_yaxis()
    sns.despine(fig)
    return fig
