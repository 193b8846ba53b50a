"""The course's notebooks run from top to bottom, in a quick setting."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from rrl.publishing.execute import execute

ROOT = Path(__file__).parent.parent
QUICK: dict[str, dict[str, object]] = {  # of the notebooks that take long otherwise
    "00_quickstart": {"episodes": 6, "rounds": 4},
    "01_region_update": {"seeds": 4},
    "11_simulator": {
        "requests": 50_000,
        "profile": "inception_v3-threads",
        "others": [],
        "folds": 2,
        "loads": {"cpu2": [115]},
        "replications": 4,
    },
    "03_similarity_and_convergence": {
        "simulated_loads": {"cpu2": 115},
        "recorded_loads": {},
        "measurements": 16,
        "seeds": 2,
        "episodes": 30,
        "replications": 10,
        "grid_replications": 20,
    },
    "06_recommended_parts": {"episodes": 12, "seeds": 3},
    "04_theory_bound": {"instances": 200, "covers": 40, "replications": 20, "tables": 3},
    "05_adaptive_rrl": {
        "seeds": 2,
        "from_file": False,
        "horizons": [20, 40],
        "radii": [0.0, 1.0],
        "surfaces": ["pool", "wide, 4 times as fine"],
    },
    "07_experiments": {
        "seeds": 2,
        "episodes": 12,
        "table_episodes": 6,
        "phases_episodes": 30,
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
    "08_claims": {
        "seeds": 2,
        "most_episodes": 12,
        "replications": 3,
        "only": "keyword-threads mobilenet_v2-threads gpu",
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
EXPLORER = ROOT / "notebooks" / "10_explorer.ipynb"
#: Printed numbers of the explorer, computed again from its arrays when all its cells have run.
AGAIN = """
table, truth = explorer.agent.table(explorer.load), explorer.truth[explorer.load]
estimates = np.isfinite(table.sds).sum() / (table.visits > 0).sum()
print(f"{estimates:.1f} have an estimate")
print(f"Film: {len({moment.measured for moment in moments})} of {len(explorer.server.space)}")
print(f"{truth[moments[-1].incumbent] / truth.min():.2f} times the best")
"""


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def run(notebook: Path, folder: Path, name: str) -> dict[str, str]:
    """Run a notebook in its quick setting; return what each cell prints."""
    parameters = QUICK.get(name, {}) | {"figures": str(folder / "figures")}
    execute(notebook, folder / "executed.ipynb", parameters, cell_timeout=600)
    assert list((folder / "figures").glob("*.png"))
    return {
        cell.id: "".join(out.get("text", "") for out in cell.outputs)
        for cell in read(folder / "executed.ipynb").cells
        if cell.cell_type == "code"
    }


@pytest.mark.long  # minutes
@pytest.mark.parametrize(
    "notebook", [path for path in NOTEBOOKS if path != EXPLORER], ids=lambda path: path.stem
)
def test_runs(notebook, tmp_path):
    run(notebook, tmp_path, notebook.stem)


def test_the_explorer_runs_and_its_printed_answers_are_those_of_its_arrays(tmp_path):
    """An exercise's check had once taken the name of an array that the answer counts."""
    notebook = read(EXPLORER)
    notebook.cells.append(new_code_cell(AGAIN, id="again"))
    for folder in ("data", "build"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / EXPLORER.name)
    printed = run(tmp_path / "notebooks" / EXPLORER.name, tmp_path, EXPLORER.stem)
    assert len(printed["again"].splitlines()) == 3
    assert all(line in printed["numbers"] for line in printed["again"].splitlines())


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_writes_figures_where_git_ignores_them(notebook):
    """The runner replaces the parameter, which has to be in the first code cell."""
    first = next(cell for cell in read(notebook).cells if cell.cell_type == "code")
    assert first.metadata.get("tags") == ["parameters"]
    assert 'figures = "../build/figures"' in first.source
