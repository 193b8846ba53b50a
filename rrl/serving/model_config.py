"""Which models a server serves: the ModelServerConfig of a file or of a request.

Checks and messages are those of TensorFlow Serving's server_core.cc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rrl.serving.status import invalid
from rrl.serving.versions import Policy

_PLATFORM = "tensorflow"


@dataclass(frozen=True)
class ModelSettings:
    """One model to serve.

    Parameters
    ----------
    name : str
    base : pathlib.Path
        The folder that contains the numbered version folders.
    policy : Policy
        Which of the versions are served.
    labels : mapping of str to int
        Version numbers by label.
    """

    name: str
    base: Path
    policy: Policy = field(default_factory=Policy)
    labels: Mapping[str, int] = field(default_factory=dict)


def read_model_config(file: Path) -> list[ModelSettings] | None:
    """Return the models of a `--model_config_file`, which is a text proto; None if it is empty.

    Raises
    ------
    ValueError
        If the file is no ModelServerConfig.
    StatusError
        If a model in it is not possible: INVALID_ARGUMENT.
    """
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    try:
        config = text_format.Parse(
            file.read_text(encoding="utf-8"), model_server_config_pb2.ModelServerConfig()
        )
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"Invalid protobuf file: '{file}': {error}") from None
    return None if config.WhichOneof("config") is None else listed_models(config)


def listed_models(config: Any) -> list[ModelSettings]:
    """Return the models of a ModelServerConfig.

    Raises
    ------
    StatusError
        If it has no list of models, or one of them is not possible: INVALID_ARGUMENT.

    Examples
    --------
    >>> from tensorflow_serving.config import model_server_config_pb2
    >>> config = model_server_config_pb2.ModelServerConfig()
    >>> one = config.model_config_list.config.add(name="a", base_path="/m/a")
    >>> one.model_platform = "tensorflow"
    >>> one.model_version_policy.latest.num_versions = 2
    >>> [(model.name, str(model.base), model.policy.latest) for model in listed_models(config)]
    [('a', '/m/a', 2)]
    """
    if config.WhichOneof("config") != "model_config_list":
        raise invalid(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported"
        )
    models: dict[str, ModelSettings] = {}
    for one in config.model_config_list.config:
        if one.name in models:
            raise invalid(f"Illegal to list model {one.name} multiple times in config list")
        if not Path(one.base_path).is_absolute():
            raise invalid(
                f"Expected model {one.name} to have an absolute path or URI; "
                f"got base_path()={one.base_path}"
            )
        _check_platform(one)
        policy = _policy(one.model_version_policy)
        labels = dict(sorted(one.version_labels.items()))  # a map of protobuf has no order
        models[one.name] = ModelSettings(one.name, Path(one.base_path), policy, labels)
    return list(models.values())


def _check_platform(one: Any) -> None:
    platform = one.model_platform
    if one.model_type:  # deprecated
        if platform:
            raise invalid(
                "Illegal setting both ModelServerConfig::model_type (deprecated) "
                "and ModelServerConfig::model_platform."
            )
        if one.model_type != 1:
            raise invalid(f"ModelServerConfig::model_type choice {one.model_type} not supported.")
        return
    if not platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) "
            "nor ModelServerConfig::model_platform."
        )
    if platform != _PLATFORM:
        raise invalid(f"Model {one.name} requests unsupported platform {platform}")


def _policy(message: Any) -> Policy:
    kind = message.WhichOneof("policy_choice")
    if kind == "all":
        return Policy(latest=None)
    if kind == "specific":
        return Policy(specific=frozenset(message.specific.versions))
    return Policy(latest=max(message.latest.num_versions, 1))
