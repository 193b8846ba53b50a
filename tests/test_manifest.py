"""The manifest names what figures were made from, and verifying finds what is not as it was."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rrl.publishing import manifest
from rrl.publishing.manifest import folder, main, record, verify
from rrl.publishing.tracing import Traffic, traffic
from rrl.support.errors import DataError, UsageError
from rrl.support.provenance import DRAWING, NUMERICAL, digest, locked

ROOT = Path(__file__).parent.parent
FIRST = Traffic(("data/p/episodes.csv", "rrl/a.py"), ("figures/one.csv", "figures/one.png"))
SECOND = Traffic(("figures/one.csv", "rrl/a.py"), ("figures/two.csv",))


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "checkout"
    texts = {
        "data/p/episodes.csv": "1",
        "rrl/a.py": "a = 1",
        "figures/one.csv": "load,gain\n60,2.0\n",
        "figures/one.png": "drawing",
        "figures/two.csv": "gain\n2.0\n",
        "notebooks/1.ipynb": "{}",
        "notebooks/2.ipynb": "{}",
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    enter(root)
    return root


def enter(root: Path) -> None:
    record(root, root / "notebooks/1.ipynb", {"seed": 7}, FIRST)
    record(root, root / "notebooks/2.ipynb", {"factors": (1.2, 2.0)}, SECOND)  # a tuple


@pytest.fixture
def before(checkout):
    copy = checkout.parent / "before"
    shutil.copytree(checkout, copy)
    return folder(copy)


def test_entries_name_inputs_seeds_versions_and_the_maker(checkout):
    entries = json.loads((checkout / manifest.NAME).read_text())
    assert entries["files"]["figures/one.png"] == {
        "sha256": digest(checkout / "figures/one.png"),
        "notebook": "1",
    }
    notebook = entries["notebooks"]["1"]
    assert notebook["read"] == {"data/p/episodes.csv": digest(checkout / "data/p/episodes.csv")}
    assert set(notebook) == {"parameters", "read", "results", "packages"}
    assert notebook["parameters"] == {"seed": 7}
    assert notebook["packages"] == locked((*NUMERICAL, *DRAWING))


def test_the_words_of_the_code_change_no_line_and_stored_results_are_named(checkout):
    text = (checkout / manifest.NAME).read_bytes()
    (checkout / "rrl/a.py").write_text("a = 1  # one")
    record(checkout, checkout / "notebooks/1.ipynb", {"seed": 7}, FIRST)
    assert (checkout / manifest.NAME).read_bytes() == text
    read = ("data/results/index.json", "data/results/gpu/a-9.npz", "data/results/tables/b/c.csv")
    record(checkout, checkout / "notebooks/1.ipynb", {}, FIRST._replace(read=(*FIRST.read, *read)))
    entry = json.loads((checkout / manifest.NAME).read_text())["notebooks"]["1"]
    assert entry["results"] == ["gpu/a-9", "tables/b"]
    assert not set(entry["read"]) & set(read)


def test_other_bytes_are_a_difference_however_small_with_what_has_changed(checkout, before):
    assert verify(checkout, before) == {}
    (checkout / "figures/one.csv").write_text("load,gain\n60,2.0000001\n")
    enter(checkout)
    assert verify(checkout, before) == {
        "figures/one.csv": "other bytes from the same data, versions and parameters"
    }
    record(checkout, checkout / "notebooks/1.ipynb", {"seed": 8}, FIRST)
    assert verify(checkout, before)["figures/one.csv"] == "other bytes (changed: parameters)"
    (checkout / "data/p/episodes.csv").write_text("2")
    enter(checkout)
    assert (
        verify(checkout, before)["figures/one.csv"] == "other bytes (changed: data/p/episodes.csv)"
    )


def test_missing_touched_and_new_files_are_found(checkout, before):
    (checkout / "figures/one.png").unlink()
    (checkout / "figures/two.csv").write_text("by hand")
    (checkout / "figures/three.csv").write_text("")
    third = Traffic((), ("figures/three.csv",))
    record(checkout, checkout / "notebooks/2.ipynb", {}, SECOND)
    (checkout / "figures/two.csv").write_text("by another hand")
    record(checkout, ROOT / "notebooks/00_quickstart.ipynb", {}, third)
    assert verify(checkout, before) == {
        "figures/one.png": "missing; `make reproduce` makes it",
        "figures/two.csv": "other bytes (changed: parameters)",
        "figures/three.csv": "not in the reference",
    }
    record(checkout, checkout / "notebooks/2.ipynb", {}, Traffic((), ()))
    assert verify(checkout, before)["figures/two.csv"] == "no longer made"


def test_the_command_fails_with_a_table_of_differences(checkout, before, capsys):
    reference = str(checkout.parent / "before")
    assert main(["--root", str(checkout), "--reference", reference]) == 0
    assert "3 figures and tables: the same as in the reference" in capsys.readouterr().out
    (checkout / "figures/one.png").unlink()
    assert main(["--root", str(checkout), "--reference", reference]) == 5
    said = capsys.readouterr()
    assert "figures/one.png" in said.out
    assert said.err.startswith("rrl: 1 differences from the reference's 3")


def test_what_git_has_committed_is_the_reference(checkout, capsys):
    assert main(["--root", str(checkout)]) == 2
    assert "not a git checkout" in capsys.readouterr().err
    name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*name, "commit", "-qm", "a"]):
        subprocess.run(["git", "-C", checkout, *command], check=True)
    assert main(["--root", str(checkout)]) == 0
    (checkout / "figures/one.csv").write_text("load,gain\n60,3.0\n")
    enter(checkout)
    subprocess.run(["git", "-C", checkout, "add", "."], check=True)  # not yet committed
    assert main(["--root", str(checkout)]) == 5


def test_a_reference_without_a_manifest_and_a_damaged_one_are_said(checkout, tmp_path):
    with pytest.raises(UsageError, match=r"no figures/manifest\.json: run `make reproduce`"):
        verify(checkout, folder(tmp_path))
    (checkout / manifest.NAME).write_text("{}")
    with pytest.raises(DataError, match="is not a manifest"):
        verify(checkout, folder(checkout))


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


def test_a_compiled_module_counts_as_its_source(tmp_path):
    (tmp_path / "rrl").mkdir()
    (tmp_path / "rrl" / "a.py").touch()
    log = tmp_path / "log"
    log.write_text("r rrl/__pycache__/a.cpython-311.pyc\nr rrl/__pycache__/gone.cpython-311.pyc\n")
    assert traffic(log, tmp_path) == Traffic(("rrl/a.py",), ())
    assert traffic(tmp_path / "none", tmp_path) == Traffic((), ())
