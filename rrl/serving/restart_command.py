"""The operator's own command that restarts a server, and the batching files that it names.

A running server refers to its batching file for as long as it lives, and whoever restarts it later
reads the file again. Therefore a file has its own content for ever, and it lies in a folder that
stays. That folder has nothing else, because other users can read it. Text of the command may be
secret, so only :func:`describe` may end in a file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from rrl.core.knob import Configuration
from rrl.serving.process_knobs import ENV, FLAG, environment_of, is_process_knob
from rrl.serving.run_to_end import run_to_end
from rrl.serving.settings import KNOBS, flags
from rrl.serving.shell_text import quoted
from rrl.support.errors import ServerError, UsageError
from rrl.support.files import write_atomically
from rrl.tuning.presets import CPUS

FLAGS, BATCHING, VARIABLES = "flags", "batching_file", "env"
LOG = "restart.log"
"""The file in the folder with the output of the last command. Only its owner can read it."""

FILES = "batching"
"""The folder in the folder with the batching files."""

_FILE = "batching-{}.txt"
_PLACEHOLDER = re.compile(rf"{{(\w+|{FLAG}--[\w-]+|{ENV}\w+)}}")


@cache
def describe(command: str) -> str:
    """Return what may be stored about a command: its program and a checksum of the other words.

    The checksum shows that a command changed. It is slow to compute and short, so that a secret
    cannot be found by trying many.

    Examples
    --------
    >>> describe("/usr/bin/ssh host restart --token=secret {inter_op}")
    'ssh (checksum f8a75335)'
    """
    program, *others = split(command)
    text = shlex.join(others).encode()
    digest = hashlib.pbkdf2_hmac("sha256", text, b"rrl restart command", 200_000)
    return f"{Path(program).name} (checksum {digest.hex()[:8]})"


def split(command: str) -> list[str]:
    """Split a command into words as a shell does.

    Raises
    ------
    UsageError
        If there is no word, or a quotation has no end.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"the restart command cannot be split into words: {error}") from None
    if not words:
        raise UsageError("the restart command is empty: give a program and its arguments")
    return words


