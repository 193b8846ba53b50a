"""Bad input: whatever a user, a file or another client sends, one line says what to do."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import termios
import time
import zipfile
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from test_faults import RRL, SIMULATED, on_a_file_system_of_its_own, one_line, run

from rrl.cli import main
from rrl.operating.journal import JOURNAL
from rrl.recording.plan import Plan
from rrl.recording.record import Recorder
from rrl.serving.launcher import LOCAL, ModelServer
from rrl.serving.loadgen import Client
from rrl.serving.sample import FILLED_BYTES

ROOT = Path(__file__).parent.parent
SHORT = ["--episodes", "3", "--requests", "10", "--rounds", "3", "--agent", "rrl"]
REPLAY = ["replay", "cpu2", *SHORT, "--quiet"]


def said(arguments, capsys):
    """The exit code and the only line of a command that fails."""
    code = main(arguments)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("rrl: ")
    assert len(err) < 600
    return code, err


# --- options --------------------------------------------------------------------------------------

# --- samples and requests -------------------------------------------------------------------------


def header(shape, kind="<f4"):
    """The beginning of an array file that promises a shape."""
    file = io.BytesIO()
    described = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)
    return file.getvalue()


def archive(path, content):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", content)


def bomb(path):
    """A file of half a megabyte that holds 512 MiB."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("x.npy", "w") as inside,
    ):
        inside.write(header((2**27,)))
        for _ in range(512):
            inside.write(bytes(2**20))
    assert path.stat().st_size < 2**23


