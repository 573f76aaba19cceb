"""Errors, one class for each code that a server or the client gives.

The codes have the names and meanings of ``google.rpc.Code``.
"""

from __future__ import annotations

from typing import Any, Optional


class Error(Exception):
    """What went wrong, in one sentence that says where, what was expected and what came.

    Attributes
    ----------
    code : str
        Such as ``"NOT_FOUND"``.
    """

    code: str = "UNKNOWN"

    def __init__(self, text: str, code: Optional[str] = None) -> None:
        super().__init__(text)
        if code is not None:
            self.code = code


class Cancelled(Error):
    """The stream or the run was cancelled."""

    code = "CANCELLED"


class Unknown(Error):
    """No more is known."""

    code = "UNKNOWN"


class InvalidArgument(Error, ValueError):
    """An argument, or something in a configuration, is not what it has to be."""

    code = "INVALID_ARGUMENT"


class DeadlineExceeded(Error, TimeoutError):
    """It took longer than it was given."""

    code = "DEADLINE_EXCEEDED"


Timeout = DeadlineExceeded


class NotFound(Error, LookupError):
    """There is no pipeline, file or action of that name."""

    code = "NOT_FOUND"


class AlreadyExists(Error):
    """Another pipeline has that name."""

    code = "ALREADY_EXISTS"


class PermissionDenied(Error, PermissionError):
    """The server does not allow it, or one side does not accept the other's certificate."""

    code = "PERMISSION_DENIED"


class ResourceExhausted(Error):
    """A limit, or no memory left. May succeed later."""

    code = "RESOURCE_EXHAUSTED"


class FailedPrecondition(Error):
    """The pipeline of a position is another one by now, or this process is a fork."""

    code = "FAILED_PRECONDITION"


class Aborted(Error):
    """The server was started again meanwhile; ask once more."""

    code = "ABORTED"


class OutOfRange(Error):
    """A position lies behind the end."""

    code = "OUT_OF_RANGE"


class Unimplemented(Error, NotImplementedError):
    """The server does not know the call."""

    code = "UNIMPLEMENTED"


class Internal(Error):
    """A mistake in the server."""

    code = "INTERNAL"


class Unavailable(Error, ConnectionError):
    """The server cannot be reached, or is shutting down."""

    code = "UNAVAILABLE"


class DataLoss(Error):
    """What came cannot be read."""

    code = "DATA_LOSS"


class Unauthenticated(Error):
    """The server has a token, and this is not it."""

    code = "UNAUTHENTICATED"


class ActionFailed(Error):
    """A batch failed in an action, or while it was read.

    Attributes
    ----------
    seq : int
        Of the batch in its stream.
    pipeline, action : str
        Where; the action ``"read"`` is the source.
    item : int or None
        Index in the source of the item that failed, where it is one.
    result : RunResult or None
        What a run had reached.
    """

    def __init__(
        self, text: str, code: str, seq: int, pipeline: str, action: str, item: Optional[int]
    ) -> None:
        super().__init__(text, code)
        self.seq = seq
        self.pipeline = pipeline
        self.action = action
        self.item = item
        self.result: Any = None

    def __reduce__(self) -> Any:
        args = (self.args[0], self.code, self.seq, self.pipeline, self.action, self.item)
        return (ActionFailed, args)


class EndOfCursor(Error):
    """The cursor has no batch any more."""

    code = "END"


_BY_CODE: dict[int, type[Error]] = {
    1: Cancelled,
    2: Unknown,
    3: InvalidArgument,
    4: DeadlineExceeded,
    5: NotFound,
    6: AlreadyExists,
    7: PermissionDenied,
    8: ResourceExhausted,
    9: FailedPrecondition,
    10: Aborted,
    11: OutOfRange,
    12: Unimplemented,
    13: Internal,
    14: Unavailable,
    15: DataLoss,
    16: Unauthenticated,
}


def code_number(name: str) -> int:
    """The number of a code's name; that of ``UNKNOWN`` for others."""
    for number, kind in _BY_CODE.items():
        if kind.code == name:
            return number
    return 2


def error_class(code: int) -> type[Error]:
    """The class of a code's number."""
    return _BY_CODE.get(code, Unknown)
