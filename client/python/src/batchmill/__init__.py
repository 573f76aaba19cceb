"""Batchmill: prepared batches, in order, from this process or from a server.

::

    import batchmill

    with batchmill.open("pipelines.yaml") as mill:      # or "tcp://host:7310"
        for batch in mill.gen_batch("digits", batch_size=64, shuffle=7, prefetch=3):
            batch["pixels"]                             # a NumPy array, no copy
"""

from __future__ import annotations

from . import _native
from ._batch import Batch, FailedBatch, Ragged, Text, TracedBatch
from ._errors import (
    Aborted,
    ActionFailed,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    EndOfCursor,
    Error,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    Timeout,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unknown,
)
from ._mill import Mill, Registration, Tls, open
from ._stream import Stream
from ._types import (
    Action,
    Cache,
    Component,
    Description,
    Pipeline,
    Pipelines,
    RunResult,
    Status,
    StreamInfo,
)
from ._worker import Context, RemoteAction, SkipBatch, StopStream, Worker, action, worker

__version__ = _native.text(_native.version())

__all__ = [name for name in dir() if not name.startswith("_")]
