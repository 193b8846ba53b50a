"""The project around the package: one list of dependencies, light imports, the same last bit."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections import defaultdict
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_rooms import all_imports

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DECLARED = [
    Requirement(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
]


@pytest.fixture(scope="module")
def pins():
    """Versions in the lock by name."""
    found = defaultdict(list)
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.MULTILINE):
        found[canonicalize_name(name)].append(version)
    return found


@pytest.mark.parametrize("requirement", DECLARED, ids=str)
def test_the_lock_pins_every_dependency_inside_its_range(requirement, pins):
    versions = pins[canonicalize_name(requirement.name)]
    assert versions
    assert all(requirement.specifier.contains(version) for version in versions)


def test_every_package_that_is_imported_is_declared():
    """What comes with another package alone may be gone with its next version."""
    extras = chain(*PROJECT["optional-dependencies"].values())
    lines = ["rrl", *PROJECT["dependencies"], *extras]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    installed = packages_distributions() | {"rrl": ["rrl"]}
    for one in all_imports():  # the extras need not be installed
        owners = set(map(canonicalize_name, installed.get(one.module.split(".")[0], ())))
        assert not owners or owners & declared, one


def test_conda_gets_the_lock_and_a_python_in_range():
    python, *_, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert pip == {"pip": ["--require-hashes", "-r requirements.lock"]}
    supported = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert supported.contains(python.removeprefix("python=") + ".0")


HEAVY = ("tensorflow", "skopt", "sklearn", "gymnasium", "papermill", "matplotlib", "pandas")
#: What `rrl --help` imports.
COMMANDS = "rrl.operating.profiling, rrl.operating.racing, rrl.operating.tune"
LOADS = "rrl.workloads.workload, rrl.workloads.modulated, rrl.workloads.trace"


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        (f"rrl.cli, rrl.publishing.reproduce, {COMMANDS}, {LOADS}", (*HEAVY, "numba", "scipy")),
        ("rrl.core.rrl, rrl.tuning.loop", HEAVY),
        ("rrl.serving.local_server", ("tornado", "rrl.serving.rest", "tensorflow")),
    ],
)
def test_an_import_loads_nothing_heavy(modules, unwanted):
    script = f"import sys, {modules}; print([m for m in {unwanted} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


RUN = """
import sys
import numpy as np
from rrl import Poisson, testbed, tune
from rrl.rivals.agents import maker
server, rng = testbed("cpu2"), np.random.default_rng(0)
tune(server, maker({name!r})(server.space, rng), Poisson(50.0), 30, rng)
print(sorted(m for m in sys.modules if m.startswith("rrl.extension.")))
"""


@pytest.mark.parametrize("name", ["rrl", "rrl-adaptive", "rrl-released"])
def test_a_run_of_the_method_reads_no_line_of_the_extension(name):
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(name=name)], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


# --- The same numbers and figures on all processors, whatever a shell or git has set -------------

KERNELS = (
    "import numpy, scipy.linalg, threadpoolctl as t;"
    "print(*{b['architecture'] for b in t.threadpool_info() if b['user_api'] == 'blas'})"
)
FEATURES = "from numpy._core._multiarray_umath import __cpu_features__ as f; print(f['X86_V4'])"
FIGURES = "import matplotlib as m; print(m.rcParams['savefig.transparent'])"
HOOK = "import os; print('GIT_DIR' in os.environ)"  # git sets it while a worktree is pushed
WORKERS = "import os; print(os.environ['RRL_WORKERS'])"


@pytest.mark.parametrize(
    ("code", "needs", "printed"),
    [
        (KERNELS, "avx2", "Haswell"),
        (FEATURES, "avx512f", "False"),
        (FIGURES, "", "False"),
        (HOOK, "", "False"),
        (WORKERS, "", "3"),
    ],
    ids=["linear algebra", "exponential", "style", "repository", "processes"],
)
def test_make_sets_what_decides_whatever_else_is_set(code, needs, printed, tmp_path):
    if needs not in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        pytest.skip(f"this processor has no {needs}")
    (tmp_path / "matplotlibrc").write_text("savefig.transparent: True\n")
    own = {"OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES"}
    outside = {k: v for k, v in os.environ.items() if k not in own}
    outside |= {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "MPLCONFIGDIR": str(tmp_path)}
    outside |= {"GIT_DIR": str(tmp_path), "RRL_WORKERS": "3"}
    recipe = f"print: ; @{shlex.quote(sys.executable)} -c {shlex.quote(code)}"
    command = ["make", "-s", "--eval", recipe, "print"]
    done = subprocess.run(command, cwd=ROOT, env=outside, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (f"{printed}\n", 0), done.stderr


def test_no_notebook_reads_what_another_makes():
    """They run side by side, in any order."""
    manifest = json.loads((ROOT / "figures" / "manifest.json").read_text(encoding="utf-8"))
    read = {path for entry in manifest["notebooks"].values() for path in entry["read"]}
    assert read & set(manifest["files"]) == set()
