"""The codes with which a model server refuses a request, on gRPC and REST."""

from __future__ import annotations

from rrl.tuning.episode import Status

HTTP = (200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401)
"""The HTTP status of each code, as in TensorFlow Serving's http_server.cc."""


class StatusError(ValueError):
    """A refusal with a code and a message; it has the attributes of tf.errors.OpError.

    Parameters
    ----------
    code : Status
    message : str
        One line that the client gets.

    Examples
    --------
    >>> error = not_found("resnet", 3)
    >>> Status(error.error_code).name, HTTP[error.error_code], error.message
    ('NOT_FOUND', 404, 'Servable not found for request: Specific(resnet, 3)')
    """

    def __init__(self, code: Status, message: str) -> None:
        super().__init__(message)
        self.error_code, self.message = int(code.value), message


def invalid(message: str) -> StatusError:
    """Return the error for a bad request: INVALID_ARGUMENT."""
    return StatusError(Status.INVALID_ARGUMENT, message)


def not_found(name: str, version: int | None = None) -> StatusError:
    """Return the error for a model, or a version of it, that is not served: NOT_FOUND."""
    wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return StatusError(Status.NOT_FOUND, f"Servable not found for request: {wanted}")
