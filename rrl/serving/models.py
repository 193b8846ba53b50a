"""Make the SavedModels for the measurements from a seed, without a download.

The weights are random, because the latency of a forward pass does not depend on their values but
only on shapes. Inputs are the bytes that a device would send (uint8 pixels, int16 sound). So
requests stay small, and the conversion is part of the served graph.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from rrl.serving.quiet import load_tensorflow, quiet
from rrl.serving.saved_model import FILE
from rrl.support.errors import UsageError

INPUT = "inputs"
SEED = 0  # of the weights


def _image_classifier(architecture: str, side: int, keras: Any) -> Any:
    pixels = keras.Input((side, side, 3), dtype="uint8", name=INPUT)
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    network = getattr(keras.applications, architecture)(weights=None, input_shape=(side, side, 3))
    return keras.Model(pixels, network(scaled, training=False))


def _keyword(keras: Any) -> Any:
    """Map one second of sound to 12 keywords by a depthwise-separable CNN (Zhang et al. 2017)."""
    layers = keras.layers
    sound = keras.Input((16_000,), dtype="int16", name=INPUT)
    x = layers.Rescaling(1 / 32768)(sound)
    x = layers.MelSpectrogram(
        fft_length=512, sequence_stride=320, sequence_length=480, num_mel_bins=40
    )(x)
    x = layers.Reshape((*x.shape[1:], 1))(x)
    x = layers.Conv2D(64, (10, 4), strides=2, padding="same", activation="relu")(x)
    for _ in range(4):
        x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
        x = layers.Conv2D(64, 1, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(sound, layers.Dense(12, activation="softmax")(x))


MODELS: dict[str, Callable[[Any], Any]] = {
    "mobilenet_v2": partial(_image_classifier, "MobileNetV2", 224),  # camera
    "inception_v3": partial(_image_classifier, "InceptionV3", 299),  # the paper's model
    "keyword": _keyword,  # microphone
}
"""Known models by name."""


def build(model: str, root: str | os.PathLike[str] = "build/models") -> Path:
    """Make the SavedModel of a known model, unless it exists already.

    Parameters
    ----------
    model : str
        A name in `MODELS`.
    root : path
        Folder for all models. The model is in ``root/model/1``, as in TF Serving's layout.

    Returns
    -------
    pathlib.Path
        The absolute base path of the model, as `--model_base_path` needs it.

    Raises
    ------
    UsageError
        If the model is unknown. The message lists the known models.
    """
    if model not in MODELS:
        raise UsageError(f"unknown model {model!r}; known: {', '.join(MODELS)}")
    base = Path(root).resolve() / model
    made = base / "1" / FILE
    if not made.exists():
        base.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(base.with_name(f".{model}.lock")):
            if not made.exists():  # another process may have been faster
                half = base.with_name(f".{model}.half")  # there may be one of a killed process
                for old in (half, base):
                    shutil.rmtree(old, ignore_errors=True)
                with quiet():
                    _export(model, half / "1")
                half.rename(base)
    return base


def _export(model: str, version: Path) -> None:
    load_tensorflow()
    import keras

    keras.utils.set_random_seed(SEED)
    MODELS[model](keras).export(version, verbose=False)
    keras.backend.clear_session()
