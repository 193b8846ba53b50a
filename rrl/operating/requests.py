"""The model that `rrl tune` serves, and the requests that it sends."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rrl.operating.options import given
from rrl.support.errors import DataError

if TYPE_CHECKING:
    from rrl.serving.sample import Inputs


def about(options: Namespace) -> dict[str, Any]:
    """Return what must be the same when a run continues: the model, the server, the requests."""
    calls = {name: getattr(options, name) for name in ("signature", "deadline")}
    calls = {name: value for name, value in calls.items() if given(options, name)}
    if options.address:
        return calls  # the others are asked for when the run begins, and a change is noted
    from rrl.serving.identity import model_digest, server_version
    from rrl.serving.launcher import find_executable
    from rrl.serving.servable import found_versions

    version, folder = max(found_versions(model_path(options.model)).items())
    return {
        "model": f"version {version}, {model_digest(folder)}",
        "server": server_version(find_executable(options.executable)),
        **calls,
    }


def model_path(model: str) -> Path:
    """Return the base path of a known model (built if it is missing), or the given path.

    Raises
    ------
    DataError
        If the path has no version of a model.
    """
    from rrl.serving import models
    from rrl.serving.servable import newest_version

    if model in models.MODELS:
        return models.build(model)
    if newest_version(Path(model)) is None:
        raise DataError(
            f"{model}: not a known model ({', '.join(models.MODELS)}), and no folder of that name "
            f"with a model version: it needs {model}/1/"
        )
    return Path(model)


def read_requests(options: Namespace) -> tuple[list[Inputs] | None, int]:
    """Return the requests to send, and the number of examples in the largest one.

    They are the given ones, or the model's own warm-up requests. None stands for requests of one
    example, which are made later.
    """
    from rrl.serving import models
    from rrl.serving.sample import WARMUP, read_sample
    from rrl.serving.servable import found_versions

    requests = None
    if options.sample:
        requests = read_sample(options.sample, options.signature)
    elif options.model is not None and options.model not in models.MODELS:
        _, newest = max(found_versions(model_path(options.model)).items())
        recorded = newest / WARMUP
        requests = read_sample(recorded, options.signature) if recorded.exists() else None
    sizes = [np.shape(array)[:1] for request in requests or () for array in request.values()]
    return requests, max((size[0] for size in sizes if size), default=1)
