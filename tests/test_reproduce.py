"""Notebooks run without a user: what comes out, what is said, and what the manifest then names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from clients import dropped_interrupt

from rrl.publishing.manifest import read_manifest, record
from rrl.publishing.reproduce import main
from rrl.publishing.tracing import Traffic
from rrl.support.files import alone_in
from rrl.support.provenance import digest

ROOT = Path(__file__).parent.parent
PARAMETERS = """episodes = 3  # one line = one parameter
rate = 10  # requests/s
live = False
model = 'small'
pair = (1, 2)
folder = str(3)
profile = None"""


@pytest.fixture
def folder(tmp_path):
    """A folder whose name papermill, a shell or a codec could trip over."""
    folder = tmp_path / "a {b} {0} ü"
    folder.mkdir()
    return folder


def write(path: Path, *cells: str, parameters: str | None = None) -> Path:
    notebook = nbformat.v4.new_notebook()
    if parameters is not None:
        cell = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
        notebook.cells.append(cell)
    notebook.cells.append(nbformat.v4.new_markdown_cell("# Title"))
    notebook.cells += [nbformat.v4.new_code_cell(source) for source in cells]
    nbformat.write(notebook, path)
    return path


def outputs(copy: Path) -> str:
    cells = nbformat.read(copy, as_version=4).cells
    found = (output for cell in cells for output in cell.get("outputs", []))
    return "".join(output.get("text", "") for output in found)


def hide_kernel(place: Path, monkeypatch) -> None:
    """Put another kernel called python3 and a start-up script where Jupyter and IPython look."""
    spec = {"argv": ["false"], "display_name": "not ours", "language": "python"}
    (place / "kernels" / "python3").mkdir(parents=True)
    (place / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec))
    (place / "profile_default" / "startup").mkdir(parents=True)
    (place / "profile_default" / "startup" / "00.py").write_text("episodes_left = 'theirs'")
    monkeypatch.setenv("JUPYTER_PATH", str(place))
    monkeypatch.setenv("IPYTHONDIR", str(place))


def test_a_run_uses_its_parameters_its_own_python_and_the_notebooks_folder(
    folder, tmp_path, monkeypatch, capsys
):
    cell = (
        "import os, sys\n"
        "print(episodes, rate, live, model, pair[1] + 1, 'episodes_left' in globals())\n"
        "print(sys.executable, os.getcwd(), sep='\\n')"
    )
    notebook = write(folder / "01 näme.ipynb", cell, "", parameters=PARAMETERS)
    stored = notebook.read_bytes()
    hide_kernel(tmp_path / "home", monkeypatch)
    out = folder / "build"
    out.mkdir()
    (out / "01 näme-failed.ipynb").write_text("from an earlier run")
    given = {"episodes": "7", "model": "größer", "rate": "1e-1", "live": "True", "pair": "(3, 4)"}
    given |= {"folder": "any", "profile": "any"}  # their defaults say nothing about their kinds
    args = [word for pair in given.items() for word in ("-p", *pair)]
    assert main([str(notebook), *args, "--out", str(out)]) == 0

    copy = out / "01 näme.ipynb"
    expected = ["7 0.1 True größer 5 False", sys.executable, str(folder)]
    assert outputs(copy).splitlines() == expected
    assert notebook.read_bytes() == stored
    assert {path.name for path in out.iterdir()} == {copy.name}
    assert {path.name for path in folder.iterdir()} == {notebook.name, "build"}
    assert re.fullmatch(re.escape(str(notebook)) + r" \d+\.\d s\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("cells", "seconds", "place", "reason"),
    [
        (["import os; os._exit(0)", "1"], 60, "cell [1] (import os", "the kernel died"),
        (["import time; time.sleep(9e4)"], 2, "cell [1] (import", "still running after 2 s"),
        (["1", "import sys; sys.exit()", "1"], 60, "cell [2] (import sys", "left the notebook"),
        (["raise OSError('t.csv:\\n no data')"], 60, "cell [1] (raise", "OSError: t.csv: no data"),
    ],
    ids=["kernel dies", "hangs", "leaves", "raises"],
)
def test_a_failure_names_notebook_and_cell_and_keeps_the_last_good_copy(
    cells, seconds, place, reason, folder, capfd
):
    notebook = write(folder / "02.ipynb", *cells)
    out = folder / "build"
    out.mkdir()
    (out / "02.ipynb").write_text("from an earlier run")
    assert main([str(notebook), "--out", str(out), "--cell-timeout", str(seconds)]) == 5

    said = capfd.readouterr()
    (line,) = [line for line in said.err.splitlines() if line.startswith("rrl:")]
    assert line.startswith(f"rrl: {notebook}, {place}")
    assert reason in line
    assert "Traceback" not in said.err
    assert (out / "02.ipynb").read_text() == "from an earlier run"
    assert not list(out.glob(".*.partial*"))
    assert (out / "02-failed.ipynb").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["episode", "5"], "no parameter 'episode'; it has episodes, rate, live, model, pair"),
        (["episodes", "ten"], "episodes is 'ten', not of the type of 3"),
        (["live", "1"], "live is 1, not of the type of False"),
        (["episodes", "True"], "episodes is True, not of the type of 3"),
        (["pair", "5"], "pair is 5, not of the type of [1, 2]"),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused_before_anything_runs(
    given, words, tmp_path, capsys
):
    ran = tmp_path / "ran"
    first = write(tmp_path / "1.ipynb", f"open({str(ran)!r}, 'w')", parameters=PARAMETERS)
    assert main([str(first), "-p", *given, "--out", str(tmp_path / "build")]) == 2
    assert words in capsys.readouterr().err
    assert not ran.exists()


def test_what_is_no_notebook_is_named(tmp_path, capsys):
    path = tmp_path / "x.ipynb"
    for code, words in ((2, "no such notebook"), (3, "is not a notebook")):
        assert main([str(path), "--out", str(tmp_path / "build")]) == code
        err = capsys.readouterr().err
        assert str(path) in err
        assert words in err
        assert err.count("\n") == 1
        path.write_bytes(b"\xff\xfe")


def test_a_second_run_says_so_and_stops(tmp_path, capsys):
    notebook = write(tmp_path / "1.ipynb", "1")
    out = tmp_path / "build"
    with alone_in(out):
        assert main([str(notebook), "--out", str(out)]) == 2
    assert f"{out}: another run uses it" in capsys.readouterr().err
    assert not (out / "1.ipynb").exists()


def test_notebooks_run_side_by_side_and_one_that_fails_stops_the_other(tmp_path, capsys):
    """The first one fails when the other's kernel is there."""
    wait = "import pathlib, time\nwhile not pathlib.Path('there').exists(): time.sleep(0.02)"
    bad = write(tmp_path / "1.ipynb", wait, "1 / 0")
    deaf = "try: time.sleep(9e4)\nexcept KeyboardInterrupt: raise ValueError('stopped')"
    other = write(
        tmp_path / "2.ipynb", f"import pathlib, time\npathlib.Path('there').touch()\n{deaf}"
    )
    options = ["--out", str(tmp_path / "build"), "--cell-timeout", "600"]
    assert main([str(bad), str(other), *options]) == 5
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"rrl: {bad}, cell [2] (1 / 0): ZeroDivisionError")
    assert [path.name for path in (tmp_path / "build").glob("*.ipynb")] == ["1-failed.ipynb"]