def records(path):
    """A warm-up file whose only request has 60 bytes and promises 8 GB."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.inputs["x"].CopyFrom(promise(10**9))
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())


def promise(count):
    """One value, and a shape of so many pairs of it."""
    from tensorflow import make_tensor_proto

    tensor = make_tensor_proto(np.float32(1.0), shape=[1, 2])
    del tensor.float_val[1:]
    tensor.tensor_shape.dim[0].size = count
    return tensor


MEASURED = """import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)"""  # runs a command and prints its peak of memory in KiB


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("bomb.npz", bomb, "its arrays take 512 MiB, and a sample may have 256 MiB"),
        ("lie.npz", lambda p: archive(p, header((2**40,)) + b"abc"), r"the shape (1099511627776,)"),
        ("none.npz", lambda p: archive(p, header((2**40,), "|S0")), "the shape (1099511627776,)"),
        ("promise.tfrecord", records, "shape [1000000000, 2] in a message of 2"),
    ],
)
def test_a_sample_takes_no_more_memory_than_it_is_worth(name, make, message, model, tmp_path):
    make(tmp_path / name)
    command = [*RRL, "tune", str(model), "--rate", "9", "--out", str(tmp_path / "out")]
    command += ["--executable", "local", "--sample", str(tmp_path / name)]
    done = run([sys.executable, "-c", MEASURED, *command])
    line = one_line(done, 3)
    assert f"{tmp_path / name}: " in line
    assert message in line
    limit_mib = 1024 if name.endswith("tfrecord") else 300  # TensorFlow itself takes most of it
    assert int(done.stdout) < limit_mib * 1024


def peak_kib(pid):
    (line,) = [x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in x]
    return int(line.split()[1])


@pytest.mark.long
def test_a_request_takes_no_more_memory_than_it_sends(model):
    with ModelServer(model, executable=LOCAL) as server, Client(server.address, "probe") as client:
        inputs = {"x": np.ones((1, 2), np.float32)}
        client.predict(inputs)
        before = peak_kib(server.process.pid)
        from tensorflow import make_ndarray
        from tensorflow_serving.apis import predict_pb2

        for count in (300_000_000, 2**62, 2**63 - 1):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model.name
            request.inputs["x"].CopyFrom(promise(count))
            assert request.ByteSize() < 70
            with pytest.raises(grpc.RpcError) as error:
                client._stub.Predict(request, timeout=60)
            assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert f"shape [{count}, 2] in a message of" in error.value.details()
            assert "send all values if the array has more than 16 MiB" in error.value.details()
        assert peak_kib(server.process.pid) < before + 64 * 1024
        assert client.predict(inputs)["y"].tolist() == [[2.0, 2.0]]

        request.inputs["x"].CopyFrom(promise(50_000))  # one value may stand for a usual batch
        reply = client._stub.Predict(request, timeout=60)
        assert make_ndarray(reply.outputs["y"]).shape == (50_000, 2)
        whole = np.zeros((FILLED_BYTES // 4, 2), np.float32)  # and a large one may send its values
        assert client.predict({"x": whole})["y"].shape == whole.shape


# --- traces ---------------------------------------------------------------------------------------

TIMES = range(100)


def test_any_column_can_be_the_time(tmp_path, capsys):
    trace = tmp_path / "t.csv"
    trace.write_text("time,at\n" + "".join(f"never,{i}\n" for i in TIMES))
    arguments = [*REPLAY, "--trace", str(trace), "--out", str(tmp_path / "out")]
    assert said(arguments, capsys)[0] == 3
    assert main([*arguments, "--time-column", "at"]) == 0


# --- journals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"my notes\n", b"my notes", b"\n", b'{"episode":0,"cost":0.1,"crc32":"8331ff01"}\n'],
)
def test_a_file_that_is_no_journal_is_left_alone(content, tmp_path, capsys):
    """One line without a line end may be a journal that was cut off; this one is not."""
    (tmp_path / JOURNAL).write_bytes(content)
    code, line = said([*REPLAY, "--rate", "9", "--out", str(tmp_path)], capsys)
    assert code == 3
    assert f"{tmp_path / JOURNAL}, line 1: not the first line of a journal" in line
    assert (tmp_path / JOURNAL).read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"{", b'{"journal":2,"sett', bytes(4096)])
def test_a_header_that_was_cut_off_is_written_again(content, tmp_path, capsys):
    (tmp_path / JOURNAL).write_bytes(content)
    assert main([*REPLAY, "--rate", "9", "--out", str(tmp_path)]) == 0
    assert len((tmp_path / JOURNAL).read_text().splitlines()) == 1 + 3 + 3


# --- profiles -------------------------------------------------------------------------------------


@pytest.fixture
def profile(tmp_path):
    shutil.copytree(ROOT / "data" / "keyword-threads", tmp_path / "p")
    return tmp_path / "p"


def refused(profile, capsys, *words):
    code, line = said(["replay", str(profile), *SHORT, "--out", str(profile / "out")], capsys)
    assert code == 3
    for word in words:
        assert word in line
    assert not (profile / "out").exists()


NUMBERS = {"schema": 2, "complete": False, "machine": {"cpus": 2}}
PLAN = {"knobs": {"a": [1]}, "passes": 1, "requests": 5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "no description of a profile"),
        ("{}", "no description of a profile ('schema')"),
        ("[" * 10**5, "nested too deeply"),
        ("{", "not a JSON file"),
        (json.dumps(NUMBERS), "('plan')"),
        (json.dumps(NUMBERS | {"plan": PLAN, "machine": {}}), "('cpus')"),
        (json.dumps(NUMBERS | {"plan": PLAN, "complete": True}), "('sha256')"),
    ],
)
def test_a_description_that_is_none_is_refused(content, message, profile, capsys):
    (profile / "profile.json").write_text(content)
    refused(profile, capsys, f"{profile / 'profile.json'}", message)


@pytest.mark.parametrize("column", ["failed", "pass", "mean_s", "rate_per_s", "start_s"])
def test_a_cell_that_is_no_number_is_named(column, profile, capsys):
    """Only a recording that is not complete is looked at: another one has a hash."""
    path = profile / "episodes.csv"
    rows = list(csv.reader(io.StringIO(path.read_text(), newline="")))
    rows[6][rows[0].index(column)] = "x"
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    refused(profile, capsys, f"{path}: changed since it was recorded")
    description = json.loads((profile / "profile.json").read_text())
    (profile / "profile.json").write_text(json.dumps(description | {"complete": False}))
    refused(profile, capsys, f"{path}: a value of {column} is no number")


def test_changed_episodes_are_refused_with_the_remedy(profile, capsys):
    path = profile / "episodes.csv"
    text = path.read_text()
    path.write_text(text[: text.rindex("\n", 0, -1) + 1])  # a whole line is missing
    refused(profile, capsys, f"{path}: changed since it was recorded", "restore it, or record it")
    path.write_text(text.replace("\n", "\r\n"))  # other line ends are no change
    arguments = ["replay", str(profile), *SHORT, "--quiet", "--out", str(profile / "out")]
    assert main(arguments) in (0, 5)


def test_an_incomplete_profile_is_not_replayed(capsys, tmp_path):
    folder = ROOT / "data" / "recording" / "mobilenet_v2-joint"
    code, line = said(["replay", str(folder), *SHORT, "--out", str(tmp_path / "out")], capsys)
    assert code == 3
    assert "profile.json: the recording is not complete; finish it with `rrl profile`" in line


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "code", "message"),
    [
        ("a,b,cost\n1,1,3\n\n2,,4\n", [], 3, "line 4: b is '', so a value is missing"),
        ("a,b,cost\n1,x,3\n2,,4\n", [], 3, "line 3: b is '', so a value is missing"),
        ("a,cost\n1,3\nNA,4\n2,5\n", [], 3, "line 3: a is 'NA', so a value is missing"),
        ("a,cost\n1,3\ninf,4\n", [], 3, "line 3: a is 'inf', so a value is missing"),
        ("a,cost\n1,3\n2,NA\n", [], 3, "line 3: cost is 'NA': it must be a number from 0"),
        ("a,cost\n1,3\n2,-0.1\n", [], 3, "line 3: cost is '-0.1'"),
        ('a,cost\n1,3\n2,"0,18"\n', [], 3, "line 3: cost is '0,18'.*decimals with a point"),
        ("a,cost\n1,3\n2,\udcff\n", [], 3, "not UTF-8 at byte"),
        ("", [], 3, "no table of comma-separated values"),
        ("a,cost\n1,3\n2,1e308\n", [], 3, "line 3: cost is '1e308'"),
        ("a,cost\n1,3\n2,4\n", ["--knobs", "a,cost"], 2, "'cost' is the cost, so it cannot be a"),
        ("a,cost\n1,3\n2,4\n", ["--knobs", "a,a"], 2, "names 'a' twice"),
        ("a,cost\n1,3\n2,4\n", ["--knobs", "b"], 3, "no column 'b', it has a, cost"),
        ("a,a,cost\n1,2,3\n2,3,4\n", [], 3, "more than one column is 'a'"),
        (",a,cost\n0,1,3\n1,2,4\n", [], 3, "a column has no name"),
        ("cost\n1\n2\n", [], 3, "it has the cost only"),
        ("a,cost\n1,3\n", [], 3, "one configuration only"),
        ("a,cost\n1,3\n1,4\n", [], 3, "one configuration only"),
        ("a,cost\n", [], 3, "give a header and its rows"),
        ("a,cost\n1,3\n2,0,4\n", [], 3, "line 3: .* 3 cells and the header has 2"),
        (f"a,cost\n1,3\n{'9' * 200_000},3\n", [], 3, "line 3: .*field larger than"),
    ],
)
def test_a_bad_table_is_one_line(text, options, code, message, tmp_path, capsys):
    table = tmp_path / "mine.csv"
    table.write_bytes(text.encode(errors="surrogateescape"))
    found, line = said(
        ["replay", str(table), *options, *SHORT, "--out", str(tmp_path / "o")], capsys
    )
    assert found == code
    assert re.search(message, line), line
    if code == 3:
        assert str(table) in line
    assert not (tmp_path / "o").exists()


def test_na_is_text_among_texts_and_a_number_among_texts_can_be_the_default(tmp_path, capsys):
    table = tmp_path / "mine.csv"
    table.write_text("mode,note,cost\nNA,,0.4\nfast,?,0.2\n1,x,0.3\n7,x,0.1\n")
    arguments = ["replay", str(table), "--knobs", "mode", *SHORT, "--quiet", "--json"]
    assert main([*arguments, "--default", "mode=NA", "--out", str(tmp_path / "1")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["cost"]["default"] == 0.4
    assert main([*arguments, "--default", "mode=1", "--out", str(tmp_path / "2")]) == 0
    assert json.loads(capsys.readouterr().out)["cost"]["default"] == pytest.approx(0.3)


def test_text_in_a_column_named_like_a_knob_loses_no_report(tmp_path, capsys):
    table, out = tmp_path / "mine.csv", tmp_path / "out"
    table.write_text("inter_op,cost\nauto,0.3\n1,0.2\n2,0.1\n")
    arguments = ["replay", str(table), "--default", "inter_op=auto", *SHORT, "--quiet"]
    assert main([*arguments, "--out", str(out)]) == 0
    assert "recommended: inter_op" in capsys.readouterr().out
    result = json.loads((out / "result.json").read_text())
    assert result["deploy"] == {"inter_op": "auto"}  # too few rounds for another
    assert "flags" not in result


# --- signals --------------------------------------------------------------------------------------


def wait_for(condition, process, limit_s=600):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert process.poll() is None, f"it ended early: {process.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def lines_in(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def living(folder):
    """Processes of servers whose command line or environment names a folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        words, environment = process.info["cmdline"] or [], process.info["environ"] or {}
        named = any(str(folder) in text for text in (*words, *environment.values()))
        if named and any("rrl.serving" in word for word in words):
            found.append(words)
    return found


