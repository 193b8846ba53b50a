"""The project around the package: one list of dependencies, and a Makefile that keeps its word."""

from __future__ import annotations

import ast
import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DECLARED = [
    Requirement(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
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
    python, pip_itself = conda
    assert pip_itself == "pip"
    name, version = python.split("=")
    assert name == "python"
    assert in_range(version)


def in_range(version: str) -> bool:
    """Whether a version of Python such as 3.11 is one that the package supports."""
    return Requirement(f"python{PROJECT['requires-python']}").specifier.contains(version + ".0")


def test_every_import_is_declared():
    """A package that only comes along with another may go with it."""
    distributions = packages_distributions()
    declared = {canonicalize_name(requirement.name) for requirement in DECLARED}
    come_along = {"nbformat", "nbclient", "ipykernel", "jupyter-client"}  # papermill, jupyterlab
    come_along |= {"pillow"}  # matplotlib
    come_along |= {"keras", "protobuf", "packaging"}  # tensorflow, pytest
    come_along |= {"tornado", "requests"}  # jupyterlab
    come_along |= {"threadpoolctl", "distributed", "configspace"}  # scikit-learn, dask, smac
    come_along |= {"sphinx", "docutils", "axe-playwright-python"}  # the extra `site`
    undeclared = set()
    for path in [*ROOT.glob("rrl/**/*.py"), *ROOT.glob("tests/**/*.py")]:
        local = {"rrl", "tests", "conftest", *(p.stem for p in path.parent.glob("*.py"))}
        for name in imported(path) - local - sys.stdlib_module_names:
            known = {canonicalize_name(d) for d in distributions.get(name, [name])}
            if not known & (declared | come_along):
                undeclared.add((path.name, name))
    assert undeclared == set()


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_importing_the_package_and_its_commands_loads_nothing_heavy():
    heavy = ("tensorflow", "skopt", "pandas", "numba", "matplotlib", "scipy.stats", "papermill")
    script = (
        "import sys, rrl, rrl.publishing.reproduce, rrl.cli; "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# --- The Makefile, with a stand-in for Python ---------------------------------------------------

# Runs -c as it is; writes down what it was to run with -m, and fails if that holds `fails`' words.
STAND_IN = """#!/bin/sh
[ "$1" = -m ] || exec "PYTHON" "$@"
shift
echo "$@" >> log
! { [ -e fails ] && echo "$@" | grep -qF -e "$(cat fails)"; } || exit 1
case "$1" in
    venv) rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
esac
"""

TOOLS = ["sh", "make", "awk", "cat", "cksum", "cp", "find", "grep", "mkdir", "rm", "touch"]


class Checkout:
    """A copy of the Makefile's surroundings, with nothing on PATH but what it is given."""

    def __init__(self, place: Path) -> None:
        self.root = place / "a {b} ü"
        self.path = place / "bin"
        self.variables: dict[str, str] = {}
        for folder in (self.path, *(self.root / f for f in ("rrl", "tests", "notebooks", "data"))):
            folder.mkdir(parents=True)
        for tool in TOOLS:
            (self.path / tool).symlink_to(shutil.which(tool))
        shutil.copy(ROOT / "Makefile", self.root)
        (self.root / "requirements.lock").write_text("one")
        (self.root / "rrl" / "a.py").touch()
        self.python(self.path / "python3.12")

    def python(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STAND_IN.replace("PYTHON", sys.executable))
        path.chmod(0o755)

    def make(self, *args: str, code: int = 0) -> list[str]:
        """Run make; returns what was run with ``python -m`` and keeps what was said."""
        log = self.root / "log"
        log.unlink(missing_ok=True)
        done = subprocess.run(
            ["make", *args],
            cwd=self.root,
            env={"PATH": str(self.path), **self.variables},
            capture_output=True,
            text=True,
        )
        self.out, self.err = done.stdout, done.stderr
        assert done.returncode == code, done.stdout + done.stderr
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


PIP = "pip --disable-pip-version-check --quiet install"
SET_UP = [
    "venv --clear .venv",
    f"{PIP} --require-hashes -r requirements.lock",
    f"{PIP} --no-deps --no-build-isolation -e .",
]


def test_the_environment_is_made_once_and_again_when_the_lock_changes(checkout):
    assert checkout.make("env") == SET_UP
    assert checkout.make("env") == []
    (checkout.root / "requirements.lock").write_text("two")
    assert checkout.make("env") == SET_UP
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    assert checkout.make("env") == SET_UP
    (checkout.root / ".venv" / "bin" / "python").unlink()
    assert checkout.make("env") == SET_UP


@pytest.mark.parametrize(("words", "steps"), [("--require-hashes", 2), ("--no-deps", 3)])
def test_a_half_made_environment_is_made_again(words, steps, checkout):
    fails = checkout.root / "fails"
    fails.write_text(words)
    assert checkout.make("env", code=2) == SET_UP[:steps]
    assert checkout.make("test", code=2) == SET_UP[:steps], "no test in half an environment"
    fails.unlink()
    assert checkout.make("env") == SET_UP


def test_linear_algebra_has_the_same_kernels_on_all_processors():
    if "avx2" not in Path("/proc/cpuinfo").read_text().split():
        pytest.skip("this processor has no AVX2")
    code = (
        "import numpy, scipy.linalg, threadpoolctl as t;"
        "print(*[b['architecture'] for b in t.threadpool_info() if b['user_api'] == 'blas'])"
    )
    recipe = f"kernels: ; @{shlex.quote(sys.executable)} -c {shlex.quote(code)}"
    outside = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    done = subprocess.run(
        ["make", "-s", "--eval", recipe, "kernels"],
        cwd=ROOT,
        env=outside,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) == {"Haswell"}


def test_numpy_has_the_same_exponential_on_all_processors():
    """That for AVX-512 differs in the last bit, and so did drawings."""
    if "avx512f" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no AVX-512")
    code = (
        "from numpy._core._multiarray_umath import __cpu_features__ as found;"
        "print(found['X86_V4'], found['AVX2'])"
    )
    recipe = f"features: ; @{shlex.quote(sys.executable)} -c {shlex.quote(code)}"
    outside = {k: v for k, v in os.environ.items() if k != "NPY_DISABLE_CPU_FEATURES"}
    done = subprocess.run(
        ["make", "-s", "--eval", recipe, "features"],
        cwd=ROOT,
        env=outside,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "True"]


def test_settings_of_matplotlib_do_not_reach_the_figures(tmp_path):
    (tmp_path / "matplotlibrc").write_text("savefig.transparent: True\n")
    code = "import matplotlib as m; print(m.rcParams['savefig.transparent'])"
    recipe = f"own: ; @{shlex.quote(sys.executable)} -c {shlex.quote(code)}"
    for name, value in (("MATPLOTLIBRC", tmp_path / "matplotlibrc"), ("MPLCONFIGDIR", tmp_path)):
        done = subprocess.run(
            ["make", "-s", "--eval", recipe, "own"],
            cwd=ROOT,
            env=os.environ | {name: str(value)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == ["False"], name


@pytest.mark.parametrize(("target", "lock"), [("env", "env"), ("reproduce", "reproduce")])
def test_a_second_make_says_so_and_stops(target, lock, checkout):
    if target == "reproduce":
        checkout.make("env")
    (checkout.root / "build").mkdir(exist_ok=True)
    with (checkout.root / "build" / f"{lock}.lock").open("a") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        assert checkout.make(target, code=2) == []
    assert checkout.err.startswith("rrl: another make is at this already")


ENVOY = f"{PIP} --no-build-isolation -e .[live]"
CHECKS = ["ruff check .", "ruff format --check .", "mypy", "nbstripout", "pytest"]


@pytest.mark.parametrize(
    "failing", ["", "ruff check", "ruff format", "mypy", "nbstripout", "pytest"]
)
def test_make_test_runs_every_check_and_fails_if_one_does(failing, checkout):
    (checkout.root / "notebooks" / "00_a.ipynb").touch()
    checkout.make("env")
    checkout.python(checkout.root / ".venv" / "bin" / "envoy")
    if failing:
        (checkout.root / "fails").write_text(failing)
    ran = checkout.make("test", code=2 if failing else 0)
    assert len(ran) == len(CHECKS)
    assert all(line.startswith(check) for line, check in zip(ran, CHECKS, strict=True))
    assert "--verify notebooks/00_a.ipynb" in ran[3]


def test_the_tests_have_an_envoy_and_nothing_else_installs_it(checkout):
    assert checkout.make("lint") == [*SET_UP, *CHECKS[:3]]
    assert checkout.make("test")[0] == ENVOY
    checkout.python(checkout.path / "envoy")
    assert checkout.make("test")[0] == CHECKS[0]


def test_no_notebook_reads_what_another_makes():
    """They run side by side, in any order."""
    manifest = json.loads((ROOT / "figures" / "manifest.json").read_text(encoding="utf-8"))
    read = {path for entry in manifest["notebooks"].values() for path in entry["read"]}
    assert read & set(manifest["files"]) == set()
