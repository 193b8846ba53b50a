"""The project around the package: one list of dependencies, light imports, the same last bit."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_rooms import DECLARED, PROJECT, ROOT

# --- Dependencies: declared once ---------------------------------------------------------------


def pins() -> dict[str, list[tuple[str, int]]]:
    """Versions in the lock by name, each with its number of hashes."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]
    found: dict[str, list[tuple[str, int]]] = {}
    for entry in entries:
        name, version = re.match(r"([\w.-]+)==([^\s;]+)", entry).groups()
        found.setdefault(canonicalize_name(name), []).append((version, entry.count("--hash=")))
    return found


@pytest.mark.parametrize("requirement", DECLARED, ids=str)
def test_the_lock_pins_every_dependency_inside_its_range(requirement):
    versions = pins()[canonicalize_name(requirement.name)]
    assert all(requirement.specifier.contains(version) for version, _ in versions)


def test_every_pin_has_hashes():
    assert len(pins()) > len(DECLARED)
    assert [name for name, entries in pins().items() if any(not n for _, n in entries)] == []


def test_conda_gets_the_same_lock_and_a_python_in_range():
    *conda, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert pip == {"pip": ["--require-hashes", "-r requirements.lock"]}
    assert conda[1:] == ["pip"]
    name, version = conda[0].split("=")
    assert name == "python"
    supported = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert supported.contains(version + ".0")


def test_importing_the_package_and_its_commands_loads_nothing_heavy():
    heavy = ("tensorflow", "skopt", "sklearn", "gymnasium", "papermill", "matplotlib", "pandas")
    light = (*heavy, "numba", "scipy")
    script = (
        "import sys, rrl, rrl.cli, rrl.publishing.reproduce\n"
        "from rrl.operating import profiling, racing, replay, tune\n"  # what `rrl --help` imports
        "import rrl.workloads.workload, rrl.workloads.modulated, rrl.workloads.trace\n"
        f"print([m for m in {light} if m in sys.modules])\n"
        "import rrl.core.rrl, rrl.tuning.loop\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n[]\n", "")


# --- The same numbers and figures on all processors, whatever a shell has set --------------------

KERNELS = (
    "import numpy, scipy.linalg, threadpoolctl as t;"
    "print(*{b['architecture'] for b in t.threadpool_info() if b['user_api'] == 'blas'})"
)
FEATURES = "from numpy._core._multiarray_umath import __cpu_features__ as f; print(f['X86_V4'])"
FIGURES = "import matplotlib as m; print(m.rcParams['savefig.transparent'])"


@pytest.mark.parametrize(
    ("code", "needs", "printed"),
    [(KERNELS, "avx2", "Haswell"), (FEATURES, "avx512f", "False"), (FIGURES, "", "False")],
    ids=["linear algebra", "exponential", "style"],
)
def test_make_sets_what_decides_the_last_bit(code, needs, printed, tmp_path):
    if needs not in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        pytest.skip(f"this processor has no {needs}")
    (tmp_path / "matplotlibrc").write_text("savefig.transparent: True\n")
    own = {"OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES"}
    outside = {k: v for k, v in os.environ.items() if k not in own}
    outside |= {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "MPLCONFIGDIR": str(tmp_path)}
    recipe = f"print: ; @{shlex.quote(sys.executable)} -c {shlex.quote(code)}"
    command = ["make", "-s", "--eval", recipe, "print"]
    done = subprocess.run(command, cwd=ROOT, env=outside, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (f"{printed}\n", 0), done.stderr


def test_no_notebook_reads_what_another_makes():
    """They run side by side, in any order."""
    manifest = json.loads((ROOT / "figures" / "manifest.json").read_text(encoding="utf-8"))
    read = {path for entry in manifest["notebooks"].values() for path in entry["read"]}
    assert read & set(manifest["files"]) == set()
