"""A stream of batches: what ``gen_batch`` returns."""

from __future__ import annotations

import ctypes
import threading
import time
from typing import TYPE_CHECKING, Any, Optional, Union

from . import _errors, _native, _types
from ._batch import Batch, FailedBatch, ReadOnlyBatch, TracedBatch
from ._progress import Progress

if TYPE_CHECKING:
    from ._mill import Mill

_SLICE_MS = 50  # how long a wait does not look whether somebody pressed Ctrl-C
_next_view = _native.next_view


class Stream:
    """Batches in strict order; iterate over it, or call :meth:`next`.

    It is a context manager, and is closed at the latest when nobody refers to it any more. Threads
    may share it: each batch goes to one of them.
    """

    def __init__(
        self, mill: Mill, handle: ctypes.c_void_p, order: _native.Order, progress: Optional[str]
    ) -> None:
        self._mill = mill
        self._handle: Optional[int] = handle.value
        self._reports = order.on_error == 2
        self._lock = threading.Lock()
        self._cancelled = False
        self._view = _native.View()
        self._error = _native.Error()
        self._view_at = ctypes.byref(self._view)
        self._error_at = ctypes.byref(self._error)
        info = self.info
        self._steps = info.steps if order.traced else None
        self._kind = Batch if mill.writable else ReadOnlyBatch
        self._last: Optional[int] = None
        self._length = None if info.batches is None else max(info.batches - info.first_seq, 0)
        self._progress = None if progress is None else Progress(progress, self._length)

    # ---- Asking ----

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Batch:
        batch = self._take(None)
        if batch is None:
            raise StopIteration
        return batch  # type: ignore[return-value]

    def next(self, timeout: Optional[float] = None) -> Union[Batch, FailedBatch, None]:
        """The next batch, or None after the last.

        Parameters
        ----------
        timeout : float, optional
            Seconds; 0 takes only what is here.

        Raises
        ------
        Timeout
            None came in time; ask again.
        ActionFailed
            A batch failed, with ``on_error="stop"``: the stream ends there.
        Unavailable
            The server does not answer; asking again goes on where it was.
        """
        return self._take(timeout)

    def _take(self, timeout: Optional[float]) -> Union[Batch, FailedBatch, None]:
        with self._lock:
            if self._progress is not None:
                self._progress.asks()
            first = _SLICE_MS if timeout is None else min(int(timeout * 1000), _SLICE_MS)
            handle = self._handle
            if handle is None:
                self._refuse()
            code = _next_view(handle, first, self._view_at, self._error_at)
            if code != 0:
                return self._take_slowly(code, timeout)
            if self._progress is None and self._steps is None:
                return self._kind(self._view)
            return self._taken()

    def _take_slowly(self, code: int, timeout: Optional[float]) -> Union[Batch, FailedBatch, None]:
        end = None if timeout is None else time.monotonic() + timeout
        try:
            while code == _native.DEADLINE_EXCEEDED and not self._error.has_batch:
                left = _SLICE_MS
                if end is not None:
                    left = min(left, int((end - time.monotonic()) * 1000))
                    if left <= 0:
                        raise _errors.Timeout("no batch came in time")
                code = _next_view(self._handle, left, self._view_at, self._error_at)
        except KeyboardInterrupt:
            self._close()
            raise
        if code == _native.OK:
            return self._taken()
        if code == _native.END:
            if self._progress is not None:
                self._progress.close()
            return None
        error = _native.exception(code, self._error)
        if self._reports and isinstance(error, _errors.ActionFailed):
            if error.code != "RESOURCE_EXHAUSTED":  # which ends the stream
                return FailedBatch(error)
        raise error

    def _taken(self) -> Batch:
        view = self._view
        if self._steps is None:
            batch = self._kind(view)
        else:
            batch = TracedBatch(view, self._steps, self._mill.writable)
        if self._progress is not None:
            self._progress.got(1, batch.nbytes)
        return batch

    def _refuse(self) -> None:
        if self._cancelled:
            raise _errors.Cancelled("the stream was cancelled")
        raise _errors.FailedPrecondition("the stream is closed")

    # ---- What it is ----

    def __len__(self) -> int:
        """Batches from the first to the last, as far as known when it was opened.

        Raises
        ------
        TypeError
            It is endless.
        """
        if self._length is None:
            raise TypeError("an endless stream has no length")
        return self._length

    @property
    def info(self) -> _types.StreamInfo:
        """What the server said of it, and how many batches were left out."""
        if self._handle is None:
            self._refuse()
        info = _native.StreamInfo()
        _native.stream_info(self._handle, ctypes.byref(info))
        return _types.stream_info(info)

    @property
    def position(self) -> str:
        """The token to open a stream that goes on behind the last batch taken."""
        if self._handle is None:
            self._refuse()
        text, error = ctypes.create_string_buffer(1024), _native.Error()
        code = _native.position(self._handle, text, len(text), ctypes.byref(error))
        if code != _native.OK:
            _native.fail(code, error)
        return text.value.decode()

    # ---- Its end ----

    def cancel(self) -> None:
        """Ends it from any thread: who waits gets :class:`Cancelled`."""
        handle = self._handle
        self._cancelled = True
        if handle is not None:
            _native.cancel(handle)

    def close(self) -> None:
        """Closes it on the server, too. Batches that were taken stay."""
        if self._handle is not None:
            _native.cancel(self._handle)
            with self._lock:
                self._close()

    def _close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            _native.stream_close(handle)
        if self._progress is not None:
            self._progress.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self._close()
