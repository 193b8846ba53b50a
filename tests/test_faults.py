"""Runs that are killed, run out of room, or get a sample that is none.

``RRL_KILLS=50 RRL_LIVE_KILLS=10 pytest -k killed``, run in `tests/`, kills as often as that; the
second kill of a live run is a SIGINT.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rrl.cli import main
from rrl.operating.journal import JOURNAL
from rrl.serving.lasting import wait_until
from rrl.serving.sample import fit, read_sample
from rrl.support.errors import DataError, ServerError

HERE = Path(__file__).parent
ROOT = HERE.parent
KILLS = int(os.environ.get("RRL_KILLS", "1"))
LIVE_KILLS = int(os.environ.get("RRL_LIVE_KILLS", "1"))
RRL = [sys.executable, "-m", "rrl.cli"]
SIMULATED = [
    "replay", "cpu2", "--rate", "115", "--requests", "30", "--rounds", "4",
    "--slo", "p99<60ms", "--agent", "rrl", "--quiet", "--json",
]  # fmt: skip


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, **options)


def one_line(done, code):
    """The line that a command ended with."""
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("rrl: ")
    return done.stderr


def lines_of(folder):
    """The whole lines of a journal that may not be there yet."""
    try:
        return (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []


def kill_when(process, folder, count, wait_s, number=signal.SIGKILL):
    """Send a signal some time after the journal has reached so many lines."""
    deadline = time.monotonic() + 600
    while len(lines_of(folder)) < count:
        assert process.poll() is None, f"it ended early: {process.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(wait_s)
    assert process.poll() is None, "it had finished"
    process.send_signal(number)
    return process.communicate()


# --- killed ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A run that nobody stops: its arguments, journal and result."""
    arguments = [*SIMULATED, "--episodes", str(20 + 25 * KILLS)]
    folder = tmp_path_factory.mktemp("whole")
    assert main([*arguments, "--out", str(folder)]) in (0, 5)
    return arguments, (folder / JOURNAL).read_bytes(), (folder / "result.json").read_bytes()


def assert_it_goes_on_to_the_same(arguments, journal, folder):
    """The same command, without a fault, ends with the journal of the run that nobody stopped."""
    assert main(arguments) in (0, 5)
    assert (folder / JOURNAL).read_bytes() == journal


def test_a_killed_simulated_run_ends_as_if_never_killed(simulated, tmp_path):
    arguments, journal, result = simulated
    arguments = [*arguments, "--out", str(tmp_path)]
    rng, seen = np.random.default_rng(KILLS), 0
    for _ in range(KILLS):
        process = subprocess.Popen([*RRL, *arguments], cwd=ROOT, stdout=-1, stderr=-1)
        kill_when(process, tmp_path, seen + rng.integers(0, 25), rng.uniform(0, 0.02))
        kept = b"".join(line for line in lines_of(tmp_path) if line.endswith(b"\n"))
        assert journal.startswith(kept)  # no episode lost, doubled or changed
        seen = len(lines_of(tmp_path))
    assert_it_goes_on_to_the_same(arguments, journal, tmp_path)
    produced = json.loads((tmp_path / "result.json").read_bytes())
    assert produced == json.loads(result) | {"flags": produced["flags"]}
    assert not list(tmp_path.glob(".*"))  # no temporary file either


def test_an_interrupted_run_is_kept_and_says_so(simulated, tmp_path):
    """By Ctrl-C; test_bad_input sends the other signals."""
    arguments, journal, _ = simulated
    arguments = [*arguments, "--out", str(tmp_path)]
    process = subprocess.Popen([*RRL, *arguments], cwd=ROOT, stdout=-1, stderr=-1, text=True)
    out, err = kill_when(process, tmp_path, 20, 0.0, signal.SIGINT)
    assert process.returncode == 130
    assert (out, err.count("\n")) == ("", 1)
    assert f"all finished episodes are in {tmp_path}: the same command continues" in err
    assert_it_goes_on_to_the_same(arguments, journal, tmp_path)


