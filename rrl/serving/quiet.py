"""TensorFlow without its greetings on stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what C++ code writes to stderr meanwhile; exceptions pass through as ever.

    TensorFlow greets with lines that no log level silences ("All log messages before
    absl::InitializeLog() is called are written to STDERR"). A command that promises one clear line
    on stderr, or a notebook, is better off without.
    """
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def load_tensorflow() -> None:
    """Import TensorFlow quietly; takes seconds the first time."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        logging.getLogger("tensorflow").setLevel(logging.WARNING)
        with quiet():
            import tensorflow  # noqa: F401
