"""Arrays from TensorProto messages of others, without giving them more memory than they send."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

FILLED_BYTES = 2**24
"""The largest array, in bytes, for which a message may leave out values: 16 MiB."""

_MOST_DIMENSIONS = 64  # of a NumPy array
_MOST_PER_BYTE = 8  # bytes of an array per byte of its message: an int64 of 0 takes one byte there


def to_array(tensor: Any) -> NDArray[Any]:
    """Return the array of a TensorProto.

    A message may leave out its last values. They are then equal to the last one that it has. So a
    message of 60 bytes can stand for an array of any size. Beyond `FILLED_BYTES`, every value must
    be in the message. This is checked before memory is taken.

    Raises
    ------
    ValueError
        If the shape is not possible, or promises more than the message may leave out.
    TypeError
        If the message has a type without a NumPy equivalent.

    Examples
    --------
    >>> import tensorflow as tf
    >>> one = tf.make_tensor_proto(1.0, shape=[2, 2])
    >>> to_array(one).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    >>> one.tensor_shape.dim[0].size = 10**9
    >>> to_array(one)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: shape [1000000000, 2] in a message of 22 bytes; send all values ...
    """
    import tensorflow as tf

    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"{len(shape)} dimensions; send at most {_MOST_DIMENSIONS}")
    if tensor.tensor_shape.unknown_rank or min(shape, default=0) < 0:
        raise ValueError(f"shape {shape}; give every size, 0 or more")
    try:
        item = np.dtype(tf.as_dtype(tensor.dtype).as_numpy_dtype).itemsize
    except KeyError:  # such as a resource handle
        raise TypeError(f"tensor type {tensor.dtype} has no array") from None
    size = math.prod(shape) * item
    if size > FILLED_BYTES and size > _MOST_PER_BYTE * tensor.ByteSize():
        raise ValueError(
            f"shape {shape} in a message of {tensor.ByteSize()} bytes; send all values if the "
            f"array has more than {FILLED_BYTES >> 20} MiB"
        )
    return tf.make_ndarray(tensor)
