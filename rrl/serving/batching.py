"""TF Serving's batching parameters: the text file that `--batching_parameters_file` names.

The message is `tensorflow.serving.BatchingParameters` (session_bundle_config.proto of
TensorFlow Serving). It is not part of tensorflow-serving-api, so the fields that knobs set are
declared here. protobuf's own text parser reads the file and makes the error messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_NUMBERS = {  # field name -> its number in session_bundle_config.proto
    "max_batch_size": 1,
    "batch_timeout_micros": 2,
    "max_enqueued_batches": 3,
    "num_batch_threads": 4,
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
    adaptive : bool
        Whether TensorFlow's adaptive scheduler changes the number of batches in service. It then
        chooses the number of threads itself. This is not a field of the file: only the local server
        can do it.

    Raises
    ------
    ValueError
        If a number is out of range.

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
    adaptive: bool = False

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            least, value = int(name != "batch_timeout_micros"), getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")

    @classmethod
    def from_text(cls, text: str) -> BatchingParameters:
        """Read the text proto; a syntax error or an unknown field raises ValueError."""
        from google.protobuf import text_format

        try:
            read = text_format.Parse(text, _message()())
        except text_format.ParseError as error:
            raise ValueError(f"batching parameters file: {error}") from None
        return cls(**{field.name: value.value for field, value in read.ListFields()})

    def to_text(self) -> str:
        """Return the text proto that `tensorflow_model_server` reads."""
        values = {name: getattr(self, name) for name in _NUMBERS}
        given = {name: value for name, value in values.items() if value is not None}
        return "".join(f"{name} {{ value: {value} }}\n" for name, value in given.items())


def _message() -> Any:
    """Return the class of the message, whose values are all Int64Value."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

    kinds = descriptor_pb2.FieldDescriptorProto
    wrapped = wrappers_pb2.Int64Value.DESCRIPTOR
    file = descriptor_pb2.FileDescriptorProto(
        name="batching.proto", package="tensorflow.serving", dependency=[wrapped.file.name]
    )
    fields = file.message_type.add(name="BatchingParameters").field
    for name, number in _NUMBERS.items():
        kind = {"type": kinds.TYPE_MESSAGE, "type_name": f".{wrapped.full_name}"}
        fields.add(name=name, number=number, label=kinds.LABEL_OPTIONAL, **kind)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrapped.file.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters")
    )
