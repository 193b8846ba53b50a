"""The page of the claims: ``claims.md``, and ``claims.json`` with the same for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

from rrl.studies.claim_table import Claim
from rrl.support.files import write_atomically

_LEAD = """# Claims

What the abstract of the paper claims, and what was measured here. A verdict is about the agent that
is named beside it, by the problems that the registration lets decide. These are the lowest and the
highest load of a recording, which nobody had looked at, and loads that change between them
(`held_out`), if they can test the claim, and otherwise the older recordings (`real`). Brackets have
95 % intervals: over the seeds of the runs for C2 to C4, and with the error of the recording for C5
to C7 and C9. For C1 they are over loads; of up to five loads, they are the range, and no interval.
Each claim has a section below, with all agents and reasons. What is known against a verdict is
under `changes` in `data/claims.yaml`. For C1: its error contains a factor that the two halves of a
recording have in common, and a single draw of configurations decides. `11_claims` counts both.
"""


def claims_page(claims: Sequence[Claim]) -> str:
    """Return the page in Markdown: a table with a line per claim, then a section for each.

    Examples
    --------
    >>> claim = Claim("C8", "runs", "it runs", "abstract", "episodes", 3.0, 3.0, 3.0, "episodes",
    ...               "2 real: a", "partly", parts=["met: runtime"], registration="9f")
    >>> page = claims_page([claim])
    >>> print(page[page.index("| C8") :])
    | C8 | runs | 3 episodes |  | **partly** |
    <BLANKLINE>
    ## C8: partly
    <BLANKLINE>
    > it runs
    >
    > abstract
    <BLANKLINE>
    Measured: episodes. On 2 real: a.
    <BLANKLINE>
    - met: runtime
    <BLANKLINE>
    Registered in `data/claims.yaml`, SHA-256 9f.
    <BLANKLINE>
    """
    rows = [
        (c.id, c.paper, c.measured, f"`{c.agent}`" if c.agent else "", f"**{c.verdict}**")
        for c in claims
    ]
    parts = [_LEAD.rstrip(), _table(("claim", "the paper", "measured", "agent", "verdict"), rows)]
    for claim in claims:
        parts += _section(claim)
    if claims:
        parts.append(f"Registered in `data/claims.yaml`, SHA-256 {claims[0].registration}.")
    return "\n\n".join(parts) + "\n"


def _section(claim: Claim) -> list[str]:
    """Return the paragraphs about one claim."""
    parts = [f"## {claim.id}: {claim.verdict}", f"> {claim.words}\n>\n> {claim.source}"]
    parts.append(f"Measured: {claim.ours}. On {claim.testbed}.")
    if claim.columns:
        head = ("agent", f"{claim.kind}, {claim.unit}", "verdict", "simulated", "verdict")
        rows = [(f"`{name}`", *astuple(column)) for name, column in claim.columns.items()]
        parts.append(_table(head, rows))
    for title, phrases in (("", claim.parts), ("Needed:", claim.needs), ("Notes:", claim.notes)):
        if phrases:
            parts += [title] if title else []
            parts.append("\n".join(f"- {phrase}" for phrase in phrases))
    return parts


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _rounded(value: Any) -> Any:
    """Keep five digits of each number, so that the file does not tell processors apart."""
    return float(f"{value:.5g}") if isinstance(value, float) else value


def write_claims(claims: Sequence[Claim], folder: str | os.PathLike[str]) -> None:
    """Write ``claims.json`` and ``claims.md``; both contain the same numbers."""
    rows = [{key: _rounded(value) for key, value in asdict(claim).items()} for claim in claims]
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_atomically(Path(folder) / "claims.json", json.dumps(rows, indent=1) + "\n")
    write_atomically(Path(folder) / "claims.md", claims_page(claims))
