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

from rrl.simulation.testbeds import TESTBEDS
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
    """Return what is gained, where it is lost, and the verdicts on the claims, in Markdown.

    Parameters
    ----------
    folder : Path
        The folder with the tables of the experiments and of the claims, and ``claims.json``.
    """
    saved = pd.read_csv(folder / "claims-utilisation.csv")
    everywhere = pd.read_csv(folder / "experiments-everywhere.csv")
    others = [agent for agent in saved["agent"].unique() if not agent.startswith("rrl")]
    rival = best_simple(saved, [agent for agent in others if agent not in (ORACLE, READER)])
    claims, judged = read_json(folder / "claims.json"), pd.read_csv(folder / "claims-columns.csv")
    live = on_servers(pd.read_csv(folder / "live-verdicts.csv"))
    verdicts = f"{counted(claims)}{other_agents(claims, judged)}{live}"
    table, lost = utilisation_table(saved, rival), losses(everywhere, rival)
    return "\n\n".join((gains(saved), table, lost, verdicts))


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
        "best simple rival was looked up after the results."
    )


def utilisation_table(saved: pd.DataFrame, rival: str) -> str:
    """Return what the agents save of the default's mean latency, with a line per utilisation."""
    head = (
        "load", f"`{OURS}`", f"`{PAPER}`, the paper's", f"`{rival}`, the best simple rival",
        "an oracle",
    )  # fmt: skip
    agents = OURS, PAPER, rival, ORACLE
    rows = [(f"{load}, % saved", *(_both(saved, load, name) for name in agents)) for load in LOADS]
    return markdown_table(head, rows)


def losses(everywhere: pd.DataFrame, rival: str) -> str:
    """Return what learning costs beside the rivals and all other agents, as sentences.

    Simulated loads do not count: our agent and the settings of its rivals were chosen on them.

    Parameters
    ----------
    everywhere : DataFrame
        The mean cost of each agent (rows) in each scenario (columns), among other measures.
    rival : str
        The rival of the table of savings.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = [("rrl-gp", 1.2, 1.5, 1.0), ("rrl", 1.2, 1.5, 2.0)]
    >>> rows += [("random", 1.3, 1.0, 9.0), ("exhaustive", 1.8, 3.0, 9.0)]
    >>> table = pd.DataFrame(rows, columns=["agent", "easy 1/s", "hard 2/s", "gpu 500/s"])
    >>> print(losses(table.assign(measure="mean_cost"), "exhaustive"))
    While they learn, `rrl` costs 1.00 times and `exhaustive` 1.73 times as much as `rrl-gp`, and
    `random`, the cheapest rival, 0.85 times (geometric means of 2 recorded loads). `rrl-gp` costs
    least at 1 of them. `rrl-gp` loses most at hard 2/s: 1.50 times the cost of `random`.
    """
    costs = everywhere[everywhere["measure"] == "mean_cost"]
    costs = costs.set_index("agent").drop(columns="measure").astype(float)
    costs = costs[[name for name in costs if name.split()[0] not in TESTBEDS]]
    ratio = costs.loc[OURS] / costs.min()
    worst = str(ratio.idxmax())
    beside = np.exp(np.log(costs / costs.loc[OURS]).mean(axis=1))
    cheapest = beside[[name for name in beside.index if not name.startswith("rrl")]].idxmin()
    return (
        f"While they learn, `{PAPER}` costs {beside[PAPER]:.2f} times and `{rival}` "
        f"{beside[rival]:.2f} times as much as `{OURS}`, and\n`{cheapest}`, the cheapest rival, "
        f"{beside[cheapest]:.2f} times (geometric means of {len(ratio)} recorded loads). `{OURS}` "
        f"costs\nleast at {(ratio <= 1).sum()} of them. `{OURS}` loses most at {worst}: "
        f"{ratio.max():.2f} times the cost of `{costs[worst].idxmin()}`."
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
        f"latency with `{OURS}`, learning included, is {whole['ratio'][OURS]:.2f} times the "
        f"default's ({said}; `fixed` is one configuration that recordings named beforehand)."
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
