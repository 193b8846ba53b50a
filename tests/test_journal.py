"""The journal keeps every episode, once, whatever stops the run."""

from __future__ import annotations

import json
import os

import pytest

from rrl.operating.journal import JOURNAL, open_journal
from rrl.support.files import MARK, replacing

GONE = 2**22 + 1  # larger than any process number
SETTINGS = {"seed": 1, "rate": 14.0, "agent_version": 1}


def fill(folder, costs=(0.1, 0.2, 0.3)):
    with open_journal(folder, SETTINGS) as journal:
        for episode, cost in enumerate(costs):
            journal.append({"episode": episode, "cost": cost})
    return folder / JOURNAL


def test_a_record_is_on_disk_when_it_is_appended(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file)))
    with open_journal(tmp_path, SETTINGS) as journal:
        assert tmp_path.stat().st_ino in {entry.st_ino for entry in synced}
        for episode in range(3):
            journal.append({"episode": episode})
            now = (tmp_path / JOURNAL).stat()
            assert (synced[-1].st_ino, synced[-1].st_size) == (now.st_ino, now.st_size)


def test_every_cut_of_the_last_line_is_recovered(tmp_path):
    """A power loss keeps any part of what was written last; the run measures it again."""
    path = fill(tmp_path)
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        with open_journal(tmp_path, SETTINGS) as journal:
            assert len(journal.records) == 2
            journal.append({"episode": 2, "cost": 0.3})
        assert path.read_bytes() == whole


def test_a_run_that_measured_nothing_may_be_corrected(tmp_path):
    """A wrong option is found when the first server starts; the corrected command then works."""
    for settings in (SETTINGS, SETTINGS | {"signature": "classify"}):
        with open_journal(tmp_path, settings) as journal:
            assert journal.records == []
    (header,) = map(json.loads, (tmp_path / JOURNAL).read_text().splitlines())
    assert header["signature"] == "classify"


def test_what_a_kill_left_of_an_atomic_write_is_removed(tmp_path):
    (tmp_path / f".result.json.{MARK}{GONE}").write_text("half")
    (tmp_path / ".notes.20240131").write_text("it is the user's")
    fill(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".notes.20240131", JOURNAL}


def test_a_write_that_somebody_stops_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")

    def write():
        with replacing(path) as file:
            file.write(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [(path.name, "old")]
