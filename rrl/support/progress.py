"""Progress of long work: a bar on a terminal, or a file that another process reads.

An unattended run is told a folder by the environment. It keeps a file there while it runs, which
holds the last line of its bar. :mod:`rrl.publishing.progress` reads these files.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from rrl.support.files import write_atomically

FOLDER = "RRL_PROGRESS_FOLDER"
"""Environment variable: the folder with a file for each unattended run."""
FILE = "RRL_PROGRESS_FILE"
"""Environment variable: the file of this run; a notebook's kernel inherits it."""

Item = TypeVar("Item")


@contextmanager
def running(name: str) -> Iterator[None]:
    """Keep a file `name` in the folder of the progress for the block, if there is one."""
    if not (folder := os.environ.get(FOLDER)):
        yield
        return
    path = Path(folder) / name
    path.write_text("")
    os.environ[FILE] = str(path)
    try:
        yield
    finally:
        del os.environ[FILE]
        path.unlink(missing_ok=True)


def bar(
    items: Iterable[Item], label: str, total: int, unit: str, shown: bool = True
) -> Iterator[Item]:
    """Yield the items, and show on stderr how many of `total` are done, with the time left.

    In an unattended run, only the last line is shown. How many are done is told to the process
    that waits for the run.

    Examples
    --------
    >>> list(bar(iter("abc"), "letters", 3, "letter", shown=False))
    ['a', 'b', 'c']
    """
    if not (told := os.environ.get(FILE)):
        from tqdm import tqdm

        yield from tqdm(items, label, total, unit=unit, disable=not shown)
        return
    start = time.monotonic()
    for number, item in enumerate(items, 1):
        write_atomically(Path(told), f"{number} {total} {time.monotonic() - start:.1f} {unit}")
        yield item
    if shown:
        print(f"{label}: {total} {unit}s, {time.monotonic() - start:.0f} s", file=sys.stderr)
