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

import numpy as np

from rrl.studies.claim_table import Claim
from rrl.support.errors import DataError, Parser, UsageError, command
from rrl.support.intervals import bootstrap_interval

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
    static, savings = _table(folder, "static"), _table(folder, "savings")
    parts = [introduction(static)]
    for measure, words in MEASURES.items():
        parts += [words, measure_table(static, measure)]
    return "\n\n".join([*parts, saved(savings), verdicts(claims)])


def _table(folder: Path, name: str) -> pd.DataFrame:
    import pandas as pd

    path = folder / f"experiments-{name}.csv"
    if not path.is_file():
        raise DataError(f"{path}: not found; run notebooks/09_experiments.ipynb first")
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


def saved(savings: pd.DataFrame) -> str:
    """Return what is saved over the default at the recorded loads, as a sentence."""
    rows = savings[(savings["reference"] == "default") & (savings["kind"] == "recorded")]
    rows = rows[rows["metric"] == "mean latency (s)"]
    rows = rows[~rows["problem"].str.contains("overload")]  # its queue grows as long as one likes
    loads = rows.groupby("problem", sort=False)["reduction"].median()
    middle, low, high = bootstrap_interval(loads.to_numpy(), np.random.default_rng(0))
    least, most = loads.min(), loads.max()
    after = rows["episodes"].max()
    return (
        f"At {len(loads)} loads that were recorded on the real runtime, the configuration that "
        f"`rrl-gp` deploys after {after} episodes reduces the default's mean latency by "
        f"{middle:.0f} % [{low:.0f}, {high:.0f}]. This is the median over the loads; single loads "
        f"reach from {least:.0f} to {most:.0f} %, and an overload is not counted."
    )


def verdicts(claims: Sequence[Claim]) -> str:
    """Return how many of the paper's claims hold here, and what did not reproduce.

    Examples
    --------
    >>> rows = [("C3", "not", 1.0), ("C4", "partly", 1.8), ("C5", "reproduced", 95.0)]
    >>> print(verdicts([Claim(n, n, "", "", "", x, x, x, "times", "", v) for n, v, x in rows]))
    Of the paper's 3 claims, 1 is reproduced here (C5), 1 partly (C4) and 1 not (C3).
    Not reproduced: "C3". The paper's "C4": 1.8 times here.
    >>> rows = [("C3", "reproduced", 1.0), ("C4", "not", 1.2)]
    >>> print(verdicts([Claim(n, n, "", "", "", x, x, x, "times", "", v) for n, v, x in rows]))
    Of the paper's 2 claims, 1 is reproduced here (C3), 0 partly (none) and 1 not (C4).
    Not reproduced: "C4" (1.2 times here).
    """
    named = {
        kind: [claim.id for claim in claims if claim.verdict == kind]
        for kind in ("reproduced", "partly", "not")
    }
    done, partly, failed = ((len(ids), ", ".join(ids) or "none") for ids in named.values())
    (speed,) = [claim for claim in claims if claim.id == "C4"]
    here = f"{speed.measured} here"
    missed = [claim for claim in claims if claim.verdict == "not"]
    quoted = [f'"{c.paper}"' + (f" ({here})" if c is speed else "") for c in missed]
    other = "" if speed in missed else f' The paper\'s "{speed.paper}": {here}.'
    return (
        f"Of the paper's {len(claims)} claims, {done[0]} {'is' if done[0] == 1 else 'are'} "
        f"reproduced here ({done[1]}), {partly[0]} partly ({partly[1]}) and {failed[0]} not "
        f"({failed[1]}){_untested(claims)}.\n{_by_agent(claims)}"
        f"Not reproduced: {'; '.join(quoted) or 'none'}.{other}"
    )


def _by_agent(claims: Sequence[Claim]) -> str:
    """Say which claims `rrl-gp`, the paper's own agents and the best rivals reproduce."""
    groups: dict[str, Callable[[str], bool]] = {
        "`rrl-gp` reproduces": lambda name: name == OURS[0],
        "the paper's own agents reproduce": lambda name: name in OURS[1:],
        "the best rivals reproduce": lambda name: not name.startswith("rrl"),
    }
    words = []
    for who, chosen in groups.items():
        found = [
            claim.id
            for claim in claims
            if any(
                chosen(n) and dict(c)["verdict"] == "reproduced" for n, c in claim.columns.items()
            )
        ]
        words.append(f"{who} {', '.join(found) or 'none'}")
    text = f"{'; '.join(words)}.\n"
    return text if any(claim.columns for claim in claims) else ""


def _untested(claims: Sequence[Claim]) -> str:
    ids = [claim.id for claim in claims if claim.verdict == "cannot be tested"]
    return f"; {len(ids)} cannot be tested ({', '.join(ids)})" if ids else ""


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
