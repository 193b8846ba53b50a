"""What all tests share: where caches go, how hypothesis runs, and which tests are `long`.

`make test` runs three processes side by side, each with whole files: no test depends on another
file, and the tests of a file share a server where they do not change it. Together they take about
five minutes on two cores. A test that does not fit is marked `long` and is run by
`make test-long`; but of each promise (an exit code, a kind of server, a command, a hand-over, the
guard, a run that goes on, a contract) at least one real test stays in `make test`.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
from pathlib import Path

import hypothesis
import pytest
from hypothesis.configuration import set_hypothesis_home_dir
from probe import build_probe

import rrl.publishing.parameters  # noqa: F401 (it makes the import of nbformat quick)
from rrl.serving.launcher import BINARY, LOCAL

os.environ.setdefault("MPLBACKEND", "Agg")  # figures need no display
# TensorFlow without Keras, also in the processes that tests start: half of its import time.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# The matrices of the tests are small: more threads would only wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# A shell starts background jobs deaf to Ctrl-C, and children inherit that; the tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # by nohup; still ignored, but not inherited
    signal.signal(signal.SIGHUP, lambda *_: None)

# The same examples in every run, no verdict by the clock of a shared machine, and half as many
# examples as usual: each draws a space, a table or a queue.
set_hypothesis_home_dir(Path(__file__).parent.parent / "build" / "hypothesis")
hypothesis.settings.register_profile("rrl", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.load_profile("rrl")


def pytest_configure():
    gc.disable()  # until all tests are collected: what is imported stays


#: Files that take longest: they come first, so that no process has one left when the others end.
FIRST = (
    "test_service",
    "test_handover",
    "test_faults",
    "test_operator",
    "test_reproduce",
    "test_cli",
    "test_launcher",
    "test_serving",
    "test_results",
    "test_data_path",
)


def pytest_collection_modifyitems(items):
    rank = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(FIRST)))


def pytest_collection_finish():
    """Spare the garbage collector what stays: all tests together take a tenth less time."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The folder of a small model, which tests that change it copy."""
    return build_probe(tmp_path_factory.mktemp("models") / "probe")


ORIGINAL = pytest.param(
    BINARY, marks=pytest.mark.skipif(not shutil.which(BINARY), reason=f"no {BINARY} on the PATH")
)


@pytest.fixture(scope="module", params=[LOCAL, ORIGINAL])
def executable(request):
    """The local server, and TensorFlow Serving where it is installed."""
    return request.param


@pytest.fixture(autouse=True)
def _own_signals(monkeypatch):
    """A command takes over three signals; the tests' own process gets them back."""
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    before = {number: signal.getsignal(number) for number in numbers}
    monkeypatch.setattr("rrl.support.errors._came", [])
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _heard(caplog):
    """What a run says is heard, whatever an earlier test has set."""
    caplog.set_level("INFO", "rrl")


@pytest.fixture(autouse=True, scope="session")
def _lock_and_temporary_files_of_its_own(tmp_path_factory):
    """Tests do not wait for a disk or for whoever measures on this machine, nor make them wait."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.getbasetemp()
        patch.setattr("rrl.support.machine.TURN_S", 0.0)
        patch.setattr("os.fsync", lambda file: None)  # only a machine that dies needs it
        patch.setattr("tempfile.tempdir", str(folder))
        patch.setenv("TMPDIR", str(folder))  # for the processes that they start
        patch.setenv("XDG_STATE_HOME", str(folder))
        patch.delenv("RRL_WORKERS", raising=False)  # a test says how many it wants
        yield


# --- In a headless Chromium, without a network ---------------------------------------------------


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture
def tab():
    """A tab that writes down every address it asks for elsewhere than on this machine."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on PATH (apt: chromium)")
    from playwright.sync_api import sync_playwright

    def pass_on(route):
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            tab.elsewhere.append(route.request.url)
            route.abort()

    with sync_playwright() as playwright:
        sandbox = [] if os.getuid() else ["--no-sandbox"]  # root has none
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        tab = browser.new_page()
        tab.elsewhere = []
        tab.route("**/*", pass_on)
        yield tab
        browser.close()
