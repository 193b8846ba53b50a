"""Show how far a run of make is: ``python -m rrl.publishing.progress NAME ... -- COMMAND``.

The names are those of the steps to come: notebooks, the check of the stored sweeps, the live run.
Each keeps a file in ``build/progress`` while it runs (:mod:`rrl.support.progress`). The time left
follows from the times in the manifest, and from the times of this run so far. A terminal gets one
bar, which is redrawn in place. Otherwise, each line of the command that ends a step gets the time
left, and there is a line at least each minute.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import IO, Any

from rrl.publishing.manifest import NAME, load
from rrl.support.errors import INTERRUPTED, Parser, UsageError, command
from rrl.support.progress import FOLDER

BUILD = Path("build/progress")
EXPECTED = {"sweeps": 30.0, "00_quickstart-live": 90.0}
"""Seconds of the steps that the manifest does not have, on two cores."""
UNKNOWN = 20.0  # seconds of a new notebook
EACH_S, QUIET_S = 0.5, 60.0  # the bar is redrawn, and a line is printed if there was none
_DONE = re.compile(r"(?:\S.*/)?(\S+)\.ipynb [\d.]+ s")


class Steps:
    """The steps of a run, and the time that they still need.

    Parameters
    ----------
    expected : mapping of str to float
        Seconds by step.
    jobs : int
        So many notebooks run at once. The other steps have the machine for themselves.
    folder : Path
        It has a file for each step that runs now.

    Examples
    --------
    >>> steps = Steps({"sweeps": 10.0, "00_a": 30.0, "01_b": 20.0}, 2, Path("no-such-folder"))
    >>> steps.left(now=0.0)
    40.0
    """

    def __init__(self, expected: Mapping[str, float], jobs: int, folder: Path) -> None:
        self.expected, self.jobs, self.folder = dict(expected), jobs, folder
        self.started: dict[str, float] = {}
        self.took: dict[str, float] = {}

    def look(self, now: float) -> None:
        """See which steps run now (s on a clock); those that ran before are done."""
        names = {path.name for path in self.folder.glob("[!.]*")} & set(self.expected)
        for name in names - set(self.started):
            self.started[name] = now
        for name in set(self.started) - names - set(self.took):
            self.took[name] = now - self.started[name]

    @property
    def running(self) -> list[str]:
        """The names of the steps that run now."""
        return sorted(set(self.started) - set(self.took))

    def left(self, now: float) -> float:
        """Return the seconds until all steps are done."""
        waiting = {name: self._left(name, now) for name in self.expected if name not in self.took}
        alone = sum(waiting.pop(name, 0.0) for name in EXPECTED)
        return alone + max([sum(waiting.values()) / self.jobs, *waiting.values()])

    def _left(self, name: str, now: float) -> float:
        known = sum(self.expected[done] for done in self.took)
        slower = sum(self.took.values()) / known if known else 1.0
        expected = self.expected[name] * slower
        if name not in self.started:
            return expected
        by_clock = max(expected - (now - self.started[name]), 0.05 * expected)
        return max(by_clock, self._of_sweep(name))

    def _of_sweep(self, name: str) -> float:
        done, total, seconds = self._pieces(name)[:3] or (1, 1, 0.0)
        return float(seconds) / int(done) * (int(total) - int(done))

    def _pieces(self, name: str) -> list[Any]:
        try:
            return (self.folder / name).read_text().split()
        except OSError:
            return []  # it has just ended

    def describe(self) -> str:
        """Return in a few words what is done and what runs."""
        words = []
        for name in self.running:
            pieces = self._pieces(name)
            of = f" ({pieces[0]} of {pieces[1]} {pieces[3]}s)" if pieces else ""
            words.append(name + of)
        return f"{len(self.took)} of {len(self.expected)} done, now {', '.join(words) or '...'}"


def clock(seconds: float) -> str:
    """Return a time in minutes and seconds.

    Examples
    --------
    >>> clock(125.4)
    '2:05'
    """
    return "{}:{:02}".format(*divmod(round(seconds), 60))


def estimates(names: Sequence[str]) -> dict[str, float]:
    """Return the expected seconds of each step."""
    path = Path(NAME)
    known = load(path.read_bytes() if path.is_file() else None, NAME)["notebooks"]
    seconds = {name: float(entry.get("seconds", UNKNOWN)) for name, entry in known.items()}
    return {name: (seconds | EXPECTED).get(name, UNKNOWN) for name in names}


def follow(run: subprocess.Popen[str], steps: Steps) -> None:
    """Show the lines of a command and the progress of its steps, until it ends."""
    from tqdm import tqdm

    lines: Queue[tuple[str, IO[str]]] = Queue()
    readers = [
        Thread(target=_read, args=(source, target, lines), daemon=True)
        for source, target in ((run.stdout, sys.stdout), (run.stderr, sys.stderr))
    ]
    for reader in readers:
        reader.start()
    shown = sys.stderr.isatty()
    start = said = time.monotonic()
    form = "{desc} |{bar}| {percentage:3.0f} %{postfix}"
    with tqdm(total=1.0, bar_format=form, disable=not shown, leave=False) as bar:
        while any(reader.is_alive() for reader in readers) or not lines.empty():
            steps.look(now := time.monotonic())
            left = steps.left(now)
            for line, target in _waiting(lines):
                done = _DONE.fullmatch(line) and not shown
                bar.write(f"{line} ({clock(left)} left)" if done else line, target)
                said = now
            if not shown and now - said > QUIET_S:
                bar.write(f"{steps.describe()}; {clock(left)} left")
                said = now
            bar.n = (now - start) / max(now - start + left, 1e-9)
            bar.set_description_str(steps.describe(), refresh=False)
            bar.set_postfix_str(f"{clock(left)} left")
            sys.stdout.flush()


def _read(source: IO[str], target: IO[str], lines: Queue[tuple[str, IO[str]]]) -> None:
    for line in source:
        lines.put((line.rstrip("\n"), target))


def _waiting(lines: Queue[tuple[str, IO[str]]]) -> Iterator[tuple[str, IO[str]]]:
    """Wait a moment for a line, then yield all that are there."""
    try:
        yield lines.get(timeout=EACH_S)
        while True:
            yield lines.get_nowait()
    except Empty:
        return


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and show its progress; return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if "--" not in argv:
        raise UsageError("give the command after --")
    parser = Parser(prog="python -m rrl.publishing.progress", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="steps that the command will run")
    parser.add_argument("--jobs", type=int, default=1, help="notebooks that run at once")
    options = parser.parse_args(argv[: argv.index("--")])
    BUILD.mkdir(parents=True, exist_ok=True)
    for left_behind in BUILD.iterdir():
        left_behind.unlink()
    steps = Steps(estimates(options.names), options.jobs, BUILD)
    start = time.monotonic()
    environment = {**os.environ, FOLDER: str(BUILD.absolute())}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(argv[argv.index("--") + 1 :], env=environment, **pipes) as run:
        signal.signal(signal.SIGTERM, lambda *_: run.terminate())
        signal.signal(signal.SIGINT, lambda *_: None)  # a terminal interrupts the command, too
        follow(run, steps)
    if run.returncode < 0:
        return INTERRUPTED
    if run.returncode == 0:
        print(f"all done in {clock(time.monotonic() - start)} min")
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())