def test_an_interrupted_run_stops_its_kernel_and_leaves_nothing_half_written(tmp_path):
    cell = (
        "import os, pathlib, time\n"
        "try:\n"
        "    pathlib.Path('tmp').write_text(str(os.getpid()))\n"
        "    os.rename('tmp', 'began')\n"
        "    time.sleep(600)\n"
        "finally:\n"
        "    pathlib.Path('cleaned up').touch()"
    )
    notebook, out = write(tmp_path / "1.ipynb", cell), tmp_path / "build"
    out.mkdir()
    (out / "1.ipynb").write_text("from an earlier run")
    command = [sys.executable, "-m", "rrl.publishing.reproduce", str(notebook), "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "began").exists():
            assert process.poll() is None, "the run ended too early"
            time.sleep(0.02)
        process.terminate()
        _, err = process.communicate(timeout=600)
    assert process.returncode == 130
    assert err == "rrl: interrupted\n"
    assert (tmp_path / "cleaned up").exists()
    assert not psutil.pid_exists(int((tmp_path / "began").read_text()))
    assert (out / "1.ipynb").read_text() == "from an earlier run"
    assert [path.name for path in out.glob("*.ipynb")] == ["1.ipynb"]
    assert not list(out.glob(".*.partial*"))


def test_an_interrupt_that_python_drops_ends_a_run_before_its_next_notebook(tmp_path, monkeypatch):
    entered = []

    def dropping(*_):
        entered.append(1)
        dropped_interrupt()

    monkeypatch.setattr("rrl.publishing.reproduce.execute", lambda *_: SEEN)
    monkeypatch.setattr("rrl.publishing.manifest.record", dropping)
    both = [write(tmp_path / f"{n}.ipynb", "1", parameters="figures = 'here'") for n in "12"]
    options = ["-p", "figures", "../figures", "--out", str(tmp_path / "build")]
    assert main([*map(str, both), *options]) == 130
    assert entered == [1]


# --- What a run enters in the manifest -----------------------------------------------------------


CELL = """from pathlib import Path
text = Path('../data/a b.csv').read_text()
Path('../data/results/x/y.npz').read_text()
Path('../notes.txt').read_text()
Path(figures).mkdir(parents=True, exist_ok=True)
Path(figures, '.partial').write_text(f'{text} {seed}')
Path(figures, '.partial').replace(Path(figures, 't.csv'))"""
PARAMETERS_CELL = "seed = 5\nfigures = '../build/figures'"


def run(root: Path, monkeypatch, *options: str) -> None:
    """Run a notebook that reads a profile and writes a table, as `make` runs it."""
    for name in ("notebooks", "data/results/x", "figures"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("data/a b.csv", "data/unread.csv", "data/results/x/y.npz", "notes.txt"):
        (root / name).write_text("1")
    write(root / "notebooks" / "1.ipynb", CELL, parameters=PARAMETERS_CELL)
    monkeypatch.chdir(root)
    assert main(["notebooks/1.ipynb", *options]) == 0


def test_what_a_run_has_made_in_figures_is_entered_the_same_each_time(tmp_path, monkeypatch):
    committed = ("-p", "figures", "../figures")
    run(tmp_path, monkeypatch, *committed)
    text = (tmp_path / "figures/manifest.json").read_text()
    manifest = json.loads(text)
    assert manifest["files"]["figures/t.csv"]["notebook"] == "1"
    parameters = {"seed": 5, "figures": "../figures"}
    assert manifest["notebooks"]["1"]["parameters"] == parameters
    read = {"data/a b.csv": digest(tmp_path / "data/a b.csv")}
    assert manifest["notebooks"]["1"]["read"] == read
    assert manifest["notebooks"]["1"]["results"] == ["x/y"]
    assert "numpy" in manifest["notebooks"]["1"]["packages"]
    run(tmp_path, monkeypatch, *committed)
    assert (tmp_path / "figures/manifest.json").read_text() == text


def test_a_run_elsewhere_leaves_figures_and_manifest_alone(tmp_path, monkeypatch):
    run(tmp_path, monkeypatch, "-p", "seed", "6")
    assert (tmp_path / "build/figures/t.csv").read_text() == "1 6"
    assert list((tmp_path / "figures").iterdir()) == []
    assert [path.name for path in (tmp_path / "build/notebooks").iterdir()] == ["1.ipynb"]


# --- What goes from the manifest, and what is not as it was --------------------------------------

SEEN = Traffic((), ("figures/one.csv",))


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "checkout"
    (root / "figures").mkdir(parents=True)
    (root / "figures/one.csv").write_text("load,gain\n60,2.0\n")
    (root / "notebooks").mkdir()
    (root / "notebooks" / "1.ipynb").touch()
    record(root, Path("notebooks/1.ipynb"), {}, SEEN)
    return root


def test_a_notebook_of_another_name_takes_over_its_files_and_what_nobody_makes_goes(checkout):
    record(checkout, Path("notebooks/2.ipynb"), {}, SEEN)  # 1 has got another name
    manifest = read_manifest(checkout)
    assert manifest["files"]["figures/one.csv"]["notebook"] == "2"
    assert set(manifest["notebooks"]) == {"2"}
    # Another name again, and then one notebook that makes another file each time.
    for name, made in (("3", "two.csv"), ("1", "three.csv"), ("1", "four.csv")):
        (checkout / "figures" / made).touch()
        record(checkout, Path(f"notebooks/{name}.ipynb"), {}, Traffic((), (f"figures/{made}",)))
        manifest = read_manifest(checkout)
        assert (set(manifest["files"]), set(manifest["notebooks"])) == ({f"figures/{made}"}, {name})
        assert {path.name for path in (checkout / "figures").glob("*.csv")} == {made}


def compare(checkout: Path) -> subprocess.CompletedProcess:
    """Compare the figures of a checkout, as ``make verify`` does when they are made again."""
    command = ["make", "-s", "-f", ROOT / "Makefile", "compare-figures"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True)


def test_a_figure_that_is_not_as_committed_is_listed_and_fails(checkout):
    (checkout / ".gitignore").write_text("/figures/live/\n")
    name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*name, "commit", "-qm", "a"]):
        subprocess.run(["git", "-C", checkout, *command], check=True)
    (checkout / "figures" / "live").mkdir()
    (checkout / "figures" / "live" / "one.png").touch()
    (checkout / "notes.txt").write_text("no figure")
    done = compare(checkout)
    assert (done.stdout, done.returncode) == ("All figures and tables are the same\n", 0)
    (checkout / "figures/one.csv").write_text("load,gain\n60,2.0000001\n")
    done = compare(checkout)
    assert "figures/one.csv" in done.stdout
    assert done.stderr.startswith("rrl: figures/ is not as it was")
    assert done.returncode


def test_without_anything_to_compare_with_the_remedy_is_said(checkout, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(checkout.parent))
    done = compare(checkout)
    assert "no committed figures here: copy figures/ elsewhere" in done.stderr
    assert done.returncode
