"""What a folder says of a run that was begun there, before that run is continued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rrl.operating.journal import JOURNAL, decode


def begun(folder: Path, server: str) -> dict[str, Any] | None:
    """Return the settings of the run in a folder; None if it has not begun to measure.

    The server of such a run may have a trial in service, if the run was killed. Therefore what the
    server had before is known from here only. Whether the journal is sound and belongs to the same
    command is checked when it is opened.

    Parameters
    ----------
    folder : pathlib.Path
    server : str
        How the text of what is tuned begins. What another server had says nothing about this one.
    """
    try:
        with (folder / JOURNAL).open("rb") as file:
            header, first = decode(file.readline()), decode(file.readline())
    except OSError:
        return None
    settings = header and first and header.get("settings")
    if not isinstance(settings, dict):
        return None
    known = all(isinstance(settings.get(name), dict) for name in ("default", "fixed"))
    return settings if known and str(settings.get("what")).startswith(server) else None
