"""The results on the front page, between two marks of README.md; ``make pages`` writes them there.

They come from a table in ``figures/``. So the page cannot say anything else than the notebooks have
computed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from rrl.rivals.agents import RECOMMENDED
from rrl.support.errors import UsageError

PAGE = Path("README.md")
BEGIN, END = "<!-- results: written by rrl.publishing.results -->", "<!-- end of results -->"
TABLE = "experiments-loads.csv"
OURS, PAPER, RIVAL, DEFAULT = RECOMMENDED, "rrl", "q-learning", "tf-serving-default"
SIMPLE = ("coordinate-descent", "hill-climbing", "random")


def results(folder: Path) -> str:
    """Return what clients pay above the best while an agent learns, in Markdown.

    Parameters
    ----------
    folder : Path
        The folder with `TABLE`, which notebook 07 writes.
    """
    return what_is_paid(pd.read_csv(folder / TABLE))


def what_is_paid(paid: pd.DataFrame) -> str:
    """Return a sentence, and a table with a line per load.

    Parameters
    ----------
    paid : DataFrame
        The columns are `load`, `half`, `agent`, `excess` (a fraction) and `recordings`.

    Examples
    --------
    >>> import pandas as pd
    >>> agents = ("tf-serving-default", "rrl", "rrl-gp", "q-learning", "random", "hill-climbing")
    >>> rows = [("low", half, agent, (1 + half) * at / 10, 6)
    ...         for half in (0, 1) for at, agent in enumerate(agents)]
    >>> columns = ["load", "half", "agent", "excess", "recordings"]
    >>> print(what_is_paid(pd.DataFrame(rows, columns=columns)).splitlines()[-1])
    | low | 0 | 10 to 20 | 20 to 40 | 30 to 60 | 40 to 80 |
    """
    simple = paid[paid["agent"].isin(SIMPLE)]
    strongest = np.log1p(simple["excess"]).groupby(simple["agent"]).mean().idxmin()
    agents = (DEFAULT, PAPER, OURS, RIVAL, str(strongest))
    heads = ("the default", f"`{PAPER}`, the paper's", f"`{OURS}`", f"`{RIVAL}`", f"`{strongest}`")
    said = (
        f"What clients pay above the best in the first 100 episodes, learning included, in per "
        f"cent of the best mean latency: geometric means over {paid['recordings'].max()} "
        "recordings of the real runtime. Agents replay one half of a recording, and the other half "
        "judges; a range has both ways round. An oracle pays 0. "
        f"`{OURS}` is our extension, and `{strongest}` the strongest of three simple searches, "
        "chosen by these results."
    )
    lines = [f"| load | {' | '.join(heads)} |", "|" + " --- |" * (len(heads) + 1)]
    for load, rows in paid.groupby("load", sort=False):
        cells = (_range(rows.loc[rows["agent"] == agent, "excess"]) for agent in agents)
        lines.append(f"| {load} | {' | '.join(cells)} |")
    return f"{said}\n\n" + "\n".join(lines)


def _range(excess: pd.Series) -> str:
    """Return the lowest and the highest of some fractions in per cent, once if they are equal."""
    low, high = (f"{100 * value:.0f}" for value in (excess.min(), excess.max()))
    return low if low == high else f"{low} to {high}"


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
