"""The manifest names what figures were made from, and what is not as it was is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rrl.publishing.manifest import read_manifest, record
from rrl.publishing.tracing import Traffic, traffic
from rrl.support.provenance import DRAWING, NUMERICAL, digest, locked

ROOT = Path(__file__).parent.parent
FIRST = Traffic(("data/p/episodes.csv",), ("figures/one.csv", "figures/one.png"))
SECOND = Traffic(("figures/one.csv",), ("figures/two.csv",))


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    root = tmp_path / "checkout"
    texts = {
        "data/p/episodes.csv": "1",
        "figures/one.csv": "load,gain\n60,2.0\n",
        "figures/one.png": "drawing",
        "figures/two.csv": "gain\n2.0\n",
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    record(root, Path("notebooks/1.ipynb"), {"seed": 7}, FIRST)
    record(root, Path("notebooks/2.ipynb"), {"factors": (1.2, 2.0)}, SECOND)
    monkeypatch.chdir(root)
    return root


def test_entries_name_inputs_seeds_versions_and_the_maker(checkout):
    entries = read_manifest(checkout)
    assert entries["files"]["figures/one.png"] == {
        "sha256": digest(checkout / "figures/one.png"),
        "notebook": "1",
    }
    notebook = entries["notebooks"]["1"]
    assert notebook["read"] == {"data/p/episodes.csv": digest(checkout / "data/p/episodes.csv")}
    assert set(notebook) == {"parameters", "read", "results", "packages"}
    assert notebook["parameters"] == {"seed": 7}
    assert notebook["packages"] == locked((*NUMERICAL, *DRAWING))
    assert entries["notebooks"]["2"]["parameters"] == {"factors": [1.2, 2.0]}


def test_stored_results_are_named_without_their_files(checkout):
    read = ("data/results/index.json", "data/results/gpu/a-9.npz", "data/results/tables/b/c.csv")
    record(checkout, Path("notebooks/1.ipynb"), {}, FIRST._replace(read=(*FIRST.read, *read)))
    entry = read_manifest(checkout)["notebooks"]["1"]
    assert entry["results"] == ["gpu/a-9", "tables/b"]
    assert list(entry["read"]) == ["data/p/episodes.csv"]


def test_what_a_notebook_no_longer_makes_goes_and_so_does_a_notebook_without_files(checkout):
    record(checkout, Path("notebooks/1.ipynb"), {}, FIRST._replace(written=("figures/one.csv",)))
    assert not (checkout / "figures/one.png").exists()
    assert set(read_manifest(checkout)["files"]) == {"figures/one.csv", "figures/two.csv"}
    record(checkout, Path("notebooks/3.ipynb"), {}, SECOND)  # 2 has got another name
    assert set(read_manifest(checkout)["notebooks"]) == {"1", "3"}


# --- What is not as it was ------------------------------------------------------------------------

CHANGES = {
    "other bytes": (lambda path: path.write_text("load,gain\n60,2.0000001\n"), "one.csv"),
    "missing": (Path.unlink, "one.csv"),
    "not committed": (lambda path: path.with_name("three.csv").touch(), "three.csv"),
    "another seed": (
        lambda path: record(path.parent.parent, Path("notebooks/1.ipynb"), {"seed": 8}, FIRST),
        "manifest.json",
    ),
}


def git(root: Path, *command: str) -> None:
    name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", root, *name, *command], check=True)


def compare(checkout: Path) -> subprocess.CompletedProcess:
    """Compare the figures of a checkout, as ``make verify`` does when they are made again."""
    command = ["make", "-s", "-f", ROOT / "Makefile", "compare-figures"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True)


@pytest.fixture
def committed(checkout):
    """The checkout, committed as it is now."""
    (checkout / ".gitignore").write_text("/figures/live/\n")
    git(checkout, "init", "-q")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "a")
    return checkout


def test_the_same_files_are_said(committed):
    (committed / "figures" / "live").mkdir()
    (committed / "figures" / "live" / "one.png").touch()
    (committed / "data/p/episodes.csv").write_text("2")
    done = compare(committed)
    assert (done.stdout, done.returncode) == ("All figures and tables are the same\n", 0)


@pytest.mark.parametrize("change", CHANGES)
def test_a_difference_however_small_is_listed_and_fails(change, committed):
    act, name = CHANGES[change]
    act(committed / "figures" / "one.csv")
    git(committed, "add", ".")  # still not committed
    done = compare(committed)
    (line,) = done.stdout.splitlines()
    assert name in line
    assert done.stderr.startswith("rrl: figures/ is not as it was")
    assert done.returncode


def test_without_anything_to_compare_with_the_remedy_is_said(checkout, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(checkout.parent))
    done = compare(checkout)
    assert "no committed figures here: copy figures/ elsewhere" in done.stderr
    assert done.returncode


# --- What is watched ----------------------------------------------------------------------------

PROGRAM = """
import os, sys
from rrl.publishing.tracing import watch
watch(sys.argv[1], sys.argv[2])
os.chdir("notebooks")
open("../data/a b.csv").close()
open("../data/a b.csv").close()
open("../figures/t.csv", "w").close()
open("../figures/t.csv").close()
open("../figures/.x", "w").close()
os.replace("../figures/.x", "../figures/x.png")
open("../notes.txt").close()
open("../data/results/x.npz", "rb").close()
open(sys.executable, "rb").close()
"""


def test_a_process_is_seen_reading_and_writing(tmp_path):
    for name in ("notebooks", "data/results", "figures"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("data/a b.csv", "data/unread.csv", "data/results/x.npz", "notes.txt"):
        (tmp_path / name).touch()
    log = tmp_path / "log"
    command = [sys.executable, "-c", PROGRAM, str(log), str(tmp_path)]
    subprocess.run(command, check=True, cwd=tmp_path)
    read = ("data/a b.csv", "data/results/x.npz")
    assert traffic(log, tmp_path) == Traffic(read, ("figures/t.csv", "figures/x.png"))
