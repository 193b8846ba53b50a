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

import rrl
from rrl.cli import main as rrl_command

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DECLARED = [
    Requirement(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATING = (ROOT / "rrl" / "operating" / "README.md").read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z-]+):.*## ", MAKEFILE, flags=re.MULTILINE)


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


def test_the_lock_is_made_by_make_lock():
    made_by = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()[1]
    recipe = " ".join(MAKEFILE.replace("\\\n", " ").split())
    assert made_by.removeprefix("#").strip() in recipe


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


def test_nothing_else_lists_dependencies():
    lists = re.compile(r"requirements.*\.(txt|in)|setup\.(py|cfg)|Pipfile.*|.*lock|tox\.ini")
    assert [p.name for p in ROOT.iterdir() if lists.fullmatch(p.name)] == ["requirements.lock"]
    installs = re.findall(r"\binstall ([^;\n]*)", MAKEFILE.split("set-up:\n")[1])
    assert [line.split()[-1] for line in installs] == ["requirements.lock", "."]
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert not re.search(r"(pip|conda|mamba)3? install", notebook.read_text(encoding="utf-8"))


def test_every_import_is_declared():
    """A package that only comes along with another may go with it."""
    distributions = packages_distributions()
    declared = {canonicalize_name(requirement.name) for requirement in DECLARED}
    come_along = {"nbformat", "nbclient", "ipykernel", "jupyter-client"}  # papermill, jupyterlab
    come_along |= {"pillow"}  # matplotlib
    come_along |= {"keras", "protobuf", "packaging"}  # tensorflow, pytest
    come_along |= {"tornado", "requests", "prometheus-client"}  # jupyterlab
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


# --- Papers, versions, words -------------------------------------------------------------------


def test_the_citation_matches_the_package():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cff["version"] == PROJECT["version"] == rrl.__version__
    assert cff["license"] == PROJECT["license"]
    assert cff["authors"] == [{"name": "The rrl authors"}]
    papers = [cff["preferred-citation"], *cff["references"]]
    assert [p["doi"] for p in papers] == ["10.1109/JIOT.2020.2965103", "10.1145/3295500.3356164"]
    assert all(paper["doi"] in README for paper in papers)


def test_the_readme_names_what_there_is(capsys):
    assert set(re.findall(r"\bmake ([a-z]+)\b", " ".join(re.findall("`+[^`]+`+", README)))) <= set(
        TARGETS
    )
    for name in re.findall(r"(?m)^\| `(\S+)`", README):
        assert (ROOT / name).exists(), name
    with pytest.raises(SystemExit, match="0"):
        rrl_command(["--help"])
    helped = capsys.readouterr().out
    commands = re.findall(r"^- `rrl (\w+)", OPERATING, flags=re.MULTILINE)
    assert len(commands) >= 3
    for name in commands:
        assert re.search(rf"^    {name} ", helped, flags=re.MULTILINE), name


def test_hooks_and_continuous_integration_run_the_same_checks():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (local,) = config["repos"]
    assert local["repo"] == "local"
    assert {hook["language"] for hook in local["hooks"]} == {"system"}
    entries = [hook["entry"].split()[-1] for hook in local["hooks"]]
    assert entries == ["lint", "test"]
    assert set(entries) <= set(TARGETS)
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    (command,) = [line for line in script.read_text().splitlines() if not line.startswith("#")]
    assert command.endswith("&& exec make test")