def servers_of(folder):
    """Process ids of the servers of a model, or of all models below a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile
            continue
        if any(word.startswith(f"--model_base_path={folder}".encode()) for word in words):
            found.append(int(path.parent.name))
    return found


def test_a_killed_live_run_leaves_no_server_and_goes_on(model, tmp_path):
    episodes = 2 + 2 * LIVE_KILLS
    command = [
        *RRL, "tune", str(model), "--executable", "local", "--rate", "50", "--requests", "20",
        "--knob", "batch_threads=0,2", "--episodes", str(episodes), "--rounds", "2",
        "--agent", "rrl", "--out", str(tmp_path),
    ]  # fmt: skip
    temporary = tmp_path / "tmp"  # a server serves a copy of the model in there
    temporary.mkdir()
    env = {**os.environ, "TMPDIR": str(temporary)}
    rng, seen, before = np.random.default_rng(0), 0, []
    for kill in range(LIVE_KILLS):
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=-1, stderr=-1, text=True)
        number = signal.SIGINT if kill == 1 else signal.SIGKILL
        kill_when(process, tmp_path, seen + 1 + rng.integers(0, 2), rng.uniform(0, 0.4), number)
        assert process.returncode == (130 if number == signal.SIGINT else -number)
        assert wait_until(lambda: not servers_of(temporary), 600.0)
        kept = [line for line in lines_of(tmp_path) if line.endswith(b"\n")]
        assert kept[: len(before)] == before
        before, seen = kept, len(kept)
    done = run(command, env=env)
    assert done.returncode in (0, 5), done.stderr  # 5: chance made the recommendation look worse
    records = [json.loads(line) for line in lines_of(tmp_path)]
    assert lines_of(tmp_path)[: len(before)] == before
    assert [r["episode"] for r in records if "episode" in r] == [*range(episodes)]
    assert [r["round"] for r in records if "round" in r] == [0, 1]
    assert servers_of(temporary) == []


# --- no room --------------------------------------------------------------------------------------


def test_a_full_disk_keeps_what_was_there(simulated, tmp_path):
    """The kernel refuses to let a file grow beyond a limit, in the middle of a line."""
    arguments, journal, _ = simulated
    arguments = [*arguments, "--out", str(tmp_path)]
    limit = len(journal) // 2

    def no_more() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    message = one_line(run([*RRL, *arguments], preexec_fn=no_more), 3)
    assert f"{tmp_path / JOURNAL}: File too large; make room and run it again" in message
    kept = (tmp_path / JOURNAL).read_bytes()
    assert len(kept) > limit // 2
    assert kept.endswith(b"\n")
    assert journal.startswith(kept)
    assert_it_goes_on_to_the_same(arguments, journal, tmp_path)


def on_a_file_system_of_its_own(options, script, folder):
    """Run a shell script with `folder` on a small tmpfs that only it can see."""
    if not shutil.which("unshare"):
        pytest.skip("no unshare here, so no file system can be mounted")
    mount = f'mount -t tmpfs -o {options} none "$0"'
    inside = ["unshare", "-Urm", "sh", "-c"]
    if run([*inside, mount, str(folder)]).returncode:
        pytest.skip("mounting a file system of one's own is not permitted here")
    return run([*inside, f"{mount} && {script}", str(folder)])


def test_a_really_full_disk(simulated, tmp_path):
    arguments, journal, _ = simulated
    small, kept = tmp_path / "small", tmp_path / "kept"
    small.mkdir()
    words = " ".join(f"'{word}'" for word in [*RRL, *arguments])
    script = f'{words} --out "$0"; code=$?; cp "$0"/{JOURNAL} {kept}; exit $code'
    size_kib = len(journal) // 1024 // 2
    message = one_line(on_a_file_system_of_its_own(f"size={size_kib}k", script, small), 3)
    assert "No space left on device; make room and run it again" in message
    whole = kept.read_bytes()
    assert whole.endswith(b"\n")
    assert journal.startswith(whole)


def test_a_read_only_folder(tmp_path):
    words = " ".join(f"'{word}'" for word in [*RRL, *SIMULATED, "--episodes", "2"])
    folder = tmp_path / "read-only"
    folder.mkdir()
    message = one_line(on_a_file_system_of_its_own("ro", f'{words} --out "$0"/x', folder), 3)
    assert "Read-only file system; choose another folder" in message


# --- samples --------------------------------------------------------------------------------------

SIGNATURE = {"x": ("float32", (-1, 2)), "n": ("int32", (-1,))}


@pytest.mark.parametrize(
    "request_",
    [
        {"x": [[1, 2]]},
        {"x": [[1, 2]], "n": [1], "z": [1]},
        {"x": [[1, 2, 3]], "n": [1]},
        {"x": [1, 2], "n": [1]},
        {"x": [["a", "b"]], "n": [1]},
        {"x": [[1, 2]], "n": [1.5]},
        {"x": [[1, 1e99]], "n": [1]},
    ],
)
def test_a_sample_that_does_not_fit_is_refused(request_):
    with pytest.raises(ServerError, match=r"the model needs: x float32 \(-1, 2\), n int32"):
        fit(request_, SIGNATURE)


def test_a_sample_that_fits_gets_the_models_types():
    fitted = fit({"x": [[0.1, 2]], "n": [3.0]}, SIGNATURE)
    assert {name: array.dtype.name for name, array in fitted.items()} == {
        "x": "float32",
        "n": "int32",
    }


def test_samples_are_read_in_all_three_forms(tmp_path, model):
    from rrl.serving.models import WARMUPS, write_warmup

    x = np.array([[1.0, 2.0]], np.float32)
    np.savez(tmp_path / "one.npz", x=x)
    (tmp_path / "one.json").write_text('{"x": [[1.0, 2.0]]}')
    shutil.copytree(model / "1", tmp_path / "1")
    (tmp_path / "1" / "assets.extra").mkdir(exist_ok=True)
    records = write_warmup(tmp_path / "1", "probe", {"x": x})
    counts = {tmp_path / "one.npz": 1, tmp_path / "one.json": 1, records: WARMUPS}
    for path, count in counts.items():
        requests = read_sample(path)
        assert len(requests) == count
        assert all(np.array_equal(request["x"], x) for request in requests)
    records.write_bytes(records.read_bytes()[:-5])
    with pytest.raises(DataError, match="not a TFRecord file"):
        read_sample(records)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npz", b"PK", "not an .npz file"),
        ("a.npz", b"", "not an .npz file"),
        ("a.json", b"{", "not a JSON file"),
        ("a.json", b"\xff", "not UTF-8 at byte 0"),
        ("a.json", b"[1]", "write"),
        ("a.json", b"[" * 10**6, "nested too deeply"),
        ("a.json", b'{"x":' + b"[" * 99 + b"]" * 99 + b"}", "'x' is not an"),
        ("a.json", b'{"x": [[1, 2], [3]]}', "'x' is not an array"),
        ("a.json", b"{}", "no request in it"),
    ],
)
def test_a_bad_sample_file_is_refused(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_sample(tmp_path / name)


def test_a_pickle_is_not_opened(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="npz file of plain arrays"):
        read_sample(tmp_path / "a.npz")
