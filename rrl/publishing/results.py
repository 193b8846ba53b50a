"""The results on the front page: ``python -m rrl.publishing.results`` writes them into README.md.

They come from the tables and the claims in ``figures/``, and stand between two marks. So the page
cannot say anything else than the notebooks have computed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rrl.studies.claim_page import Claim, counted
from rrl.studies.claim_tables import LOADS
from rrl.studies.claims import SHOWN, USE
from rrl.support.errors import DataError, Parser, UsageError, command

if TYPE_CHECKING:
    import pandas as pd

PAGE = Path("README.md")
BEGIN, END = "<!-- results: written by rrl.publishing.results -->", "<!-- end of results -->"
DEFAULT = "tf-serving-default"
OURS = ("rrl-gp", "rrl", "rrl-adaptive")
MEASURES = {
    "mean_cost": "Mean over all 300 episodes, while the agent learns:",
    "deployed": "The configuration that is deployed at the end:",
}
NO_BREAK = "\N{NO-BREAK SPACE}"  # keeps an interval on one line


def results(folder: Path) -> str:
    """Return the tables of results with their sentences, in Markdown.

    Parameters
    ----------
    folder : Path
        The folder with the tables of the experiments and ``claims.json``.

    Raises
    ------
    DataError
        If a file is missing.
    """
    path = folder / "claims.json"
    if not path.is_file():
        raise DataError(f"{path}: not found; run notebooks/11_claims.ipynb first")
    claims = [Claim(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    static = _table(folder, "experiments-static", "09_experiments")
    saved = _table(folder, "claims-utilisation", "11_claims")
    parts = [introduction(static)]
    for measure, words in MEASURES.items():
        parts += [words, measure_table(static, measure)]
    return "\n\n".join([*parts, by_load(saved), verdicts(claims)])


def _table(folder: Path, name: str, notebook: str) -> pd.DataFrame:
    import pandas as pd

    path = folder / f"{name}.csv"
    if not path.is_file():
        raise DataError(f"{path}: not found; run notebooks/{notebook}.ipynb first")
    return pd.read_csv(path)


def introduction(static: pd.DataFrame) -> str:
    """Return what the numbers are, and who the other agents are, as sentences."""
    others = sorted(agent for agent in static["agent"].unique() if _is_other(agent))
    return (
        "Each number is a mean latency divided by that of the best configuration, so 1 is the "
        f"best possible. The numbers are medians over {static['seeds'].min()} seeds, with 95 % "
        "intervals where the seeds differ. The intervals do not contain the error of a recording, "
        "because every seed replays the same episodes. `rrl` and `rrl-adaptive` are the paper's "
        "agents, and `rrl-gp` is our extension. The last column shows the best of "
        f"{len(others)} other agents in that row: {', '.join(others)}. The last row shows the "
        "highest number of each agent; its last cell shows the other agent whose highest number "
        "is lowest. Each recording is replayed at its highest load at which the best "
        "configuration of one half of the recording is also good by the other half."
    )


def _is_other(agent: str) -> bool:
    return not agent.startswith("rrl") and agent != DEFAULT


def measure_table(static: pd.DataFrame, measure: str) -> str:
    """Return a table of one measure with a line per problem; the lowest median of a line is bold.

    The best other agent is the one with the lowest median in that line. The default and the paper's
    variants of RRL are not among the others; the batching guide's heuristic is. Numbers are rounded
    before they are compared. The last row shows the highest median of each agent. Its last cell
    shows the other agent whose highest median is lowest.
    """
    head = ("", "server's default", *(f"`{agent}`" for agent in OURS), "best other agent")
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    worst = static.groupby("agent")[measure].max()
    best = worst[[_is_other(agent) for agent in worst.index]]
    last = [f"{worst[agent]:.2f}" for agent in (DEFAULT, *OURS)]
    for (problem, kind), rows in static.groupby(["problem", "kind"], sort=False):
        by_agent = rows.set_index("agent")
        others = by_agent[[_is_other(agent) for agent in by_agent.index]]
        rival = str(others[measure].idxmin())
        shown = [DEFAULT, *OURS, rival]
        lowest = by_agent.loc[shown, measure].round(2).min()
        cells = [_cell(by_agent.loc[agent], measure, lowest) for agent in shown]
        cells[-1] += f" {rival}"
        lines.append(f"| {problem} ({kind}) | " + " | ".join(cells) + " |")
    last.append(f"{best.min():.2f} {best.idxmin()}")
    lines.append("| highest of these | " + " | ".join(last) + " |")
    return "\n".join(lines)


def _cell(row: pd.Series, measure: str, lowest: float) -> str:
    value, low, high = (f"{row[measure + end]:.2f}" for end in ("", "_low", "_high"))
    text = f"**{value}**" if round(row[measure], 2) == lowest else value
    return text if low == high else f"{text} [{low},{NO_BREAK}{high}]"


def by_load(saved: pd.DataFrame) -> str:
    """Return what is saved over the default by utilisation, as a sentence.

    Parameters
    ----------
    saved : DataFrame
        See :func:`rrl.studies.claim_page.by_utilisation`.
    """
    own = saved[saved["agent"] == OURS[0]]
    words = []
    for load in LOADS:
        rows = own[own["load"] == load].sort_values("half")
        words.append(
            f"{' and '.join(f'{value:.0f}' for value in rows['saved'])} % at a {load} load"
        )
    return (
        f"Of the default's mean latency, the configuration that `{OURS[0]}` deploys after 100 "
        f"episodes saves {', '.join(words)}. These are geometric means over "
        f"{own['recordings'].max()} recordings of the real runtime, one for each half of the "
        "recordings that is replayed; the other half judges. An overload is not counted."
    )


def verdicts(claims: Sequence[Claim]) -> str:
    """Return how many of the paper's claims are shown here, and for which agents.

    Examples
    --------
    >>> rest = ("a", "b", "p", "real")
    >>> rows = [("C3", "shown"), ("C4", "not shown"), ("C5", "not shown")]
    >>> print(verdicts([Claim(n, n, *rest, w, "", "", "", [], [], [], []) for n, w in rows]))
    Of the paper's 3 claims, 1 is shown (C3), 2 are not shown (C4, C5).
    The paper's "C4": none here.
    """
    (speed,) = [claim for claim in claims if claim.id == "C4"]
    here = " and ".join(speed.measured) or "none"
    return (
        f"Of the paper's {sum(c.verdict != USE for c in claims)} claims, {counted(claims)}.\n"
        f'{_by_agent(claims)}The paper\'s "{speed.paper}": {here} here.'
    )


def _by_agent(claims: Sequence[Claim]) -> str:
    """Say which claims `rrl-gp`, the paper's own agents and the best rivals show."""
    groups: dict[str, Callable[[str], bool]] = {
        "`rrl-gp` shows": lambda name: name == OURS[0],
        "the paper's own agents show": lambda name: name in OURS[1:],
        "the best rivals show": lambda name: not name.startswith("rrl"),
    }
    words = []
    for who, chosen in groups.items():
        ids = [c.id for c in claims if any(chosen(n) and v == SHOWN for n, v in c.columns.items())]
        words.append(f"{who} {', '.join(ids) or 'none'}")
    return f"{'; '.join(words)}.\n" if any(claim.columns for claim in claims) else ""


def insert(page: str, text: str) -> str:
    """Put the text between the two marks of a page.

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


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the results into the README of the working folder, and print its path."""
    from rrl.support.files import write_atomically

    parser = Parser(
        prog="python -m rrl.publishing.results", description="Write the results into README.md."
    )
    parser.parse_args(argv)
    if not PAGE.is_file():
        raise UsageError(f"no {PAGE} here; run it in the checkout")
    page = PAGE.read_text(encoding="utf-8")
    write_atomically(PAGE, insert(page, results(Path("figures"))))
    print(PAGE)


if __name__ == "__main__":
    sys.exit(main())
