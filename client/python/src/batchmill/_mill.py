"""A mill: pipelines, wherever they run."""

from __future__ import annotations

import atexit
import ctypes
import dataclasses
import json
import logging
import os
import pathlib
import stat
import threading
import weakref
from typing import TYPE_CHECKING, Any, Callable, Mapping, Optional, Union

from . import _errors, _native, _order, _types
from ._batch import Batch, ReadOnlyBatch
from ._order import Prefetch, Shard, Shuffle
from ._progress import Progress
from ._stream import Stream

if TYPE_CHECKING:
    from ._aio import Aio

_logger = logging.getLogger("batchmill")
_SCHEMES = ("tcp://", "tls+tcp://", "ipc://", "ws://", "inproc://")
_POLL = 0.05  # seconds that a wait does not look whether somebody pressed Ctrl-C

_used_in: set[int] = set()  # processes
_mills: weakref.WeakSet[Any] = weakref.WeakSet()  # open ones


@atexit.register
def _close_all() -> None:
    """A process that just ends leaves no stream behind for the server to keep."""
    for mill in list(_mills):
        if mill._pid == os.getpid():
            mill.close()


Target = Union[str, "os.PathLike[str]"]
Token = Union[str, "os.PathLike[str]", None]


@dataclasses.dataclass(frozen=True)
class Tls:
    """Files for ``tls+tcp://``, in PEM.

    Attributes
    ----------
    ca : path, optional
        Authorities to be believed; default the system's.
    certificate, key : path, optional
        For a server that asks for one.
    server_name : str, optional
        Whose certificate it must be; default the URL's host.
    """

    ca: Optional[Target] = None
    certificate: Optional[Target] = None
    key: Optional[Target] = None
    server_name: Optional[str] = None


@dataclasses.dataclass
class Registration:
    """A pipeline that this client registered; a context manager that takes it back.

    Attributes
    ----------
    name, id, fingerprint : str
    lease : float
        Seconds without use after which the server forgets it.
    """

    name: str
    id: str
    fingerprint: str
    lease: float
    _mill: Mill = dataclasses.field(repr=False)

    def unregister(self) -> bool:
        """True: it was there. Streams that are open go on."""
        removed, error = ctypes.c_bool(), _native.Error()
        name, id_ = self.name.encode(), self.id.encode()
        self._mill._call(_native.unregister, error, name, id_, ctypes.byref(removed))
        return removed.value

    def __enter__(self) -> Registration:
        return self

    def __exit__(self, *_: Any) -> None:
        self.unregister()


def _interruptible(function: Callable[[], Any], orphan: Optional[Callable[[Any], None]]) -> Any:
    """Calls it so that Ctrl-C stops the wait at once; ``orphan`` gets a result that comes later."""
    if threading.current_thread() is not threading.main_thread():
        return function()
    outcome: list[Any] = []
    left = threading.Event()
    lock = threading.Lock()

    def work() -> None:
        try:
            result: Any = (function(), None)
        except BaseException as error:  # noqa: B902 -- it is raised where it was called
            result = (None, error)
        with lock:
            outcome.append(result)
            late = left.is_set()
        if late and result[1] is None and orphan is not None:
            orphan(result[0])

    thread = threading.Thread(target=work, daemon=True, name="batchmill-call")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_POLL)
    except BaseException:
        with lock:
            left.set()
            late = bool(outcome)
        if late and outcome[0][1] is None and orphan is not None:
            orphan(outcome[0][0])
        raise
    if outcome[0][1] is not None:
        raise outcome[0][1]
    return outcome[0][0]


def read_token(token: Token) -> Optional[bytes]:
    """A token as given, or out of a file that only its owner can read."""
    if token is None or isinstance(token, str):
        return None if token is None else token.encode()
    path = pathlib.Path(token)
    try:
        mode = path.stat().st_mode
        text = path.read_bytes()
    except OSError as error:
        raise _errors.NotFound(f"{path}: cannot read the token: {error.strerror}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise _errors.PermissionDenied(
            f"{path}: expected a file that only its owner can read (mode 0600), "
            f"got mode {stat.S_IMODE(mode):04o}"
        )
    return text.rstrip(b"\r\n")


