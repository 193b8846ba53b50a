"""The rows of a recording: what they contain, and how they are appended to a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rrl.support.errors import DataError
from rrl.support.files import append, write_atomically
from rrl.tuning.episode import Episode


def values_of(episode: Episode) -> dict[str, Any]:
    """Return the columns of a row that describe the result of an episode."""
    micros = np.rint(episode.latency * 1e6).astype(np.int64)
    return {
        "valid": int(episode.valid),
        "slip_share": f"{episode.info.get('slip_share', 0.0):.4f}",
        "mean_s": f"{micros.mean() / 1e6:.6f}",
        "p99_s": f"{np.quantile(micros, 0.99) / 1e6:.6f}",
        "failed": int((~episode.ok).sum()),
        "latencies_us": " ".join(map(str, micros)),
        "statuses": "" if episode.ok.all() else " ".join(map(str, episode.status)),
    }


def append_row(path: Path, row: Mapping[str, str]) -> None:
    """Add a row to a CSV file; when this returns, the row is on disk."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row), lineterminator="\n")
    if not path.exists() or not path.stat().st_size:
        writer.writeheader()
    writer.writerow(row)
    append(path, text.getvalue())


def read_appended(path: Path, columns: list[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV file that rows are appended to; remove a cut-off last line.

    Raises
    ------
    DataError
        If the file has other columns, or cannot be read.
    """
    import pandas as pd

    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        write_atomically(path, whole.decode())
    if not whole:
        return []
    # Not the csv module: its fields have at most 128 KiB, which are 20,000 latencies.
    try:
        table = pd.read_csv(io.BytesIO(whole), dtype=str, keep_default_na=False)
    except ValueError as error:
        why = str(error).strip()
        raise DataError(f"{path}: {why}; restore the file, or choose another folder") from None
    if list(table) != columns:
        raise DataError(f"{path}: its columns are not those of the plan; choose another folder")
    return table.to_dict("records")
