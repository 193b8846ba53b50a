"""The claims table: its rows, the word of a verdict, and the files that it is written to."""

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
        Its number; what the paper says; what we set against it.
    value, low, high : float
        The measured number with its 95 % interval, in `unit`.
    unit, testbed : str
    verdict : {"reproduced", "partly", "not"}
    why : str
        The other numbers that belong to it.
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
        """The number as people read it, with its interval where it has one."""
        value, low, high = (
            f"{x:.0f}" if abs(x) >= 1000 else f"{x:.3g}" for x in (self.value, self.low, self.high)
        )
        interval = "" if self.low == self.high else f" [{low}, {high}]"
        return f"{value}{interval} {self.unit}"


def read_tables(folder: str | os.PathLike[str]) -> dict[str, pd.DataFrame]:
    """The tables that the experiments wrote, by name.

    Raises
    ------
    DataError
        If one is missing.
    """
    import pandas as pd

    paths = {name: Path(folder) / f"experiments-{name}.csv" for name in TABLES}
    for path in paths.values():
        if not path.is_file():
            raise DataError(f"{path}: not found; run notebooks/07_experiments.ipynb first")
    return {name: pd.read_csv(path) for name, path in paths.items()}


def verdict(reached: bool, measured: bool, direction: bool) -> str:
    """The word for a claim whose number was reached or not, on a measured testbed or not.

    Examples
    --------
    >>> verdict(True, True, True), verdict(True, False, True), verdict(False, True, False)
    ('reproduced', 'partly', 'not')
    """
    if reached and measured:
        return "reproduced"
    return "partly" if reached or direction else "not"


def write_claims(claims: Sequence[Claim], folder: str | os.PathLike[str]) -> None:
    """Write ``claims.json`` and ``claims.md``, the same numbers in both."""
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
