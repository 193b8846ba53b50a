"""TF Serving's batching parameters: the text file that `--batching_parameters_file` names.

The message is `tensorflow.serving.BatchingParameters` (session_bundle_config.proto of
TensorFlow Serving). It is not part of tensorflow-serving-api, so its fields are declared here.
protobuf's own text parser reads the file and makes the error messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from rrl.tuning.defaults import SERVER_DEFAULTS

_WRAPPED = {  # field name -> (number, wrapper type), as in session_bundle_config.proto
    "max_batch_size": (1, "Int64Value"),
    "batch_timeout_micros": (2, "Int64Value"),
    "max_enqueued_batches": (3, "Int64Value"),
    "num_batch_threads": (4, "Int64Value"),
    "thread_pool_name": (5, "StringValue"),
    "enable_large_batch_splitting": (8, "BoolValue"),
    "max_execution_batch_size": (9, "Int64Value"),
}


@dataclass(frozen=True)
class BatchingParameters:
    """How TF Serving's scheduler forms batches; None means the server's own default.

    Parameters
    ----------
    max_batch_size : int, optional
        Largest number of examples in one batch (server default 1000).
    batch_timeout_micros : int, optional
        Longest wait for a batch to fill, in microseconds (default 0).
    max_enqueued_batches : int, optional
        Queue length in batches (default 10). A request beyond it is refused with UNAVAILABLE.
    num_batch_threads : int, optional
        Number of batches in service at the same time (default: the CPU count).
    allowed_batch_sizes : sequence of int
        Batches are padded up to the next of these sizes. The last size must equal
        `max_batch_size`.
    enable_large_batch_splitting : bool, optional
        Whether to split a request that is larger than `max_execution_batch_size`.
    max_execution_batch_size : int, optional
        Largest number of examples that run at once after a split (default `max_batch_size`).
    pad_variable_length_inputs : bool
        Whether to pad inputs of unequal length within a batch.
    adaptive : bool
        Whether TensorFlow's adaptive scheduler changes the number of batches in service. It then
        chooses the number of threads itself. This is not a field of the file: only the local server
        can do it.

    Raises
    ------
    ValueError
        If a number is out of range or `allowed_batch_sizes` contradict `max_batch_size`.

    Examples
    --------
    >>> parameters = BatchingParameters(max_batch_size=8, num_batch_threads=2)
    >>> print(parameters.to_text(), end="")
    max_batch_size { value: 8 }
    num_batch_threads { value: 2 }
    >>> BatchingParameters.from_text(parameters.to_text()) == parameters
    True
    """

    max_batch_size: int | None = None
    batch_timeout_micros: int | None = None
    max_enqueued_batches: int | None = None
    num_batch_threads: int | None = None
    allowed_batch_sizes: Sequence[int] = ()
    enable_large_batch_splitting: bool | None = None
    max_execution_batch_size: int | None = None
    pad_variable_length_inputs: bool = False
    adaptive: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "allowed_batch_sizes", tuple(self.allowed_batch_sizes))
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.batch_timeout_micros is not None and self.batch_timeout_micros < 0:
            raise ValueError(
                f"batch_timeout_micros must not be negative, got {self.batch_timeout_micros}"
            )
        sizes = self.allowed_batch_sizes
        if sizes:
            limit = self.max_batch_size or SERVER_DEFAULTS["max_batch_size"]
            if list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
                raise ValueError(f"allowed_batch_sizes must increase, got {list(sizes)}")
            if sizes[-1] != limit:
                raise ValueError(
                    f"the last of allowed_batch_sizes must equal max_batch_size ({limit}), "
                    f"got {list(sizes)}"
                )

    @classmethod
    def from_text(cls, text: str) -> BatchingParameters:
        """Read the text proto; a syntax error or an unknown field raises ValueError."""
        from google.protobuf import text_format

        try:
            message = text_format.Parse(text, _message_class()())
        except text_format.ParseError as error:
            raise ValueError(f"batching parameters file: {error}") from None
        values: dict[str, Any] = {
            name: getattr(message, name).value for name in _WRAPPED if message.HasField(name)
        }
        values.pop("thread_pool_name", None)  # names the threads in monitoring; changes nothing
        return cls(
            allowed_batch_sizes=tuple(message.allowed_batch_sizes),
            pad_variable_length_inputs=message.pad_variable_length_inputs,
            **values,
        )

    def to_text(self) -> str:
        """Return the text proto that `tensorflow_model_server` reads."""
        lines = []
        for field in fields(self):
            value = getattr(self, field.name)
            text = str(value).lower() if isinstance(value, bool) else value
            if field.name in _WRAPPED and value is not None:
                lines.append(f"{field.name} {{ value: {text} }}")
        lines += [f"allowed_batch_sizes: {size}" for size in self.allowed_batch_sizes]
        if self.pad_variable_length_inputs:
            lines.append("pad_variable_length_inputs: true")
        return "".join(line + "\n" for line in lines)


@cache
def _message_class() -> Any:
    """Build the protobuf class of the message from its declaration."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    file = descriptor_pb2.FileDescriptorProto(
        name="batching_parameters.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wrappers.name],
    )
    message = file.message_type.add(name="BatchingParameters")
    kind = descriptor_pb2.FieldDescriptorProto
    for name, (number, wrapper) in _WRAPPED.items():
        message.field.add(
            name=name,
            number=number,
            label=kind.LABEL_OPTIONAL,
            type=kind.TYPE_MESSAGE,
            type_name=f".google.protobuf.{wrapper}",
        )
    message.field.add(
        name="allowed_batch_sizes", number=6, label=kind.LABEL_REPEATED, type=kind.TYPE_INT64
    )
    message.field.add(
        name="pad_variable_length_inputs",
        number=7,
        label=kind.LABEL_OPTIONAL,
        type=kind.TYPE_BOOL,
    )
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters")
    )
