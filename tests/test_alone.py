"""One tuner at a time on an operator's server, and what a killed one says to the next."""

from __future__ import annotations

import errno
import os
from contextlib import closing

import pytest

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.operating.address import alone_at
from rrl.serving.deployed import DEPLOYED, Deployed
from rrl.serving.restarted import RestartedServer
from rrl.support.errors import ServerError, UsageError

ADDRESS = "127.0.0.1:1"  # nobody serves there
DEFAULT, TRIAL = {"inter_op": 1}, {"inter_op": 2}


def killed(folder):
    """A run that ended in the middle of a trial: nobody has removed its note."""
    with alone_at(ADDRESS) as only:
        only.begin(folder, DEFAULT)


@pytest.fixture(autouse=True)
def _in_a_place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def test_the_next_run_does_not_take_a_trial_for_the_operators_choice(tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    with alone_at(ADDRESS) as only:
        only.check(other, [])  # nobody was there before
        assert only.refused(mine) == ""
    killed(mine)
    with alone_at(ADDRESS) as only:
        with pytest.raises(UsageError) as refused:
            only.check(other, [])
        assert f"a trial of the run in {mine}, which was killed" in str(refused.value)
        assert "returns it to inter_op 1; or say by --default" in str(refused.value)
        only.check(other, ["inter_op=1"])
        only.check(mine, [])  # it knows what it began with
        assert "was killed: restore inter_op 1 there" in only.refused(mine)
        assert only.refused(other) == ""
    with alone_at("127.0.0.1:2") as only:
        only.check(other, [])
    with alone_at(None) as only:
        only.check(other, [])


def test_a_note_stays_until_the_server_is_well(tmp_path):
    for complete in (False, True):
        with alone_at(ADDRESS) as only:
            only.begin(tmp_path, DEFAULT)
            with closing(Deployed(tmp_path, ADDRESS)) as deployed:
                deployed.note(DEFAULT, complete=complete)
            only.end(tmp_path)
        with alone_at(ADDRESS) as only:
            assert (only.left is None) == complete


def test_a_file_that_cannot_be_written_or_read_forbids_nothing(tmp_path, monkeypatch):
    killed(tmp_path)
    (file,) = tmp_path.glob("rrl/tunes/*")
    file.write_text('{"folder": 3}')
    with alone_at(ADDRESS) as only:
        assert only.left is None
    file.unlink()
    file.mkdir()
    with alone_at(ADDRESS) as only:
        only.begin(tmp_path, DEFAULT)
        assert only.left is None


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path):
    """Whoever could put one there would have a file of the user's overwritten."""
    killed(tmp_path)
    (file,) = tmp_path.glob("rrl/tunes/*")
    assert [folder.stat().st_mode & 0o777 for folder in file.parents[:2]] == [0o700] * 2
    victim = tmp_path / "victim"
    victim.write_text("mine")
    victim.chmod(0o600)
    for missing in (False, True):
        file.unlink()
        file.symlink_to(tmp_path / "new" if missing else victim)
        killed(tmp_path)
    assert (victim.read_text(), victim.stat().st_mode & 0o777) == ("mine", 0o600)
    assert not (tmp_path / "new").exists()
    file.unlink()
    file.parent.rmdir()
    file.parent.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UsageError, match="a link or a file, and no folder"):
        killed(tmp_path)


# --- the note of what is deployed -----------------------------------------------------------------


def test_the_folder_of_another_server_is_refused(tmp_path):
    """That server may need the batching files there, and the next run on it the note."""
    with closing(Deployed(tmp_path, ADDRESS)) as deployed:
        deployed.note(TRIAL, complete=True)
    for _ in range(2):  # nor does a refusal keep the folder locked
        with pytest.raises(UsageError, match=rf"is of a run on {ADDRESS}, which may need"):
            Deployed(tmp_path, "127.0.0.1:2")
    with closing(Deployed(tmp_path, ADDRESS)) as deployed:
        assert deployed.configuration == TRIAL


def test_no_trial_begins_without_its_note(tmp_path, monkeypatch):
    """On a full disk, a kill would leave a trial of which nobody knows; the return is no trial."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    calls = tmp_path / "calls"
    space, command = ConfigSpace([Knob("inter_op", (1, 2))]), f"sh -c 'echo >> {calls}' {{flags}}"
    given = {"folder": tmp_path / "out", "restarts": 0, "start_timeout_s": 0.1}
    with RestartedServer(ADDRESS, "probe", command, space, **given) as server:
        server.keep(DEFAULT)
        monkeypatch.setattr("rrl.serving.deployed.write_atomically", full)
        with pytest.raises(OSError, match="No space left"):
            server.measure(TRIAL, [0.0], None)
        assert not calls.exists()
        assert not server.touched
        with pytest.raises(ServerError, match="no model available"):
            server.measure(DEFAULT, [0.0], None)
        assert calls.read_text() == "\n"
        server.keep = server._kept = None  # there is no server to return to
    assert not (tmp_path / "out" / DEPLOYED).exists()
