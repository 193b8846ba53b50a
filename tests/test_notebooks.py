"""The course's notebooks run from top to bottom, in other settings than their own."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from rrl.publishing.execute import execute

ROOT = Path(__file__).parent.parent
#: Other settings than the notebooks' own. They are small where results are stored for the own ones
#: alone. A notebook that is not named here runs with another seed.
OTHER: dict[str, dict[str, object]] = {
    "02_profiling": {"others": []},
    "05_adaptive_rrl": {
        "seeds": 2,
        "horizons": [20, 40],
        "drawn": ["drawn-valley-1.5-7", "drawn-valley-15-7"],
    },
    "07_experiments": {
        "seeds": 2,
        "slow_seeds": 1,
        "episodes": 12,
        "replications": 3,
    },
    "09_applications": {
        "seeds": 2,
        "episodes": 8,
        "replications": 4,
        "testbeds": {"cpu2": 115.0},
        "profiles": {"mobilenet_v2-busy": 76.0},
        "length_s": 150.0,
    },
    "10_explorer": {
        "profile": "keyword-threads",
        "episodes": 10,
        "steps": 20,
        "seeds": 2,
        "film": 2,
    },
}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
SOON = "10_explorer"  # the others take minutes


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize(
    "notebook",
    [
        pytest.param(path, id=path.stem, marks=() if path.stem == SOON else pytest.mark.long)
        for path in NOTEBOOKS
    ],
)
def test_runs(notebook, tmp_path):
    other = OTHER.get(notebook.stem, {"seed": 2})
    parameters = other | {"figures": str(tmp_path / "figures")}
    execute(notebook, tmp_path / "executed.ipynb", parameters, cell_timeout=600)
    assert list((tmp_path / "figures").glob("*.png"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_writes_where_git_ignores_it(notebook):
    """The runner replaces the parameter, which has to be in the first code cell."""
    first = next(cell for cell in read(notebook).cells if cell.cell_type == "code")
    assert first.metadata.get("tags") == ["parameters"]
    assert 'figures = "../build/figures"' in first.source