def commands(model, tmp_path):
    """A command for each of the two that start servers, and the file that grows meanwhile."""
    out = tmp_path / "out"
    tune = [
        "tune", str(model), "--executable", "local", "--rate", "50", "--requests", "20",
        "--knob", "batch_threads=0,2", "--agent", "rrl",
    ]  # fmt: skip
    profile = [
        "profile", "x", "--model", "keyword", "--knob", "inter_op=1,2", "--rates", "20",
        "--executable", "local", "--passes", "50",
    ]  # fmt: skip
    return {
        "tune": ([*RRL, *tune, "--out", str(out)], out / JOURNAL),
        "profile": ([*RRL, *profile, "--out", str(out)], out / "episodes.csv"),
    }


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("tune", signal.SIGTERM),
        pytest.param("profile", signal.SIGHUP, marks=pytest.mark.long),
        pytest.param("tune", signal.SIGHUP, marks=pytest.mark.long),
        pytest.param("profile", signal.SIGTERM, marks=pytest.mark.long),
    ],
)
def test_a_signal_ends_a_live_run_cleanly(name, number, model, tmp_path):
    command, file = commands(model, tmp_path)[name]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    if name == "profile":  # one that does not wait until the machine is as fast as it was
        Recorder(Plan("keyword", {"inter_op": (1, 2)}, (20.0,), passes=50), file.parent).close()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=-1, stderr=-1, text=True)
    wait_for(lambda: lines_in(file) > 2 and living(temporary), process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1].startswith("rrl: interrupted")
    assert living(temporary) == []
    assert not list(temporary.glob("rrl-[!m]*"))  # only the lock of the machine may stay
    assert file.read_bytes().endswith(b"\n")


