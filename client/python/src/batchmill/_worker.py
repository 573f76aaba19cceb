"""Actions in Python that a server's pipelines use: processes that lend them.

A server declares such actions in its configuration, under ``remote_actions``, and hands batches to
whoever lends them. A process that is lost costs its batches an attempt, and nothing else.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence, Union

import numpy as np
from numpy.typing import NDArray

from . import _errors, _mill, _native
from ._batch import Batch, Ragged, ReadOnlyBatch, Text, array_at
from ._order import integer

_SLICE_MS = 50
_FATAL = 70  # exit code of a process that has said why
_RESTART_SECONDS = (0.1, 5.0)  # at first, at most

_DTYPES = {
    "bool": 1,
    "int8": 2,
    "int16": 3,
    "int32": 4,
    "int64": 5,
    "uint8": 6,
    "uint16": 7,
    "uint32": 8,
    "uint64": 9,
    "float16": 10,
    "bfloat16": 11,
    "float32": 12,
    "float64": 13,
}
_BYTES, _STRING = 14, 15


class SkipBatch(Exception):
    """Raised by an action: leave this batch out of the stream."""


class StopStream(Exception):
    """Raised by an action: the stream ends before this batch."""


class _Terminated(BaseException):
    """SIGTERM came: what is being done goes back, and is done by another."""


def _terminate(*_: Any) -> None:
    raise _Terminated


class Context:
    """What an action knows of the batch it has.

    Attributes
    ----------
    pipeline, stream : str
        ``(stream, seq, attempt)`` names this execution: side effects can be fenced by it.
    seq, epoch, attempt, seed, position : int
        The attempt counts from 1; the position is the action's in the pipeline.
    params : dict
        Those given in the pipeline, and the declared defaults.
    items, epochs, copies : ndarray, shape (items,)
        Of each item: index in the source, epoch, and which of its copies it is.
    """

    def __init__(self, info: _native.TaskInfo, task: Optional[int], owner: Any) -> None:
        self.pipeline = _native.text(info.pipeline)
        self.stream = _native.text(info.stream)
        self.seq: int = info.seq
        self.epoch: int = info.epoch
        self.attempt: int = info.attempt
        self.seed: int = info.seed
        self.position: int = info.position
        self.params: dict[str, Any] = json.loads(info.params or b"{}")
        shape = (info.nitems,)
        self.items: NDArray[np.uint64] = array_at(owner, info.items, shape, "<u8", False).copy()
        self.epochs: NDArray[np.uint64] = array_at(None, info.epochs, shape, "<u8", False).copy()
        self.copies: NDArray[np.uint32] = array_at(None, info.copies, shape, "<u4", False).copy()
        self._task = task
        self._written: dict[str, NDArray[Any]] = {}
        self._rng: Optional[np.random.Generator] = None
        self._row: Optional[int] = None

    def _generator(self, *counter: int) -> np.random.Generator:
        key = np.array([self.seed, self.position], np.uint64)
        return np.random.Generator(
            np.random.Philox(key=key, counter=np.array([0, *counter], np.uint64))
        )

    @property
    def rng(self) -> np.random.Generator:
        """Counter-based (Philox), keyed by seed, position and batch; of an action per item, by its
        epoch, item and copy instead. So it gives the same numbers at every attempt, prefetch and
        number of processes.
        """
        if self._rng is None:
            self._rng = (
                self._generator(self.seq, 0, 1) if self._row is None else self.item_rng(self._row)
            )
        return self._rng

    def item_rng(self, row: int) -> np.random.Generator:
        """The generator of the item in that row of the batch."""
        copy = int(self.copies[row])
        return self._generator(int(self.items[row]), int(self.epochs[row]), 2 + copy)

    def empty(self, name: str, shape: Sequence[int], dtype: Any) -> NDArray[Any]:
        """Memory for a component that the action returns, to be filled: it need not be copied.

        Parameters
        ----------
        name : str
        shape : sequence of int
            ``(items, ...)``.
        dtype : dtype of NumPy
        """
        kind = np.dtype(dtype)
        address = _write(self._task, name, _number(name, kind), tuple(shape), None)
        array = array_at(self, address, tuple(shape), kind.str, True)
        self._written[name] = array
        return array


def _number(name: str, dtype: Any) -> int:
    number = _DTYPES.get(np.dtype(dtype).name)
    if number is None:
        raise _errors.InvalidArgument(f"{name}: expected numbers or texts, got dtype {dtype}")
    return number


def _write(
    task: Optional[int],
    name: str,
    dtype: int,
    shape: tuple[int, ...],
    offsets: Optional[NDArray[np.uint64]],
) -> int:
    address, error = ctypes.c_void_p(), _native.Error()
    lengths = (ctypes.c_uint64 * len(shape))(*shape)
    code = _native.task_write(
        task,
        name.encode(),
        dtype,
        len(shape),
        lengths,
        None if offsets is None else offsets.ctypes.data,
        ctypes.byref(address),
        ctypes.byref(error),
    )
    if code != _native.OK:
        _native.fail(code, error)
    return address.value or 0


def _as_text(name: str, value: Any) -> Optional[Text]:
    if isinstance(value, Text):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "OUST":
        value = value.tolist()
    if not isinstance(value, (list, tuple)) or not value:
        return None
    if all(isinstance(one, str) for one in value):
        parts = [one.encode() for one in value]
    elif all(isinstance(one, (bytes, bytearray)) for one in value):
        parts = [bytes(one) for one in value]
    else:
        return None
    offsets = np.zeros(len(parts) + 1, np.uint64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    values = np.frombuffer(b"".join(parts), np.uint8)
    return Text(values, offsets, isinstance(value[0], str))


def _as_ragged(value: Any) -> Optional[Ragged]:
    if isinstance(value, Ragged):
        return value
    if not isinstance(value, (list, tuple)) or not value:
        return None
    items = [np.asarray(one) for one in value]
    if len({item.shape for item in items}) == 1 and not isinstance(value[0], np.ndarray):
        return None  # a table of numbers
    if any(item.ndim == 0 for item in items):
        return None
    offsets = np.zeros(len(items) + 1, np.uint64)
    np.cumsum([len(item) for item in items], out=offsets[1:])
    return Ragged(np.concatenate(items), offsets)


def _put(context: Context, name: str, value: Any) -> None:
    """Writes what an action returned for a component, unless it is there already."""
    if name in context._written:
        if context._written[name] is value:
            return
        raise _errors.InvalidArgument(f"{name}: expected what ctx.empty() gave, got another array")
    ragged: Optional[Ragged] = _as_text(name, value) or _as_ragged(value)
    if ragged is not None:
        text = isinstance(ragged, Text)
        values = np.ascontiguousarray(ragged.values)
        dtype = _number(name, values.dtype)
        if isinstance(ragged, Text):
            dtype = _STRING if ragged.is_string else _BYTES
        offsets = np.ascontiguousarray(ragged.offsets, np.uint64)
        shape = (len(values),) if text else values.shape
        address = _write(context._task, name, dtype, shape, offsets)
    else:
        values = np.ascontiguousarray(value)
        address = _write(context._task, name, _number(name, values.dtype), values.shape, None)
    if values.nbytes > 0:
        ctypes.memmove(address, values.ctypes.data, values.nbytes)


class RemoteAction:
    """A function that was made an action by :func:`action`; it can still be called."""

    def __init__(
        self, function: Callable[..., Any], name: str, per: str, use_lock: str, version: str
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = name
        self.per = per
        self.lock = use_lock
        self.version = version

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def apply(self, batch: Batch, context: Context) -> Mapping[str, Any]:
        """What it makes of a batch: values by component."""
        made = self._per_item(batch, context) if self.per == "item" else self(batch, context)
        if not isinstance(made, Mapping):
            raise _errors.InvalidArgument(
                f"expected a mapping of components, got {type(made).__name__}"
            )
        return made

    def _per_item(self, batch: Batch, context: Context) -> Mapping[str, Any]:
        columns: dict[str, list[Any]] = {}
        names = batch.keys()
        for row in range(len(batch)):
            context._row, context._rng = row, None
            item = {name: batch[name][row] for name in names}
            for name, value in self(item, context).items():
                columns.setdefault(name, []).append(value)
        context._row = None
        made: dict[str, Any] = {}
        for name, values in columns.items():
            if len(values) != len(batch):
                raise _errors.InvalidArgument(f"{name}: expected it of every item")
            shapes = {np.shape(value) for value in values}
            texts = isinstance(values[0], (str, bytes))
            made[name] = values if texts or len(shapes) > 1 else np.stack(values)
        return made


def action(
    name: str,
    *,
    per: str = "batch",
    use_lock: Union[str, bool, None] = None,
    version: str = "",
) -> Callable[[Callable[..., Any]], RemoteAction]:
    """Makes a function an action that processes can lend.

    Parameters
    ----------
    name : str
        As declared in the server's configuration.
    per : {"batch", "item"}
        The function gets ``(batch, ctx)`` and returns a mapping of the components that it writes
        to arrays of shape (items, ...); or ``(item, ctx)``, where ``item`` is a mapping of
        components to the values of one item.
    use_lock : str or bool, optional
        The lock that every pipeline has to use for it; True: that of the action's own name. The
        server refuses the lender where a pipeline does not.
    version : str, default ""
        As declared: change both when the function changes what it makes.
    """
    if per not in ("batch", "item"):
        raise _errors.InvalidArgument(f"per: expected 'batch' or 'item', got {per!r}")
    lock = name if use_lock is True else use_lock or ""

    def wrap(function: Callable[..., Any]) -> RemoteAction:
        return RemoteAction(function, name, per, lock, version)

    return wrap


class Worker:
    """Lends actions to a server; see :func:`worker`."""

    def __init__(
        self, target: str, actions: Sequence[RemoteAction], processes: int, **options: Any
    ) -> None:
        if not actions or not all(isinstance(one, RemoteAction) for one in actions):
            raise _errors.InvalidArgument(
                "actions: expected functions that @batchmill.action made actions"
            )
        self.target = target
        self.actions = {one.name: one for one in actions}
        self.processes = integer("processes", processes, 1, 1024)
        self.options = options
        self._stopping = False

    def run(self) -> None:
        """Works until it is interrupted, SIGTERM comes, or :meth:`stop` is called.

        With more than one process, those that are lost are started again.

        Raises
        ------
        NotFound, FailedPrecondition, PermissionDenied
            The server does not take the actions, and says why.
        """
        with self._stopped_by_sigterm():
            if self.processes == 1:
                self._serve()
            else:
                self._supervise()

    def stop(self) -> None:
        """Ends :meth:`run`, from any thread or signal handler."""
        self._stopping = True

    @contextlib.contextmanager
    def _stopped_by_sigterm(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            yield
        except _Terminated:
            pass
        finally:
            signal.signal(signal.SIGTERM, before)

    # ---- In a process that works ----

    @contextlib.contextmanager
    def _lender(self) -> Iterator[int]:
        lent = (_native.LentAction * len(self.actions))()
        for slot, one in zip(lent, self.actions.values()):
            slot.name, slot.version = one.name.encode(), one.version.encode()
            slot.lock = one.lock.encode()
        with _mill.open(self.target, writable=False, **self.options) as mill:
            handle, error = ctypes.c_void_p(), _native.Error()
            mill._call(_native.lend, error, lent, len(lent), 2, ctypes.byref(handle))
            assert handle.value is not None
            try:
                yield handle.value
            finally:
                _native.lender_close(handle)

    def _serve(self, parent: Optional[int] = None) -> None:
        """Until it is stopped, or that parent is no more."""
        parent = os.getppid() if parent is None else parent
        with self._lender() as lender:
            while not self._stopping and os.getppid() == parent:
                task, error = ctypes.c_void_p(), _native.Error()
                code = _native.take(lender, _SLICE_MS, ctypes.byref(task), ctypes.byref(error))
                if code == _native.OK:
                    self._do(task)
                elif code != _native.DEADLINE_EXCEEDED:
                    _native.fail(code, error)

    def _do(self, task: ctypes.c_void_p) -> None:
        info, view = _native.TaskInfo(), _native.View()
        _native.task_info(task, ctypes.byref(info))
        handle = _native.task_take_batch(task)
        _native.batch_view(handle, ctypes.byref(view))
        batch = ReadOnlyBatch(view)
        context: Optional[Context] = None
        try:
            context = Context(info, task.value, batch._owner)
            made = self.actions[_native.text(info.action)].apply(batch, context)
            for name, value in made.items():
                _put(context, name, value)
            context._task = None
            _native.task_done(task)
        except SkipBatch:
            _native.task_skip(task)
        except StopStream:
            _native.task_stop(task)
        except Exception as error:
            self._fail(task, context, error)
        except BaseException:
            _native.task_give_back(task)
            raise

    @staticmethod
    def _fail(task: ctypes.c_void_p, context: Optional[Context], error: Exception) -> None:
        row = -1 if context is None or context._row is None else context._row
        code = _errors.code_number(error.code) if isinstance(error, _errors.Error) else 2
        where = traceback.extract_tb(error.__traceback__)[-1]
        kind = "" if isinstance(error, _errors.Error) else f"{type(error).__name__}: "
        text = f"{kind}{error} ({where.filename.rsplit('/', 1)[-1]}:{where.lineno})"
        _native.task_fail(task, code, row, text.encode()[:500])

    # ---- In the process that watches over others ----

    def _child(self, parent: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
        signal.signal(signal.SIGTERM, _terminate)
        try:
            self._serve(parent)
        except _Terminated:
            pass
        except _errors.Error as error:
            print(f"batchmill worker: {error}", file=sys.stderr)
            sys.exit(_FATAL)

    def _supervise(self) -> None:
        if _mill.used():
            raise _errors.FailedPrecondition(
                "this process has opened a mill, and forks of it could not open another: start "
                "workers in a process of their own"
            )
        forks = multiprocessing.get_context("fork")
        children: list[Any] = []
        pause = _RESTART_SECONDS[0]
        try:
            while not self._stopping:
                while len(children) < self.processes:
                    children.append(forks.Process(target=self._child, args=[os.getpid()]))
                    children[-1].start()
                began = time.monotonic()
                multiprocessing.connection.wait([one.sentinel for one in children], 0.2)
                for child in [one for one in children if not one.is_alive()]:
                    children.remove(child)
                    if child.exitcode == _FATAL:
                        raise _errors.Error("a worker process gave up; it has said why")
                    quick = time.monotonic() - began < 0.1
                    pause = min(pause * 2, _RESTART_SECONDS[1]) if quick else _RESTART_SECONDS[0]
                    time.sleep(pause if quick else 0)
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.join(5)
                if child.is_alive():
                    child.kill()


def worker(
    target: str, actions: Sequence[RemoteAction], *, processes: int = 1, **options: Any
) -> Worker:
    """A worker that lends actions to a server: ``worker(...).run()``.

    Parameters
    ----------
    target : str
        URL of the server: ``tcp://``, ``tls+tcp://`` or ``ipc://``.
    actions : sequence of actions
        What :func:`action` made.
    processes : int, default 1
        With 1, this one works; with more, it starts that many, and again those that are lost.
    **options
        ``token``, ``tls``, ``timeout``, ``log``, ``shared_memory``, as of :func:`open`.
    """
    return Worker(target, actions, processes, **options)