def used() -> bool:
    """Whether this process has opened a mill."""
    return os.getpid() in _used_in


def _encoded(path: Optional[Target]) -> Optional[bytes]:
    return None if path is None else os.fsencode(os.fspath(path))


class Mill:
    """Pipelines of a server, or of a configuration in this process; see :func:`open`.

    Usable from any thread. A context manager.
    """

    def __init__(
        self,
        target: Target,
        *,
        token: Token,
        tls: Union[Tls, bool, None],
        timeout: float,
        log: Optional[Callable[[str], None]],
        shared_memory: bool,
        writable: bool,
        workers: Optional[int],
        memory: Optional[int],
        listen: Optional[str],
    ) -> None:
        self._handle: Optional[int] = None
        self._embedded: Optional[int] = None
        self._pid = os.getpid()
        if _used_in - {self._pid}:
            raise _errors.FailedPrecondition(
                "this process was forked from one that had opened a mill, and cannot open another: "
                "open the first in the child, or start it by 'spawn' or 'forkserver'"
            )
        _used_in.add(self._pid)
        _mills.add(self)
        self._streams: weakref.WeakSet[Any] = weakref.WeakSet()
        self._cursors: dict[Any, Any] = {}
        self._mutex = threading.Lock()
        self._log = _native.LOG(self._logs(log))
        self.url = os.fspath(target)
        self.writable = writable
        remote = isinstance(target, str) and target.startswith(_SCHEMES)
        if remote:
            for name, value in (("workers", workers), ("memory", memory), ("listen", listen)):
                if value is not None:
                    raise _errors.InvalidArgument(
                        f"{name}: expected none with a URL, as the server has its own, got {value}"
                    )
            if token is None and "BATCHMILL_TOKEN_FILE" in os.environ:
                token = pathlib.Path(os.environ["BATCHMILL_TOKEN_FILE"])
        else:
            if token is not None or tls:
                raise _errors.InvalidArgument(
                    "token, tls: expected none with a configuration, as nobody else can connect"
                )
            self._embed(self.url, workers, memory, listen)
        options = self._options(token, tls, timeout, shared_memory, writable)
        try:
            self._handle = _interruptible(lambda: self._connect(options), _native.disconnect)
        except BaseException:
            self.close()
            raise

    # ---- Connecting ----

    @staticmethod
    def _logs(log: Optional[Callable[[str], None]]) -> Callable[[Any, bytes], None]:
        def logs(_: Any, message: bytes) -> None:
            line = _native.text(message)
            if log is None:
                _logger.info("%s", line)
            else:
                log(line)

        return logs

    def _options(
        self,
        token: Token,
        tls: Union[Tls, bool, None],
        timeout: float,
        shared_memory: bool,
        writable: bool,
    ) -> _native.Options:
        files = tls if isinstance(tls, Tls) else Tls()
        if tls and not self.url.startswith("tls+tcp://"):
            raise _errors.InvalidArgument(f"tls: expected a URL as tls+tcp://…, got {self.url}")
        ca = files.ca
        if ca is None and self.url.startswith("tls+"):
            ca = os.environ.get("BATCHMILL_TLS_CA")
        if not timeout > 0 or timeout > 4e6:
            raise _errors.InvalidArgument(f"timeout: expected seconds above 0, got {timeout}")
        return _native.Options(
            timeout_ms=max(1, int(timeout * 1000)),
            log=self._log,
            token=read_token(token),
            tls_ca_file=_encoded(ca),
            tls_server_name=None if files.server_name is None else files.server_name.encode(),
            tls_certificate_file=_encoded(files.certificate),
            tls_key_file=_encoded(files.key),
            no_shared_memory=not shared_memory,
            writable=writable,
        )

    def _embed(
        self, path: str, workers: Optional[int], memory: Optional[int], listen: Optional[str]
    ) -> None:
        if not os.path.exists(path):
            raise _errors.NotFound(
                f"{path}: expected a configuration file or a URL ({', '.join(_SCHEMES)}), "
                "and there is no such file"
            )
        options = _native.EmbeddedOptions(
            listen=None if listen is None else listen.encode(),
            workers=(
                _native.UNSET if workers is None else _order.integer("workers", workers, 0, 1024)
            ),
            memory_bytes=_native.UNSET if memory is None else _order.integer("memory", memory, 0),
        )
        handle, error = ctypes.c_void_p(), _native.Error()
        code = _native.embedded_start(
            os.fsencode(path), ctypes.byref(options), ctypes.byref(handle), ctypes.byref(error)
        )
        if code != _native.OK:
            _native.fail(code, error)
        self._embedded = handle.value
        self.url = _native.text(_native.embedded_url(handle))
        bound = _native.embedded_listen(handle)
        self.listens = None if bound is None else _native.text(bound)

    def _connect(self, options: _native.Options) -> Optional[int]:
        handle, error = ctypes.c_void_p(), _native.Error()
        code = _native.connect(
            self.url.encode(), ctypes.byref(options), ctypes.byref(handle), ctypes.byref(error)
        )
        if code != _native.OK:
            _native.fail(code, error)
        return handle.value

    def close(self) -> None:
        """Closes its streams, the connection and, where it was brought along, the server."""
        for stream in list(self._streams):
            stream.close()
        with self._mutex:
            handle, self._handle = self._handle, None
            embedded, self._embedded = self._embedded, None
        if handle is not None:
            _native.disconnect(handle)
        if embedded is not None:
            _native.embedded_stop(embedded)

    def __enter__(self) -> Mill:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None or getattr(self, "_embedded", None):
            self.close()

    def _open_handle(self) -> int:
        if self._pid != os.getpid():
            raise _errors.FailedPrecondition(
                "this process was forked from the one that opened the mill, whose threads it does "
                "not have: open one of its own in it"
            )
        if self._handle is None:
            raise _errors.FailedPrecondition("the mill is closed")
        return self._handle

    def _call(self, function: Any, error: _native.Error, *arguments: Any) -> None:
        code = function(self._open_handle(), *arguments, ctypes.byref(error))
        if code != _native.OK:
            _native.fail(code, error)

    # ---- Pipelines ----

    def list(self) -> _types.Pipelines:
        """The pipelines there are, by name."""
        found, error = ctypes.POINTER(_native.List)(), _native.Error()
        self._call(_native.list_, error, ctypes.byref(found))
        try:
            have = found[0]
            return _types.Pipelines(_types.pipeline(have.pipelines[i]) for i in range(have.n))
        finally:
            _native.list_free(found)

    def describe(self, pipeline: str) -> _types.Description:
        """Source, actions and components of a pipeline.

        Raises
        ------
        NotFound
            There is none of that name; the text says which there are.
        """
        found, error = ctypes.POINTER(_native.Description)(), _native.Error()
        self._call(_native.describe, error, pipeline.encode(), ctypes.byref(found))
        try:
            return _types.description(found[0])
        finally:
            _native.description_free(found)

    def register(
        self,
        name: str,
        definition: Union[str, Mapping[str, Any]],
        *,
        lease: Optional[float] = None,
    ) -> Registration:
        """Registers a pipeline for everybody, where the server allows it.

        Parameters
        ----------
        name : str
        definition : str or mapping
            What stands under a pipeline's name in a configuration, as YAML or as a mapping:
            ``{"source": "digits", "actions": [...]}``.
        lease : float, optional
            Seconds without use after which it is removed; default the server's.

        Raises
        ------
        PermissionDenied, InvalidArgument, AlreadyExists
        """
        text = definition if isinstance(definition, str) else json.dumps(dict(definition))
        got, error = _native.Registration(), _native.Error()
        lease_ms = 0 if lease is None else int(lease * 1000)
        lease_ms = _order.integer("lease", lease_ms, 0, 24 * 3600 * 1000)
        self._call(
            _native.register, error, name.encode(), text.encode(), lease_ms, ctypes.byref(got)
        )
        return Registration(
            name,
            _native.text(got.id),
            _types.fingerprint(got.fingerprint),
            got.lease_ms / 1000,
            self,
        )

    def status(self) -> _types.Status:
        """Figures of the server."""
        status, error = _native.Status(), _native.Error()
        self._call(_native.status, error, ctypes.byref(status))
        return _types.status(status)

    # ---- Batches ----

    def gen_batch(
        self,
        pipeline: str,
        batch_size: Optional[int] = None,
        *,
        shuffle: Shuffle = False,
        seed: Optional[int] = None,
        n_epochs: Optional[int] = None,
        n_iters: Optional[int] = None,
        drop_last: bool = False,
        epoch_border: str = "stop",
        shard: Optional[Shard] = None,
        prefetch: Prefetch = "auto",
        on_error: str = "stop",
        position: Optional[str] = None,
        traced: bool = False,
        checked: bool = False,
        progress: bool = False,
    ) -> Stream:
        """A stream of batches, in strict order.

        Parameters
        ----------
        pipeline : str
        batch_size : int
            Items in a batch; may be left out with a position.
        shuffle : bool or int, default False
            An int is the seed; with True, ``seed`` is, or the server draws it and
            ``stream.info.seed`` tells.
        seed : int, optional
            Of random actions, also without a shuffle.
        n_epochs : int, optional
            Passes over the data, 0 for endless; default 1 unless ``n_iters`` is given.
        n_iters : int, optional
            Batches; not with ``n_epochs``.
        drop_last : bool, default False
            Leave incomplete batches out.
        epoch_border : {"stop", "cross"}
            Whether a batch may hold items of two epochs.
        shard : (int, int), optional
            This consumer is shard i of n; all have equally many batches.
        prefetch : int or "auto"
            Batches worked on beside the one that you hold.
        on_error : {"stop", "skip", "report"}
            A batch that fails ends the stream with :class:`ActionFailed`; is left out; or comes as
            a :class:`FailedBatch` in its place.
        position : str, optional
            Go on where another stream was: its ``position``.
        traced : bool, default False
            Batches have ``spans``.
        checked : bool, default False
            Large replies have a check, too.
        progress : bool, default False
            Show a bar, by tqdm.

        Raises
        ------
        InvalidArgument
            Names the argument, what was expected and what came.
        NotFound, FailedPrecondition, ResourceExhausted, Unavailable
        """
        order = _order.make(
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            n_epochs=n_epochs,
            n_iters=n_iters,
            drop_last=drop_last,
            epoch_border=epoch_border,
            shard=shard,
            prefetch=prefetch,
            on_error=on_error,
            position=position,
            traced=traced,
            checked=checked,
        )
        handle, error = ctypes.c_void_p(), _native.Error()
        self._call(
            _native.gen_batch, error, pipeline.encode(), ctypes.byref(order), ctypes.byref(handle)
        )
        stream = Stream(self, handle, order, pipeline if progress else None)
        self._streams.add(stream)
        return stream

    def next_batch(self, pipeline: str, batch_size: int, *, cursor: str, **order: Any) -> Batch:
        """The next batch of a cursor that lives on the server: whoever asks next gets it.

        Parameters
        ----------
        cursor : str
            Its name; the first to ask makes it. Arguments of later calls must be the same.
        **order
            As of :meth:`gen_batch`.

        Raises
        ------
        EndOfCursor
            There are no more.
        Aborted
            The server was started again, and the cursor is gone; asking once more makes a new one.
        """
        made = _order.make(batch_size=batch_size, **order)
        key = (pipeline, cursor)
        handle = self._open_handle()

        def ask() -> Batch:
            # A call that somebody stopped waiting for has its batch: it is for the next who asks.
            with self._mutex:
                stray = self._cursors.get(key)
                if stray:
                    return stray.pop(0)  # type: ignore[no-any-return]
            batch, error = ctypes.c_void_p(), _native.Error()
            code = _native.next_batch(
                handle,
                cursor.encode(),
                pipeline.encode(),
                ctypes.byref(made),
                ctypes.byref(batch),
                ctypes.byref(error),
            )
            if code == _native.END:
                raise _errors.EndOfCursor(f"cursor {cursor} has no batch any more")
            if code != _native.OK:
                _native.fail(code, error)
            view = _native.View()
            _native.batch_view(batch, ctypes.byref(view))
            return Batch(view) if self.writable else ReadOnlyBatch(view)

        def keep(batch: Batch) -> None:
            with self._mutex:
                self._cursors.setdefault(key, []).append(batch)

        return _interruptible(ask, keep)  # type: ignore[no-any-return]

    def run(
        self,
        pipeline: str,
        batch_size: int,
        *,
        progress: Union[bool, Callable[[_types.RunResult], Any]] = False,
        **order: Any,
    ) -> _types.RunResult:
        """Drains a stream on the server; no batch travels.

        Parameters
        ----------
        progress : bool or callable
            A bar, or a function that is called about five times a second with what was reached;
            one that returns False cancels the run.
        **order
            As of :meth:`gen_batch`.

        Raises
        ------
        ActionFailed
            A batch failed, with ``on_error="stop"``; its ``result`` is what was reached.
        Cancelled
        """
        made = _order.make(batch_size=batch_size, **order)
        raised: list[BaseException] = []
        bar = Progress(pipeline, None) if progress is True else None

        def tick(_: Any, so_far: Any) -> bool:
            try:
                result = _types.run_result(so_far[0])
                if bar is not None:
                    bar.at(result.batches)
                elif callable(progress):
                    return progress(result) is not False
                return True
            except BaseException as error:  # noqa: B902 -- raised below
                raised.append(error)
                return False

        found, error = ctypes.POINTER(_native.RunResult)(), _native.Error()
        code = _native.run(
            self._open_handle(),
            pipeline.encode(),
            ctypes.byref(made),
            _native.PROGRESS(tick),
            None,
            ctypes.byref(found),
            ctypes.byref(error),
        )
        result = None
        if found:
            result = _types.run_result(found[0])
            _native.run_free(found)
        if bar is not None:
            if result is not None:
                bar.at(result.batches)
            bar.close()
        if raised:
            raise raised[0]
        if code != _native.OK:
            failure = _native.exception(code, error)
            if isinstance(failure, _errors.ActionFailed):
                failure.result = result
            raise failure
        assert result is not None
        return result

    @property
    def aio(self) -> Aio:
        """The same calls for ``asyncio``."""
        from ._aio import Aio

        return Aio(self)


