"""What a run shows: on a terminal of 80 columns, in a file, and as a figure."""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from test_operate import SERVER, contestants, job

from rrl.operating.operate import operate
from rrl.operating.report import plot_journal
from rrl.operating.screen import Screen


class Terminal:
    """A pseudo-terminal, and what was written to it."""

    def __init__(self, columns=80):
        self._ours, self.file = os.openpty()
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(self.file, termios.TIOCSWINSZ, size)

    def read(self):
        os.close(self.file)
        data = b""
        with suppress(OSError):  # how a terminal says that its other end is closed
            while chunk := os.read(self._ours, 65536):
                data += chunk
        os.close(self._ours)
        return data.decode()


def visible(text):
    return re.sub(r"\x1b\[K", "", text)


def shown_by_a_run(file, folder):
    """Run six episodes and two rounds that show their progress in a file."""
    with Screen(file=file) as screen:
        operate(
            job(episodes=6, rounds=2), SERVER, contestants, folder, screen, tick=screen.progress
        )


@pytest.mark.parametrize("columns", [80, 30])
def test_a_terminal_has_one_line_of_progress_that_is_redrawn(columns, tmp_path):
    terminal = Terminal(columns)
    with open(terminal.file, "w", closefd=False) as file:
        shown_by_a_run(file, tmp_path)
    text = terminal.read()
    drawn = [part for part in visible(text).split("\r") if part.strip()]
    assert [part.split(" ")[0] for part in drawn[:6]] == [f"{n}/6" for n in range(1, 7)]
    assert all(len(part) < columns and "\n" not in part for part in drawn)
    if columns == 80:
        assert all("ms" in part and "left" in part for part in drawn[:6])
    assert text.endswith("\r\x1b[K")  # the line is gone before what follows


def test_a_file_gets_plain_lines(tmp_path):
    shown_by_a_run(file := io.StringIO(), tmp_path)
    assert "\r" not in file.getvalue()
    assert "\x1b" not in file.getvalue()
    lines = file.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines[:6]] == [f"episode {n}/6" for n in range(1, 7)]
    assert all("best so far" in line for line in lines[:6])


READER = """
import sys
from rrl.operating.screen import Screen
with Screen() as screen:
    screen("one")
    sys.stdin.read()  # until the reader of the progress has gone
    screen("two")
    screen("three")
print("done", file=sys.stdout)
"""


def test_a_reader_of_the_progress_that_has_seen_enough_does_not_end_the_run():
    """As with `2>&1 | head -1`."""
    reader, writer = os.pipe()
    command = [sys.executable, "-c", READER]
    process = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=writer)
    os.close(writer)
    assert os.read(reader, 3) == b"one"
    os.close(reader)
    out, _ = process.communicate()
    assert (process.returncode, out) == (0, b"done\n")


def test_lasting_lines_of_a_long_run_have_the_time_of_day():
    file = io.StringIO()
    with Screen(stamped=True, file=file) as screen:
        screen("one")
        screen.progress("short", "two")
    assert re.fullmatch(r"\d\d:\d\d:\d\d one\n\d\d:\d\d:\d\d two\n", file.getvalue())


@pytest.mark.parametrize("columns", [80, 0])  # 0: the terminal does not know
def test_a_lasting_line_does_not_mix_with_the_progress(columns):
    terminal = Terminal(columns)
    with open(terminal.file, "w", closefd=False) as file, Screen(file=file) as screen:
        screen.progress("1/9 | " + "x" * 200, "")
        screen("it is tried again")
        screen.progress("2/9", "")
    first, rest = terminal.read().split("\r\x1b[Kit is tried again\r\n")
    assert first == "\r" + ("1/9 | " + "x" * 200)[:76] + "...\x1b[K"
    assert rest == "\r2/9\x1b[K\r\x1b[K"


def test_quiet_is_quiet_on_a_terminal_too():
    terminal = Terminal()
    with open(terminal.file, "w", closefd=False) as file, Screen(True, file=file) as screen:
        screen.progress("1/9", "")
        screen("it is tried again")
    assert terminal.read() == ""


# --- the figure -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Those of a run, in which some trials were stopped and some crashed."""
    found = operate(job(), SERVER, contestants, tmp_path_factory.mktemp("run"))
    for number, ended, cost in ((3, "crashed", 10.0), (7, "aborted", 0.4), (16, "crashed", 10.0)):
        found[number] |= {"guard": {"parts": [{"ended": ended}]}, "cost": cost}
    return found


def test_stopped_and_crashed_trials_have_marks_of_their_own(records):
    figure = plot_journal(job(), records)
    top = figure.axes[0]
    marks = {line.get_label(): line for line in top.lines}
    assert marks["a crashed trial"].get_xdata().tolist() == [4, 17]
    assert marks["a stopped trial"].get_xdata().tolist() == [8]
    assert len(marks["an episode"].get_xdata()) == 22
    shapes = {marks[f"a {name} trial"].get_marker() for name in ("crashed", "stopped")}
    assert len(shapes | {marks["an episode"].get_marker()}) == 3  # not by colour alone
    assert top.get_ylim()[1] < 1000  # what such a trial costs does not squeeze the others
    assert marks["SLO p99<60ms"].get_ydata() == pytest.approx([60.0, 60.0])


@pytest.mark.parametrize("costs", [(0.055, 0.065), (0.0, 4.0)])
def test_ticks_can_be_read_and_the_legend_hides_no_data(costs, records):
    rng = np.random.default_rng(0)
    drawn = [r | {"cost": float(rng.uniform(*costs))} for r in records[:25]]
    drawn[0]["cost"], drawn[1]["cost"] = costs
    figure = plot_journal(job(), drawn)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    (legend,) = figure.legends
    for ax in figure.axes:
        assert not ax.get_window_extent(renderer).overlaps(legend.get_window_extent(renderer))
        low, high = ax.get_ylim()
        ticks = [t for t in ax.yaxis.get_major_ticks() if low <= t.get_loc() <= high]
        boxes = [
            tick.label1.get_window_extent(renderer) for tick in ticks if tick.label1.get_text()
        ]
        assert len(boxes) >= 3
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(float(t).is_integer() for t in figure.axes[-1].get_xticks())