class RestartCommand:
    """A command that restarts a server with a configuration.

    Parameters
    ----------
    text : str
        The command. See :class:`rrl.serving.restarted.RestartedServer` for its placeholders.
    knobs : sequence of str
        Names of the knobs that each configuration has.
    folder : path
        Folder of the log, and of the folder `FILES`. It is made when it is needed.
    fixed : configuration, optional
        Settings that hold for every configuration.

    Raises
    ------
    UsageError
        If the command has a placeholder that is not a knob, or leaves out a knob.

    Examples
    --------
    >>> command = RestartCommand("env {env} serve --all {flags}", ["flag:--x", "env:A"], ".")
    >>> command.words({"flag:--x": 1, "env:A": 2})
    ['env', 'A=2', 'serve', '--all', '--x=1']
    """

    def __init__(
        self,
        text: str,
        knobs: Sequence[str],
        folder: str | os.PathLike[str],
        fixed: Configuration | None = None,
    ) -> None:
        self._words, self.name = split(text), describe(text)
        self._knobs, self._fixed = list(knobs), dict(fixed or {})
        self.folder = Path(folder).resolve()
        self._files = self.folder / FILES
        self._placeholders = set(_PLACEHOLDER.findall(text))
        self._check()

    def _check(self) -> None:
        found, names = self._placeholders, [*self._knobs, *self._fixed]
        known = {*names, FLAGS, BATCHING, VARIABLES}
        if unknown := sorted(found - known):
            raise UsageError(
                f"the restart command has {{{unknown[0]}}}, which is not a knob; "
                f"it may have: {', '.join(sorted(known))}"
            )
        process = [name for name in self._fixed if is_process_knob(name)]
        for name in (*self._knobs, *process):
            if name not in found and (every := _all_of(name)) not in found:
                more = f", or {{{every}}} for all" if every else ""
                raise UsageError(
                    f"the restart command leaves out {{{name}}}; without it that knob has no "
                    f"effect: add it{more}"
                )
        strange = [name for name in names if name not in KNOBS and not is_process_knob(name)]
        if self.sets_all and strange:
            raise UsageError(
                f"{strange[0]!r} is not a knob of tensorflow_model_server, so {{flags}} and "
                f"{{batching_file}} cannot be made; its knobs: {', '.join(KNOBS)}"
            )

    @property
    def sets_all(self) -> bool:
        """Whether it gives the server all of its settings, so that it loses any other one."""
        return bool(self._placeholders & {FLAGS, BATCHING})

    def words(self, configuration: Configuration) -> list[str]:
        """Return the command for a configuration in words, and write its batching file.

        Raises
        ------
        UsageError
            If the configuration leaves out a knob.
        """
        if missing := [name for name in self._knobs if name not in configuration]:
            raise UsageError(f"{dict(configuration)}: give a value for the knob {missing[0]!r}")
        settings = {**self._fixed, **configuration}
        values = {name: str(value) for name, value in settings.items()}
        own: list[str] = []
        if self.sets_all:
            file, text = self._file(configuration)
            own, _ = flags(settings, file)
            values[BATCHING] = str(file)
            if text or BATCHING in self._placeholders:
                self._write(file, text)
        lists = {
            FLAGS: own,
            VARIABLES: [f"{n}={value}" for n, value in environment_of(settings).items()],
        }
        words = []
        for word in self._words:
            if word[1:-1] in lists and word == f"{{{word[1:-1]}}}":
                words += lists[word[1:-1]]
            else:
                words.append(_filled(word, values, lists))
        return words

    def _file(self, configuration: Configuration) -> tuple[Path, str]:
        """Return the path and the content of a configuration's batching file."""
        text = flags({**self._fixed, **configuration}, Path())[1]
        return self._files / _FILE.format(hashlib.sha256(text.encode()).hexdigest()[:12]), text

    def _write(self, file: Path, text: str) -> None:
        """Write a file that other users can read, in a folder that is open to them."""
        make_folder(self.folder)
        self._files.mkdir(exist_ok=True)
        with suppress(PermissionError):  # someone else's folder
            self._files.chmod(0o755)  # whatever the umask is
        if not file.exists() or file.read_text() != text:
            write_atomically(file, text)
        file.chmod(0o644)

    def run(self, configuration: Configuration, timeout_s: float) -> None:
        """Run the command for a configuration and wait until it ends.

        Raises
        ------
        ServerError
            If the command fails or takes too long.
        UsageError
            If the command cannot be started.
        """
        words = self.words(configuration)
        make_folder(self.folder)
        try:
            code = run_to_end(words, timeout_s, self.folder / LOG)
        except OSError as error:
            raise UsageError(f"restart command {self.name}: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise ServerError(
                f"restart command {self.name}: still running after {timeout_s:.0f} s; "
                "let it start the server in the background"
            ) from None
        if code:
            raise ServerError(
                f"restart command {self.name}: status {code}; its output is in {self.folder / LOG}"
            )

    def last_line(self) -> str:
        """Return the last line of the command's output; it may be secret."""
        try:
            lines = (self.folder / LOG).read_text(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line for line in reversed(lines) if line.strip()), "")

    def needs_file(self, configuration: Configuration) -> bool:
        """Return whether the server reads a batching file with a configuration."""
        return self.sets_all and bool(self._file(configuration)[1])

    def first(self, closed: Callable[[Path], bool]) -> Path | None:
        """Return the outermost folder around the batching files that is closed, if any is."""
        return next(filter(closed, (*reversed(self._files.parents), self._files)), None)

    def unreadable(self, configuration: Configuration) -> str:
        """Return a hint if other users cannot reach a configuration's batching file, or ""."""
        if not self.needs_file(configuration):
            return ""
        closed = self.first(lambda folder: not folder.stat().st_mode & 0o001)
        return (
            f"; other users cannot enter {closed}, so if the server is one of them, it cannot read "
            "its batching file: choose another folder"
            if closed
            else ""
        )

    def tidy(self, configuration: Configuration) -> None:
        """Remove all batching files but the one of a configuration."""
        needs = {self._file(configuration)[0]} if self.sets_all else set()
        for pattern in (_FILE.format("*"), f".{_FILE.format('*')}.*"):
            for file in set(self._files.glob(pattern)) - needs:
                file.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder, if it is missing, so that other users can enter it.

    One that is there keeps its mode.
    """
    folder = folder.resolve()
    for path in (*reversed(folder.parents), folder):
        if not path.exists():
            path.mkdir(exist_ok=True)
            path.chmod(0o755)  # whatever the umask is


def _filled(word: str, values: Mapping[str, str], lists: Mapping[str, Sequence[str]]) -> str:
    """Replace the placeholders in a word; if it has spaces, it is a text for a shell."""

    def fill(found: re.Match[str]) -> str:
        if (name := found[1]) in lists:
            return shlex.join(lists[name])
        if name not in values or len(word.split()) < 2:
            return values.get(name, found[0])
        return quoted(values[name], word[: found.start()])

    return _PLACEHOLDER.sub(fill, word)


def _all_of(name: str) -> str | None:
    """Return the placeholder that stands for a knob among others; None if there is none."""
    if name == CPUS:
        return None
    return VARIABLES if name.startswith(ENV) else FLAGS