def test_a_terminal_that_is_closed_interrupts(tmp_path):
    """The kernel sends SIGHUP, and nothing can be written to that terminal any more."""
    master, slave = os.openpty()

    def control() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    command = [*RRL, *SIMULATED, "--episodes", "5000", "--out", str(tmp_path)]
    command.remove("--quiet")
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        preexec_fn=control,
    )  # fmt: skip
    os.close(slave)
    wait_for(lambda: lines_in(tmp_path / JOURNAL) > 5, process)
    os.close(master)
    assert process.wait(600) == 130
    assert (tmp_path / JOURNAL).read_bytes().endswith(b"\n")


def test_nohup_keeps_its_word(tmp_path):
    command = ["nohup", *RRL, *SIMULATED, "--episodes", "300", "--out", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=-3, stdout=-3, stderr=-3)
    wait_for(lambda: lines_in(tmp_path / JOURNAL) > 5, process)
    process.send_signal(signal.SIGHUP)
    assert process.wait(600) == 0


# --- no room for the figure -----------------------------------------------------------------------

FEW = ["--episodes", "4", "--requests", "4", "--rounds", "3", "--agent", "rrl"]
PLAIN = ["replay", "cpu2", "--rate", "115", *FEW, "--quiet", "--json"]


def test_a_figure_without_room_hides_no_result_and_spares_the_old_one(tmp_path, capsys):
    arguments = [*PLAIN, "--out", str(tmp_path)]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    figures = {path.name: path.read_bytes() for path in tmp_path.glob("tuning.*")}
    limit = max(size for name, size in sizes.items() if name not in figures)
    assert min(map(len, figures.values())) > limit
    (tmp_path / "result.json").unlink()

    def no_more() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = run([*RRL, *arguments], preexec_fn=no_more)
    message = one_line(done, 3)
    assert f"{tmp_path / 'tuning.pdf'}: File too large; make room and run it again" in message
    assert done.stdout == first
    assert json.loads((tmp_path / "result.json").read_text()) == json.loads(first)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("tuning.*")} == figures
    assert not list(tmp_path.glob(".*"))


@pytest.mark.long
def test_a_really_full_disk_hides_no_result(tmp_path):
    roomy = run([*RRL, *PLAIN, "--out", str(tmp_path / "roomy")])
    pages = {p.name: -(-p.stat().st_size // 4096) for p in (tmp_path / "roomy").iterdir()}
    needed = sum(count for name, count in pages.items() if not name.startswith("tuning"))
    small, kept = tmp_path / "small", tmp_path / "kept"
    small.mkdir()
    words = " ".join(f"'{word}'" for word in [*RRL, *PLAIN])
    script = f'{words} --out "$0"; code=$?; cp -r "$0" {kept}; exit $code'
    size = f"size={4 * (needed + 2)}k"
    done = on_a_file_system_of_its_own(size, script, small)
    assert f"{small}/tuning.pdf: No space left on device; make room and run" in one_line(done, 3)
    assert done.stdout == roomy.stdout.replace(str(tmp_path / "roomy"), str(small))
    assert json.loads((kept / "result.json").read_text()) == json.loads(done.stdout)
    assert {path.name for path in kept.iterdir()} == set(pages) - {"tuning.pdf", "tuning.png"}
