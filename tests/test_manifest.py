"""The manifest names what figures were made from, and what is not as it was is found."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rrl.publishing.manifest import read_manifest, record
from rrl.publishing.tracing import Traffic

ROOT = Path(__file__).parent.parent


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


def test_a_notebook_without_files_goes(checkout):
    record(checkout, Path("notebooks/2.ipynb"), {}, SEEN)  # 1 has got another name
    assert set(read_manifest(checkout)["notebooks"]) == {"2"}
    assert read_manifest(checkout)["files"]["figures/one.csv"]["notebook"] == "2"


def test_what_a_notebook_made_goes_with_it(checkout):
    (checkout / "notebooks" / "1.ipynb").rename(checkout / "notebooks" / "2.ipynb")
    (checkout / "figures" / "two.csv").touch()
    record(checkout, Path("notebooks/2.ipynb"), {}, Traffic((), ("figures/two.csv",)))
    manifest = read_manifest(checkout)
    assert (set(manifest["files"]), set(manifest["notebooks"])) == ({"figures/two.csv"}, {"2"})
    assert not (checkout / "figures" / "one.csv").exists()


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