def open(
    target: Target,
    *,
    token: Token = None,
    tls: Union[Tls, bool, None] = None,
    timeout: float = 10.0,
    log: Optional[Callable[[str], None]] = None,
    shared_memory: bool = True,
    writable: bool = True,
    workers: Optional[int] = None,
    memory: Optional[int] = None,
    listen: Optional[str] = None,
) -> Mill:
    """Pipelines of a configuration file, in this process, or of a server: one word differs.

    Parameters
    ----------
    target : str or path
        ``"pipelines.yaml"``, or ``tcp://host:port``, ``tls+tcp://host:port``, ``ipc:///path``,
        ``ws://host:port/path``.
    token : str or path, optional
        The server's secret, or the file (mode 0600) that has it; default the file that
        ``BATCHMILL_TOKEN_FILE`` names.
    tls : Tls, optional
        Of ``tls+tcp://``.
    timeout : float, default 10
        Seconds for connecting and for every answer. A slow batch is not a late answer.
    log : callable, optional
        Told when the connection is lost, is back, and the like; default the logger
        ``"batchmill"``.
    shared_memory : bool, default True
        Large tensors of a server on this host are seen where they are.
    writable : bool, default True
        Arrays may be written into. False: those in the server's memory are looked at without a
        mapping of their own, which is faster.
    workers, memory : int, optional
        Of a configuration in this process: threads, and the budget in bytes, instead of what the
        file says.
    listen : str, optional
        Likewise: one more URL to serve, such as ``ipc:///path`` for worker processes.

    Raises
    ------
    Unavailable
        Nobody answered in time.
    InvalidArgument, NotFound
        In a configuration, with its file, line and place.
    Unauthenticated, PermissionDenied
    """
    return Mill(
        target,
        token=token,
        tls=tls,
        timeout=timeout,
        log=log,
        shared_memory=shared_memory,
        writable=writable,
        workers=workers,
        memory=memory,
        listen=listen,
    )
