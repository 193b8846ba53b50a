"""The codes and messages with which a model server refuses a request, on gRPC and REST."""

from __future__ import annotations

OK = 0
UNKNOWN = 2
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
FAILED_PRECONDITION = 9
UNIMPLEMENTED = 12
INTERNAL = 13

NAMES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""The names of the codes 0 to 16, which TensorFlow and gRPC share."""

HTTP = (200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401)
"""The HTTP status of each code, as in TensorFlow Serving's http_server.cc."""


class StatusError(ValueError):
    """A refusal with a code and a message; it has the attributes of tf.errors.OpError.

    Parameters
    ----------
    code : int
        One of the codes of `NAMES`.
    message : str
        One line that the client gets.

    Examples
    --------
    >>> error = not_found("resnet", 3)
    >>> NAMES[error.error_code], HTTP[error.error_code], error.message
    ('NOT_FOUND', 404, 'Servable not found for request: Specific(resnet, 3)')
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.error_code, self.message = code, message


def invalid(message: str) -> StatusError:
    """Return the error for a bad request: INVALID_ARGUMENT."""
    return StatusError(INVALID_ARGUMENT, message)


def not_found(name: str, version: int | None = None) -> StatusError:
    """Return the error for a model, or a version of it, that is not served: NOT_FOUND."""
    wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return StatusError(NOT_FOUND, f"Servable not found for request: {wanted}")
