"""The claims table: its rows, its verdicts, and the files that contain it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rrl.support.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("static", "duels", "speed", "dynamic", "savings")


@dataclass(frozen=True)
class Claim:
    """A row of the claims table.

    Parameters
    ----------
    id, paper, ours : str
        `id` is the number of the claim. `paper` is what the paper says. `ours` is what we measure
        to compare with it.
    value, low, high : float
        These are the measured number and the limits of its 95 % interval, in `unit`.
    unit, testbed : str
    verdict : {"reproduced", "partly", "not"}
    why : str
        These are the other numbers that belong to the claim.
    """

    id: str
    paper: str
    ours: str
    value: float
    low: float
    high: float
    unit: str
    testbed: str
    verdict: str
    why: str

    @property
    def measured(self) -> str:
        """The number as text, with its interval if it has one and with its unit."""
        value, low, high = (
            f"{x:.0f}" if abs(x) >= 1000 else f"{x:.3g}" for x in (self.value, self.low, self.high)
        )
        interval = "" if self.low == self.high else f" [{low}, {high}]"
        return f"{value}{interval} {self.unit}"


def read_tables(folder: str | os.PathLike[str]) -> dict[str, pd.DataFrame]:
    """Return the tables that the experiments wrote, by name.

    Raises
    ------
    DataError
        If a table is missing.
    """
    import pandas as pd

    paths = {name: Path(folder) / f"experiments-{name}.csv" for name in TABLES}
    for path in paths.values():
        if not path.is_file():
            raise DataError(f"{path}: not found; run notebooks/09_experiments.ipynb first")
    return {name: pd.read_csv(path) for name, path in paths.items()}


def verdict(reached: bool, measured: bool, direction: bool) -> str:
    """Return the verdict on a claim, given whether its number was reached and on what testbed.

    Examples
    --------
    >>> verdict(True, True, True), verdict(True, False, True), verdict(False, True, False)
    ('reproduced', 'partly', 'not')
    """
    if reached and measured:
        return "reproduced"
    return "partly" if reached or direction else "not"


def write_claims(claims: Sequence[Claim], folder: str | os.PathLike[str]) -> None:
    """Write ``claims.json`` and ``claims.md``; both contain the same numbers."""
    from rrl.support.files import write_atomically

    rows = [
        {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in asdict(c).items()}
        for c in claims
    ]
    head = "| claim | the paper | ours | measured | testbed | verdict | why |"
    lines = [head, "| --- " * 7 + "|"]
    for c in claims:
        cells = (c.id, c.paper, c.ours, c.measured, c.testbed, f"**{c.verdict}**", c.why)
        lines.append("| " + " | ".join(cells) + " |")
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_atomically(Path(folder) / "claims.json", json.dumps(rows, indent=1) + "\n")
    write_atomically(Path(folder) / "claims.md", "\n".join(lines) + "\n")
