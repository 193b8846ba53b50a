"""The model that `rrl tune` serves, its version, and the requests; all is checked at once."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rrl.operating.log import LOG
from rrl.operating.options import ModelOptions, refuse
from rrl.serving import models
from rrl.serving.elsewhere import Elsewhere
from rrl.serving.launcher import LOCAL, find_executable, kind_of
from rrl.serving.sample import WARMUP, Inputs, fit, random_inputs, read_sample
from rrl.serving.saved_model import FILE, newest_version, saved_inputs
from rrl.support.errors import DataError, HangError


def about(options: ModelOptions, place: Elsewhere | None = None) -> dict[str, Any]:
    """Return what must be the same when a run continues: the model, the server, the requests.

    A server elsewhere is known by its address and its commands.
    """
    version, folder = newest_version(model_path(options.model))
    sample = options.sample
    return {
        "model": f"version {version}, {digest(folder)}",
        "server": str(place)
        if place
        else _server_version(find_executable(options.executable), options.start_timeout),
        "signature": options.signature,
        "sample": sample and f"{sample.name} ({digest(sample)})",
    }


def model_path(model: str) -> Path:
    """Return the base path of a known model (built if it is missing), or the given path.

    Raises
    ------
    DataError
        If the path has no version of a model.
    """
    if model in models.MODELS:
        return models.build(model)
    if (Path(model) / FILE).is_file():
        if Path(model).resolve().name.isdecimal():
            raise DataError(f"{model}: a version of a model; give the folder that contains it")
        raise DataError(
            f"{model}: a SavedModel without a number; move what is in it to {model}/1/, as "
            "TensorFlow Serving needs it, and give the same folder"
        )
    try:
        newest_version(Path(model))
    except DataError:
        raise DataError(
            f"{model}: not a known model ({', '.join(models.MODELS)}), and no folder of that name "
            f"with a model version: it needs {model}/1/"
        ) from None
    return Path(model)


def read_requests(options: ModelOptions, seed: int) -> tuple[list[Inputs], int]:
    """Return the requests to send, and the examples in the largest one.

    They are the given ones, or else the model's warm-up requests, or else random ones: a line says
    so.

    A SavedModel says which inputs its signature has. So a request that does not fit is refused
    before a server starts.

    Raises
    ------
    DataError
        If the sample is no sample, or a request has no example.
    LastingError
        If the model has no such signature, or a request does not fit it.
    UsageError
        If random values would be of no use, because an input is a text. A known model takes no
        other requests than its own.
    """
    if options.model in models.MODELS:  # the server makes a random one, when it has the model
        refuse(options, ("sample", "signature"), "with a known model, which has its own requests")
        return [], 1
    sample = options.sample
    _, newest = newest_version(model_path(options.model))
    needed = saved_inputs(newest, options.signature)
    if sample is None and (newest / WARMUP).exists():
        sample = newest / WARMUP
    inputs: list[Inputs]
    if sample is None:
        made = random_inputs(needed, np.random.default_rng([seed, 4]))
        shapes = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in made.items())
        inputs = [made]
        LOG.info(f"no --sample: the requests of rrl have random values of {shapes}")
    elif sample.is_dir():
        raise DataError(f"{sample}: a folder; give a file with a request")
    else:
        inputs = read_sample(sample, options.signature)
    for request in inputs:
        fit(request, needed)
    sizes = [np.shape(array)[:1] for request in inputs for array in request.values()]
    if (0,) in sizes:
        raise DataError(f"{sample}: a request without an example; give at least one row")
    return inputs, max((size[0] for size in sizes if size), default=1)


# --- what is measured -----------------------------------------------------------------------------


def digest(path: Path) -> str:
    """Return a digest of a file, or of all files of a folder: their names and their contents.

    Files in linked folders count, too, as a deployment may link to a shared `variables` folder.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "saved_model.pb").write_bytes(b"graph")
    ...     digest(Path(folder))
    'sha256 5df3901e39f6'
    """
    found = hashlib.sha256()
    within = ((Path(folder), names) for folder, _, names in os.walk(path, followlinks=True))
    files = [folder / name for folder, names in within for name in names] or [path]
    for one in sorted(one for one in files if one.is_file()):
        found.update(f"{one.relative_to(path).as_posix()}\0".encode())
        with one.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256 {found.hexdigest()[:12]}"


def _server_version(command: Sequence[str], timeout_s: float) -> str:
    """Return the version of the server that a command of `find_executable` starts.

    Raises
    ------
    HangError
        If it does not answer. Then it would not start either, and waiting for that takes as long.
    """
    if kind_of(command) == LOCAL:
        from importlib.metadata import version

        return f"local server on TensorFlow {version('tensorflow')}"
    try:
        done = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, errors="replace",
            timeout=timeout_s, check=False,
        )  # fmt: skip
    except OSError:
        return "unknown"
    except subprocess.TimeoutExpired:
        raise HangError(
            f"{command[0]} hangs: it has not answered --version within {timeout_s:g} s, which is "
            "the whole limit for its start (--start-timeout)"
        ) from None
    return next((line.strip() for line in done.stdout.splitlines() if line.strip()), "unknown")
