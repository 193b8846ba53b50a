"""The results on the front page, between two marks of README.md; ``make pages`` writes them there.

They come from the tables and the claims in ``figures/``. So the page cannot say anything else than
the notebooks have computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rrl.studies.claim_page import best_simple, counted, markdown_table
from rrl.studies.claim_tables import LOADS
from rrl.studies.claims import SHOWN
from rrl.studies.other_half import ORACLE, READER
from rrl.support.errors import UsageError
from rrl.support.files import read_json

PAGE = Path("README.md")
BEGIN, END = "<!-- results: written by rrl.publishing.results -->", "<!-- end of results -->"
OURS, PAPER = "rrl-gp", "rrl"


def results(folder: Path) -> str:
    """Return what is gained, what learning costs, and the verdicts on the claims, in Markdown.

    Parameters
    ----------
    folder : Path
        The folder with the tables of the claims and of the live runs, and ``claims.json``.
    """
    saved = pd.read_csv(folder / "claims-utilisation.csv")
    others = [agent for agent in saved["agent"].unique() if not agent.startswith("rrl")]
    rival = best_simple(saved, [agent for agent in others if agent not in (ORACLE, READER)])
    claims, judged = read_json(folder / "claims.json"), pd.read_csv(folder / "claims-columns.csv")
    live = on_servers(pd.read_csv(folder / "live-verdicts.csv"))
    verdicts = f"{counted(claims)}{other_agents(claims, judged)}{live}"
    table, costs = _utilisation_table(saved, rival), learning(saved, rival)
    return "\n\n".join((gains(saved), table, costs, verdicts))


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
        f"`{OURS}` is our extension of the paper's method, and the agent of `recommended`. After "
        f"100 episodes at a {high} load, the configuration that `{OURS}` deploys saves "
        f"{_both(saved, high, OURS, ' %')} of the mean latency of the server's default. At a {low} "
        f"load less can be saved: {_both(saved, low, OURS, ' %')}. The numbers "
        f"are geometric means over {many} recordings of the real runtime. The agents replayed one "
        "half of each recording, and the other half judged them. For the second number, the "
        "halves are exchanged. An oracle deploys the best configuration of the judging half. The "
        "best simple rival was chosen after the results were seen."
    )


def _utilisation_table(saved: pd.DataFrame, rival: str) -> str:
    """Return what the agents save of the default's mean latency, with a line per utilisation."""
    head = (
        "load", f"`{OURS}`", f"`{PAPER}`, the paper's", f"`{rival}`, the best simple rival",
        "an oracle",
    )  # fmt: skip
    agents = OURS, PAPER, rival, ORACLE
    rows = [(f"{load}, % saved", *(_both(saved, load, name) for name in agents)) for load in LOADS]
    return markdown_table(head, rows)


def learning(saved: pd.DataFrame, rival: str) -> str:
    """Return what learning costs beside our agent, as a sentence.

    Parameters
    ----------
    saved : DataFrame
        See :func:`rrl.studies.claim_page.by_utilisation`.
    rival : str
        The rival of the table of savings.

    Examples
    --------
    >>> import pandas as pd
    >>> costs = {"rrl-gp": (1.2, 1.5), "rrl": (1.2, 3), "random": (1.5, 1.2), "exhaustive": (6, 6)}
    >>> rows = [("low", name, half, own[half], 5) for name, own in costs.items() for half in (0, 1)]
    >>> columns = ["load", "agent", "half", "mean_cost", "recordings"]
    >>> print(learning(pd.DataFrame(rows, columns=columns), "exhaustive"))
    While they learn, `rrl` costs 1.00 / 2.00 times, `exhaustive` 5.00 / 4.00 times, and
    `random`, the cheapest simple rival, 1.25 / 0.80 times as much as `rrl-gp` (geometric means over
    5 loads). `rrl-gp` is [not the best everywhere](figures/claims.md#where-it-is-not-the-best).
    """
    count = saved.loc[saved["agent"] == OURS].groupby("half")["recordings"].sum().max()
    logs = np.log(saved["mean_cost"]) * saved["recordings"]
    sums = saved.assign(logs=logs).groupby(["agent", "half"])[["logs", "recordings"]].sum()
    costs = np.exp(sums["logs"] / sums["recordings"]).unstack()
    beside = costs / costs.loc[OURS]
    simple = [name for name in costs.index if not name.startswith("rrl")]
    cheapest = costs.loc[[name for name in simple if name not in (ORACLE, READER)]].prod(axis=1)
    least = cheapest.idxmin()
    said = {name: " / ".join(f"{x:.2f}" for x in own) for name, *own in beside.itertuples()}
    return (
        f"While they learn, `{PAPER}` costs {said[PAPER]} times, `{rival}` {said[rival]} times, "
        f"and\n`{least}`, the cheapest simple rival, {said[least]} times as "
        f"much as `{OURS}` (geometric means over\n{count} loads). "
        f"`{OURS}` is [not the best everywhere](figures/claims.md#where-it-is-not-the-best)."
    )


def other_agents(claims: Sequence[Mapping[str, Any]], judged: pd.DataFrame) -> str:
    """Return, for each claim about an agent that is shown, the agent, and the verdicts on others.

    Parameters
    ----------
    claims : sequence of dict
        The content of ``claims.json``.
    judged : DataFrame
        Every number of every claim, see :func:`rrl.studies.claims.judge_all`.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = [("C7", True, "rrl-gp", "shown"), ("C7", True, "rrl", "partly shown")]
    >>> table = pd.DataFrame(rows, columns=["claim", "decides", "agent", "verdict"])
    >>> other_agents([{"id": "C7", "verdict": "shown", "agent": "rrl-gp"}], table)
    ' C7 is shown for `rrl-gp`; other agents: `rrl` partly shown.'
    """
    said = ""
    for claim in claims:
        if claim["verdict"] == SHOWN and claim["agent"]:
            rows = judged[judged["decides"] & (judged["claim"] == claim["id"])]
            rows = rows[rows["agent"] != claim["agent"]].dropna(subset="verdict")
            words = rows.drop_duplicates("agent").set_index("agent")["verdict"].sort_index()
            others = ", ".join(f"`{agent}` {word}" for agent, word in words.items())
            said += f" {claim['id']} is shown for `{claim['agent']}`; other agents: {others}."
    return said


def on_servers(verdicts: pd.DataFrame) -> str:
    """Return what the registered runs on live servers say, as a sentence.

    Parameters
    ----------
    verdicts : DataFrame
        See :func:`rrl.studies.side_by_side.judge_live`.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = [("rrl-gp", "whole run", 0.646, 15), ("fixed", "whole run", 0.338, 15)]
    >>> on_servers(pd.DataFrame(rows, columns=["contestant", "part", "ratio", "runs"]))[:64]
    ' In 15 registered runs on live servers whose load changes, the m'
    """
    whole = verdicts[verdicts["part"] == "whole run"].set_index("contestant")
    said = ", ".join(f"`{name}` {ratio:.2f}" for name, ratio in whole["ratio"].drop(OURS).items())
    return (
        f" In {whole['runs'].iloc[0]} registered runs on live servers whose load changes, the mean "
        f"latency with `{OURS}` is {whole['ratio'][OURS]:.2f} times the default's ({said}; `fixed` "
        "is one configuration, chosen from recordings before the runs). The ratios include the "
        "learning, but not the seconds in which a configuration changes. They do not tell which of "
        "two agents is better."
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
