"""The figure of the ablation: every agent against the reference of its family, on every problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rrl.plotting.cells import write_in_cells
from rrl.plotting.experiments import LABELS, SIGNS
from rrl.plotting.shared import scenario_label
from rrl.studies.comparison import COMPARED

if TYPE_CHECKING:
    import pandas as pd


def plot_ablation(table: pd.DataFrame, family: str) -> Figure:
    """Plot all measures of a family of agents, one panel per measure.

    Parameters
    ----------
    table : DataFrame
        :func:`rrl.studies.ablation.ablation_table` returns it.
    family : str
        This is the name of the reference.

    Returns
    -------
    Figure
        A number is the agent's measure divided by the reference's. It is below 1, and purple, if
        the agent is better. The sign tells whether it won (+), lost (-) or tied (=).
    """
    rows = table[(table["family"] == family) & (table["agent"] != family)]
    fig, axes = plt.subplots(
        2, 2, figsize=(11, 1.6 + 0.42 * rows["agent"].nunique()), layout="constrained",
        sharex=True, sharey=True,
    )  # fmt: skip
    for measure, ax in zip(COMPARED, axes.flat, strict=True):
        _panel(rows[rows["measure"] == measure], ax).set_title(LABELS[measure], fontsize="small")
    words = ", ".join(f"{sign}: {word}" for word, sign in SIGNS.items())
    fig.suptitle(f"divided by that of {family}; below 1 (purple) is better; {words}")
    return fig


def _panel(rows: pd.DataFrame, ax: Axes) -> Axes:
    agents, problems = list(rows["agent"].unique()), list(rows["problem"].unique())
    cells = rows.set_index(["agent", "problem"])
    shown, texts = np.full((len(agents), len(problems)), np.nan), {}
    for (agent, problem), cell in cells.iterrows():
        place = agents.index(agent), problems.index(problem)
        shown[place] = np.log10(cell["ratio"])
        texts[place] = f"{cell['ratio']:.2f} {SIGNS[cell['verdict']]}"
    image = ax.imshow(shown, cmap="PuOr_r", vmin=-0.6, vmax=0.6, aspect="auto")
    write_in_cells(image, texts)
    names = [scenario_label(problem) for problem in problems]
    ax.set_xticks(range(len(problems)), names, rotation=40, ha="right")
    ax.set_yticks(range(len(agents)), list(agents))
    ax.tick_params(length=0)
    sns.despine(ax=ax, left=True, bottom=True)
    return ax
