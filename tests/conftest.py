"""What all tests share: where caches go, and how hypothesis runs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest
from hypothesis.configuration import set_hypothesis_home_dir

os.environ.setdefault("MPLBACKEND", "Agg")  # figures need no display
# TensorFlow without Keras, also in the processes that tests start: half of its import time.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# A shell starts background jobs deaf to Ctrl-C, and children inherit that; the tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, and no verdict by the clock of a shared machine.
set_hypothesis_home_dir(Path(__file__).parent.parent / "build" / "hypothesis")
hypothesis.settings.register_profile("rrl", derandomize=True, deadline=None)
hypothesis.settings.load_profile("rrl")


@pytest.fixture(autouse=True, scope="session")
def _lock_and_temporary_files_of_its_own(tmp_path_factory):
    """Tests do not wait for whoever measures on this machine, nor make them wait."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.getbasetemp()
        patch.setattr("rrl.support.machine.LOCK", folder / "machine.lock")
        patch.setattr("tempfile.tempdir", str(folder))
        patch.setenv("TMPDIR", str(folder))  # for the processes that they start
        yield
