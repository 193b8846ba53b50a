"""The results on the front page, between two marks of README.md; ``make pages`` writes them there.

They come from the tables and the claims in ``figures/``. So the page cannot say anything else than
the notebooks have computed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rrl.studies.claim_page import best_simple, counted
from rrl.studies.claim_tables import LOADS
from rrl.studies.other_half import ORACLE, READER
from rrl.support.errors import UsageError
from rrl.support.files import read_json

if TYPE_CHECKING:
    import pandas as pd

PAGE = Path("README.md")
BEGIN, END = "<!-- results: written by rrl.publishing.results -->", "<!-- end of results -->"
OURS, PAPER = "rrl-gp", "rrl"


def results(folder: Path) -> str:
    """Return what is gained, where it is lost, and the verdicts on the claims, in Markdown.

    Parameters
    ----------
    folder : Path
        The folder with the tables of the experiments and of the claims, and ``claims.json``.
    """
    import pandas as pd

    saved = pd.read_csv(folder / "claims-utilisation.csv")
    everywhere = pd.read_csv(folder / "experiments-everywhere.csv")
    others = [agent for agent in saved["agent"].unique() if not agent.startswith("rrl")]
    rival = best_simple(saved, [agent for agent in others if agent not in (ORACLE, READER)])
    table, lost = utilisation_table(saved, rival), losses(everywhere, rival)
    return "\n\n".join((gains(saved), table, lost, counted(read_json(folder / "claims.json"))))


def _both(saved: pd.DataFrame, load: str, agent: str, unit: str = "") -> str:
    """Return what an agent saves at a load in percent, by the first and by the second half."""
    rows = saved[(saved["load"] == load) & (saved["agent"] == agent)].sort_values("half")
    return " / ".join(f"{value:.0f}{unit}" for value in rows["saved"])


def gains(saved: pd.DataFrame) -> str:
    """Return what is gained, as sentences.

    Parameters
    ----------
    saved : DataFrame
        See :func:`rrl.studies.claim_page.by_utilisation`.
    """
    counts = sorted(saved.loc[saved["agent"] == OURS, "recordings"].unique())
    many = " or ".join(map(str, counts))
    low, *_, high = LOADS
    return (
        f"`{OURS}` is our extension of the paper's method, and the agent of `recommended`. At a "
        f"{high} load, the configuration that it deploys after 100 episodes saves "
        f"{_both(saved, high, OURS, ' %')} of the mean latency of the server's default; at a {low} "
        f"load, where the default is nearly the best, {_both(saved, low, OURS, ' %')}. The numbers "
        f"are geometric means over {many} recordings of the real runtime. The agents replayed one "
        "half of each recording, and the other half judged them; the second number comes from "
        "exchanged halves. We looked up the best simple rival after the results."
    )


def utilisation_table(saved: pd.DataFrame, rival: str) -> str:
    """Return what the agents save of the default's mean latency, with a line per utilisation."""
    head = (
        "load", f"`{OURS}`", f"`{PAPER}`, the paper's", f"`{rival}`, the best simple rival",
        "an oracle",
    )  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for load in LOADS:
        cells = [_both(saved, load, agent) for agent in (OURS, PAPER, rival, ORACLE)]
        lines.append(f"| {load}, % saved | {' | '.join(cells)} |")
    return "\n".join(lines)


def losses(everywhere: pd.DataFrame, rival: str) -> str:
    """Return what learning costs beside the rival and the other agents, as sentences.

    Parameters
    ----------
    everywhere : DataFrame
        The mean cost of each agent (rows) in each scenario (columns), among other measures.
    rival : str
        The rival of the table of savings.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = [("mean_cost", "rrl-gp", 1.2, 1.5), ("mean_cost", "random", 1.3, 1.0)]
    >>> table = pd.DataFrame(rows, columns=["measure", "agent", "easy", "hard"])
    >>> print(losses(table, "random"))
    While it learns, `random` costs 0.85 times as much as `rrl-gp` (geometric mean of 2 scenarios).
    `rrl-gp` costs least in 1 of them. It loses most at hard: there it costs 1.50 times as much as
    `random`.
    """
    costs = everywhere[everywhere["measure"] == "mean_cost"]
    costs = costs.set_index("agent").drop(columns="measure").astype(float)
    ratio = costs.loc[OURS] / costs.min()
    worst = str(ratio.idxmax())
    beside = np.exp(np.log(costs.loc[rival] / costs.loc[OURS]).mean())
    return (
        f"While it learns, `{rival}` costs {beside:.2f} times as much as `{OURS}` "
        f"(geometric mean of {len(ratio)} scenarios).\n`{OURS}` costs least in "
        f"{(ratio <= 1).sum()} of them. It loses most at {worst}: there it costs "
        f"{ratio.max():.2f} times as much as\n`{costs[worst].idxmin()}`."
    )


def insert(page: str, text: str) -> str:
    """Put the text between the two marks of a page, in place of what is there.

    Examples
    --------
    >>> insert(f"a {BEGIN} old {END} b", "new").splitlines()[1:-1]
    ['new']

    Raises
    ------
    UsageError
        If the page does not have each mark once.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise UsageError(f"{PAGE} must have the lines {BEGIN!r} and {END!r}, once each")
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}"
