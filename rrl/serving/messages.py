"""Messages of Protocol Buffers that no package declares, from the fields that are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Fields = Mapping[str, Sequence[tuple[str, int, str]]]
"""Name, number and type of the fields of each message; every field is read as a list."""

_SCALARS = ("string", "int64")


def message(package: str, fields: Fields, name: str) -> Any:
    """Return the class of a message.

    Parameters
    ----------
    package : str
        A name that no other declaration has.
    fields : mapping
        The fields of this message and of those in it. A type is ``"string"``, ``"int64"`` (which
        also stands for enumerations and truth values), or the name of a message.
    name : str
        Which of the messages is returned.

    Examples
    --------
    >>> Point = message("example", {"Point": [("x", 1, "int64"), ("y", 2, "int64")]}, "Point")
    >>> Point.FromString(Point(x=[3]).SerializeToString()).x
    [3]
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package)
    for own, parts in fields.items():
        declared = file.message_type.add(name=own)
        for field, number, kind in parts:
            new = declared.field.add(name=field, number=number, label=kinds.LABEL_REPEATED)
            if kind in _SCALARS:
                new.type = kinds.TYPE_STRING if kind == "string" else kinds.TYPE_INT64
            else:
                new.type, new.type_name = kinds.TYPE_MESSAGE, f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
