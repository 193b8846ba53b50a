"""The course's notebooks run from top to bottom, in a quick setting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
    "10_explorer": {"episodes": 10, "steps": 20, "seeds": 3, "film": 3},
}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
WITH_EXERCISES = [path for path in NOTEBOOKS if '"exercise"' in path.read_text(encoding="utf-8")]
WITHOUT = [path for path in NOTEBOOKS if path not in WITH_EXERCISES]  # test_course runs the others


@pytest.mark.parametrize("notebook", WITHOUT, ids=lambda path: path.stem)
def test_runs(notebook, tmp_path):
    parameters = QUICK.get(notebook.stem, {}) | {"figures": str(tmp_path / "figures")}
    output = tmp_path / notebook.name
    execute(notebook, output, parameters, cell_timeout=600)
    cells = json.loads(output.read_text())["cells"]
    errors = [o for c in cells for o in c.get("outputs", ()) if o["output_type"] == "error"]
    assert not errors
    assert list((tmp_path / "figures").glob("*.png"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_has_parameters_and_no_outputs(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code[0]["metadata"].get("tags") == ["parameters"], "the first code cell has the tag"
    assert 'figures = "../build/figures"' in "".join(code[0]["source"])  # git ignores it
    for cell in code:
        ran = cell["execution_count"], cell["outputs"]
        assert ran == (None, []), "`make format` strips the outputs"