def test_the_workflow_runs_targets_with_pinned_actions_and_few_permissions():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert "permissions" not in job
    assert set(job["strategy"]["matrix"]["target"]) == {"test", "verify"} <= set(TARGETS)
    steps = job["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["make ${{ matrix.target }}"]
    used = [step["uses"] for step in steps if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", name) for name in used), used
    (python,) = [step["with"] for step in steps if "setup-python" in step.get("uses", "")]
    assert in_range(python["python-version"])
    assert (ROOT / python["cache-dependency-path"]).is_file()


def test_binder_and_the_container_have_the_lock_and_a_python_in_range():
    runtime = (ROOT / ".binder" / "runtime.txt").read_text().strip()
    assert in_range(runtime.removeprefix("python-"))
    script = ROOT / ".binder" / "postBuild"
    assert os.access(script, os.X_OK)
    wanted = [line.split("install ")[1].rstrip("; \\") for line in MAKEFILE.split("set-up:\n")[1]
              .splitlines() if "$(PIP) install" in line]  # fmt: skip
    lines = re.findall(r"^pip install --no-cache-dir (.*)", script.read_text(), flags=re.M)
    assert lines == wanted
    recipe = (ROOT / ".devcontainer" / "Dockerfile").read_text()
    assert in_range(re.search(r"^FROM python:(3\.\d+)-", recipe, flags=re.M)[1])


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


def test_make_alone_prints_the_targets(checkout):
    assert checkout.make() == []
    assert [line.split()[1] for line in checkout.out.splitlines()] == TARGETS
    assert {"env", "test", "reproduce", "lab", "lint", "format", "lock", "clean"} < set(TARGETS)


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


def test_no_python_is_one_clear_line(checkout):
    (checkout.path / "python3.12").unlink()
    shim = checkout.path / "python3.11"  # on PATH, and leads nowhere, as pyenv's do
    shim.write_text("#!/bin/sh\necho 'not installed' >&2; exit 127\n")
    shim.chmod(0o755)
    assert checkout.make("env", code=2) == []
    said = [line for line in checkout.err.splitlines() if not line.startswith("make:")]
    assert len(said) == 1
    assert said[0].startswith("rrl: no Python 3.11 to 3.13 with venv: install one")
    checkout.python(checkout.path / "python3.13")
    assert checkout.make("env") == SET_UP


def test_an_active_conda_environment_is_used_but_never_the_base(checkout, tmp_path):
    conda = tmp_path / "conda env"
    checkout.python(conda / "bin" / "python")
    checkout.variables = {"CONDA_PREFIX": str(conda), "CONDA_DEFAULT_ENV": "rrl"}
    assert checkout.make("env") == SET_UP[1:]
    assert checkout.make("env") == []
    assert not (checkout.root / ".venv").exists()
    checkout.variables["CONDA_DEFAULT_ENV"] = "base"
    assert checkout.make("env") == SET_UP
    checkout.variables["CONDA_DEFAULT_ENV"] = "renamed"
    (conda / "condabin").mkdir()
    assert checkout.make("env") == [], "a base of another name, and .venv is there"


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
CHECKS = ["ruff check .", "ruff format --check .", "nbstripout", "pytest"]


@pytest.mark.parametrize("failing", ["", "ruff check", "ruff format", "nbstripout", "pytest"])
def test_make_test_runs_every_check_and_fails_if_one_does(failing, checkout):
    (checkout.root / "notebooks" / "00_a.ipynb").touch()
    checkout.make("env")
    checkout.python(checkout.root / ".venv" / "bin" / "envoy")
    if failing:
        (checkout.root / "fails").write_text(failing)
    ran = checkout.make("test", code=2 if failing else 0)
    assert len(ran) == len(CHECKS)
    assert all(line.startswith(check) for line, check in zip(ran, CHECKS, strict=True))
    assert "--verify notebooks/00_a.ipynb" in ran[2]


def test_the_tests_have_an_envoy_and_nothing_else_installs_it(checkout):
    assert checkout.make("lint") == [*SET_UP, *CHECKS[:2]]
    assert checkout.make("test")[0] == ENVOY
    checkout.python(checkout.path / "envoy")
    assert checkout.make("test")[0] == CHECKS[0]


@pytest.fixture
def course(checkout):
    """Two notebooks, and an environment."""
    for name in ("00_quickstart", "01_next"):
        (checkout.root / "notebooks" / f"{name}.ipynb").touch()
    checkout.make("env")
    return checkout


RUN = "rrl.publishing.reproduce notebooks/00_quickstart.ipynb"
RECORDED = f"{RUN} notebooks/01_next.ipynb --jobs 2"
LIVE = f"{RUN} -f notebooks/live.yml --suffix=-live"
CHECK = "rrl.studies.results check"


def test_reproduce_checks_then_runs_the_notebooks_then_a_live_run(course):
    assert course.make("-j4", "reproduce") == [CHECK, RECORDED, LIVE]
    assert course.make("recorded", "JOBS=1") == [RECORDED.replace("2", "1")]


def test_no_notebook_reads_what_another_makes():
    """They run side by side, in any order."""
    manifest = json.loads((ROOT / "figures" / "manifest.json").read_text(encoding="utf-8"))
    read = {path for entry in manifest["notebooks"].values() for path in entry["read"]}
    assert read & set(manifest["files"]) == set()


def test_sweeps_are_stored_by_the_notebooks_that_have_them(checkout):
    for name, cell in (("1", "from rrl import RegionSize, Sweep, adaptive"), ("2", "x = 1")):
        (checkout.root / "notebooks" / f"{name}.ipynb").write_text(cell)
    checkout.make("env")
    assert checkout.make("results") == [
        "rrl.studies.results renew",
        "rrl.publishing.reproduce notebooks/1.ipynb --jobs 1 --out build/storing "
        "-p figures ../build/storing",
        "rrl.studies.results keep",
    ]
    assert checkout.make("results", "FIGURE=a b") == ["rrl.studies.results renew --figure a b"]


def test_verify_reproduces_without_a_live_run_and_then_compares(course):
    again = "rrl.studies.results verify"
    assert course.make("verify") == [CHECK, again, RECORDED, "rrl.publishing.manifest"]
    assert course.make("verify", "REFERENCE=/some where") == [
        CHECK,
        again,
        RECORDED,
        "rrl.publishing.manifest --reference /some where",
    ]
    (course.root / "fails").write_text("rrl.publishing.manifest")
    course.make("verify", code=2)


@pytest.mark.parametrize(
    ("failing", "ran"),
    [("studies.results", [CHECK]), ("rrl.publishing.reproduce", [CHECK, RECORDED])],
)
def test_what_fails_ends_the_target(failing, ran, course):
    (course.root / "fails").write_text(failing)
    assert course.make("reproduce", code=2) == ran


@pytest.mark.parametrize("user", [0, 1000])
def test_the_lab_also_opens_for_root_and_asks_no_host_for_news(user, course):
    (course.path / "id").write_text(f"#!/bin/sh\necho {user}\n")
    (course.path / "id").chmod(0o755)
    (line,) = course.make("lab")
    assert line.startswith("jupyterlab --ip=127.0.0.1 --LabApp.news_url=None ")
    assert ("--allow-root" in line) == (user == 0)


def test_clean_removes_what_runs_leave_and_no_more(checkout):
    for path in ("build/x", "figures/live/x", "rrl/__pycache__/x", "figures/a.png", ".venv/x"):
        (checkout.root / path).parent.mkdir(parents=True, exist_ok=True)
        (checkout.root / path).touch()
    checkout.make("clean")
    left = {str(p.relative_to(checkout.root)) for p in checkout.root.rglob("*") if p.is_file()}
    assert left == {"Makefile", "requirements.lock", "rrl/a.py", "figures/a.png", ".venv/x"}
