"""TensorFlow without its start-up messages on stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Discard what C++ code writes to stderr inside the block; exceptions pass through as usual.

    The root logger keeps the handlers that it had: TensorFlow adds one when it saves a model, which
    would say each line of a command again.

    TensorFlow starts with lines that no log level turns off ("All log messages before
    absl::InitializeLog() is called are written to STDERR"). These lines disturb a notebook. They
    also disturb a command that promises one clear line on stderr.
    """
    root = logging.getLogger()
    handlers = list(root.handlers)
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
        root.handlers[:] = handlers


def load_tensorflow() -> None:
    """Import TensorFlow without messages; the first import takes seconds."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        logging.getLogger("tensorflow").setLevel(logging.WARNING)
        with quiet():
            import tensorflow  # noqa: F401
