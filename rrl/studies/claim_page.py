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

This page compares the claims in the abstract of the paper with our measurements. Each verdict is
about the agent beside it. The registration says which problems decide a verdict. The first choice
is `held_out`: the lowest and the highest load of a recording that nobody had looked at before, and
loads that change between these two. If these loads cannot test the claim, the older recordings
(`real`) decide. Brackets contain 95 % intervals. For C2 to C4, the intervals are over the seeds of
the runs. For C5 to C7 and C9, they contain the error of the recording. For C1, they are over the
loads; with up to five loads, the bracket is the range and no interval. A section below shows each
claim with all agents and reasons. Known objections to a verdict are under `changes` in
`data/claims.yaml`. There are two objections to C1: its error contains a factor that both halves of
a recording share, and a single draw of configurations decides. `11_claims` measures the influence
of both.
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
