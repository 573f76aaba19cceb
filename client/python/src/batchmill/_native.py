"""The C client, by ctypes: its structs and functions, as in batchmill/client.h and native.h."""

from __future__ import annotations

import ctypes
import os
import pathlib
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_bool,
    c_char,
    c_char_p,
    c_double,
    c_int,
    c_int64,
    c_size_t,
    c_uint,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any, NoReturn

from . import _errors

UNSET = 2**64 - 1
PREFETCH_AUTO = 2**32 - 1
END, OK, DEADLINE_EXCEEDED = -1, 0, 4
NDIM_MAX = 17


class Error(Structure):
    _fields_ = [
        ("code", c_int),
        ("text", c_char * 512),
        ("has_batch", c_bool),
        ("has_item", c_bool),
        ("seq", c_uint64),
        ("pipeline", c_char * 129),
        ("action", c_char * 129),
        ("item", c_uint64),
    ]


LOG = CFUNCTYPE(None, c_void_p, c_char_p)


class Options(Structure):
    _fields_ = [
        ("timeout_ms", c_uint32),
        ("max_message_bytes", c_uint64),
        ("log", LOG),
        ("log_context", c_void_p),
        ("token", c_char_p),
        ("tls_ca_file", c_char_p),
        ("tls_server_name", c_char_p),
        ("tls_certificate_file", c_char_p),
        ("tls_key_file", c_char_p),
        ("no_shared_memory", c_bool),
        ("writable", c_bool),
    ]


class Component(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("dtype", c_int),
        ("ragged", c_bool),
        ("ndim", c_uint),
        ("shape", POINTER(c_uint64)),
    ]


class Summary(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("source", c_char_p),
        ("items", c_uint64),
        ("fingerprint", c_uint64),
        ("stateful", c_bool),
        ("registered", c_bool),
    ]


class List(Structure):
    _fields_ = [("n", c_size_t), ("pipelines", POINTER(Summary))]


class Action(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("lock", c_char_p),
        ("random", c_bool),
        ("stateful", c_bool),
        ("per_batch", c_bool),
        ("probability", c_double),
        ("ncomponents", c_size_t),
        ("components", POINTER(Component)),
    ]


class Vocabulary(Structure):
    _fields_ = [("component", c_char_p), ("size", c_uint64), ("names", POINTER(c_char_p))]


class Cache(Structure):
    _fields_ = [
        ("nactions", c_uint),
        ("on_disk", c_bool),
        ("items", c_uint64),
        ("bytes", c_uint64),
        ("bytes_max", c_uint64),
        ("hits", c_uint64),
        ("misses", c_uint64),
        ("damaged", c_uint64),
    ]


class Description(Structure):
    _fields_ = [
        ("summary", Summary),
        ("source_type", c_char_p),
        ("nsource_components", c_size_t),
        ("nactions", c_size_t),
        ("ncomponents", c_size_t),
        ("nsteps", c_size_t),
        ("source_components", POINTER(Component)),
        ("actions", POINTER(Action)),
        ("components", POINTER(Component)),
        ("steps", POINTER(c_char_p)),
        ("nvocabularies", c_size_t),
        ("vocabularies", POINTER(Vocabulary)),
        ("group_by", c_char_p),
        ("cache", POINTER(Cache)),
    ]


class Registration(Structure):
    _fields_ = [("id", c_char * 41), ("fingerprint", c_uint64), ("lease_ms", c_uint32)]


class Order(Structure):
    _fields_ = [
        ("batch_size", c_uint64),
        ("shuffle", c_int),
        ("seed", c_uint64),
        ("n_epochs", c_uint64),
        ("n_iters", c_uint64),
        ("drop_last", c_bool),
        ("epoch_border", c_int),
        ("shard_index", c_uint64),
        ("shard_count", c_uint64),
        ("prefetch", c_uint32),
        ("on_error", c_int),
        ("position", c_char_p),
        ("traced", c_bool),
        ("checked", c_bool),
    ]


class StreamInfo(Structure):
    _fields_ = [
        ("first_seq", c_uint64),
        ("batches", c_uint64),
        ("epoch_batches", c_uint64),
        ("items", c_uint64),
        ("seed", c_uint64),
        ("fingerprint", c_uint64),
        ("stateful", c_bool),
        ("ncomponents", c_size_t),
        ("nsteps", c_size_t),
        ("components", POINTER(Component)),
        ("steps", POINTER(c_char_p)),
        ("skipped", c_uint64),
        ("failed", c_uint64),
    ]


class Tensor(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("dtype", c_int),
        ("ndim", c_uint),
        ("shape", c_uint64 * NDIM_MAX),
        ("ragged", c_bool),
        ("offsets", c_void_p),
        ("data", c_void_p),
        ("size_bytes", c_size_t),
    ]


class Span(Structure):
    _fields_ = [
        ("queued_ns", c_uint64),
        ("parked_ns", c_uint64),
        ("started_ns", c_uint64),
        ("ended_ns", c_uint64),
        ("worker", c_uint),
    ]


class Variable(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("is_integer", c_bool),
        ("integer", c_int64),
        ("number", c_double),
    ]


class RunResult(Structure):
    _fields_ = [
        ("batches", c_uint64),
        ("items", c_uint64),
        ("skipped", c_uint64),
        ("failed", c_uint64),
        ("bytes", c_uint64),
        ("seconds", c_double),
        ("expected_batches", c_uint64),
        ("seed", c_uint64),
        ("nvariables", c_size_t),
        ("variables", POINTER(Variable)),
    ]


PROGRESS = CFUNCTYPE(c_bool, c_void_p, POINTER(RunResult))


class Connections(Structure):
    _fields_ = [
        (name, c_uint64)
        for name in (
            "open",
            "unsent_bytes",
            "accepted",
            "refused",
            "no_greeting",
            "bad_frame",
            "slow",
        )
    ]


class Status(Structure):
    _fields_ = [
        ("version", c_char * 32),
        ("uptime_seconds", c_double),
        ("workers", c_uint32),
        ("pipelines", c_uint32),
        ("streams", c_uint32),
        ("runs", c_uint32),
        ("jobs_ready", c_uint32),
        ("jobs_running", c_uint32),
        ("jobs_parked", c_uint32),
        ("jobs_waiting", c_uint32),
        ("memory_used_bytes", c_uint64),
        ("memory_bytes", c_uint64),
        ("batches", c_uint64),
        ("draining", c_bool),
        ("answered", c_uint64 * 17),
        ("connections", Connections),
        ("shared_batches", c_uint64),
    ]


class EmbeddedOptions(Structure):
    _fields_ = [("listen", c_char_p), ("workers", c_uint64), ("memory_bytes", c_uint64)]


class View(Structure):
    _fields_ = [
        ("batch", c_void_p),
        ("seq", c_uint64),
        ("epoch", c_uint64),
        ("nitems", c_uint64),
        ("items", c_void_p),
        ("ntensors", c_uint64),
        # As addresses: a pointer that was read would change with this struct.
        ("tensors", c_void_p),
        ("nspans", c_uint64),
        ("spans", c_void_p),
    ]


class LentAction(Structure):
    _fields_ = [("name", c_char_p), ("version", c_char_p), ("lock", c_char_p)]


class TaskInfo(Structure):
    _fields_ = [
        ("action", c_char_p),
        ("pipeline", c_char_p),
        ("stream", c_char_p),
        ("seq", c_uint64),
        ("epoch", c_uint64),
        ("attempt", c_uint64),
        ("seed", c_uint64),
        ("position", c_uint),
        ("params", c_char_p),
        ("nitems", c_size_t),
        ("items", c_void_p),
        ("epochs", c_void_p),
        ("copies", c_void_p),
    ]


class Layout(Structure):
    _fields_ = [("name", c_char_p), ("size", c_size_t)]


# ---- The library ----


def _load() -> ctypes.CDLL:
    """The library beside this file, or the one that BATCHMILL_LIBRARY names, for developers."""
    path = os.environ.get("BATCHMILL_LIBRARY")
    if path is None:
        path = str(pathlib.Path(__file__).with_name("libbatchmill_python.so"))
        if not os.path.exists(path):
            path = str(pathlib.Path(__file__).with_name("libbatchmill_python.dylib"))
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(f"batchmill: cannot load its library: {error}") from None


lib = _load()
_E, _P = POINTER(Error), c_void_p


def _function(name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(lib, "batchmill_" + name)
    function.restype, function.argtypes = result, list(arguments)
    return function


code_name = _function("code_name", c_char_p, c_int)
version = _function("version", c_char_p)
dtype_name = _function("dtype_name", c_char_p, c_int)
connect = _function("connect", c_int, c_char_p, POINTER(Options), POINTER(_P), _E)
disconnect = _function("disconnect", None, _P)
list_ = _function("list", c_int, _P, POINTER(POINTER(List)), _E)
list_free = _function("list_free", None, POINTER(List))
describe = _function("describe", c_int, _P, c_char_p, POINTER(POINTER(Description)), _E)
description_free = _function("description_free", None, POINTER(Description))
register = _function("register", c_int, _P, c_char_p, c_char_p, c_uint32, POINTER(Registration), _E)
unregister = _function("unregister", c_int, _P, c_char_p, c_char_p, POINTER(c_bool), _E)
gen_batch = _function("gen_batch", c_int, _P, c_char_p, POINTER(Order), POINTER(_P), _E)
position = _function("position", c_int, _P, c_char_p, c_size_t, _E)
cancel = _function("cancel", None, _P)
stream_close = _function("stream_close", None, _P)
stream_info = _function("stream_info", None, _P, POINTER(StreamInfo))
next_batch = _function("next_batch", c_int, _P, c_char_p, c_char_p, POINTER(Order), POINTER(_P), _E)
batch_free = _function("batch_free", None, _P)
batch_view = _function("batch_view", None, _P, POINTER(View))
next_view = _function("next_view", c_int, _P, c_uint32, POINTER(View), _E)
run = _function(
    "run",
    c_int,
    _P,
    c_char_p,
    POINTER(Order),
    PROGRESS,
    c_void_p,
    POINTER(POINTER(RunResult)),
    _E,
)
run_free = _function("run_free", None, POINTER(RunResult))
status = _function("status", c_int, _P, POINTER(Status), _E)
embedded_start = _function(
    "embedded_start", c_int, c_char_p, POINTER(EmbeddedOptions), POINTER(_P), _E
)
embedded_url = _function("embedded_url", c_char_p, _P)
embedded_listen = _function("embedded_listen", c_char_p, _P)
embedded_stop = _function("embedded_stop", None, _P)
lend = _function("lend", c_int, _P, POINTER(LentAction), c_size_t, c_uint, POINTER(_P), _E)
take = _function("take", c_int, _P, c_uint32, POINTER(_P), _E)
lender_cancel = _function("lender_cancel", None, _P)
lender_close = _function("lender_close", None, _P)
task_info = _function("task_info", None, _P, POINTER(TaskInfo))
task_take_batch = _function("task_take_batch", c_void_p, _P)
task_write = _function(
    "task_write",
    c_int,
    _P,
    c_char_p,
    c_int,
    c_uint,
    POINTER(c_uint64),
    c_void_p,
    POINTER(c_void_p),
    _E,
)
task_done = _function("task_done", None, _P)
task_fail = _function("task_fail", None, _P, c_int, c_int64, c_char_p)
task_skip = _function("task_skip", None, _P)
task_stop = _function("task_stop", None, _P)
task_give_back = _function("task_give_back", None, _P)

_STRUCTS = {
    "error": Error,
    "options": Options,
    "component": Component,
    "summary": Summary,
    "list": List,
    "action": Action,
    "vocabulary": Vocabulary,
    "cache": Cache,
    "description": Description,
    "registration": Registration,
    "order": Order,
    "stream_info": StreamInfo,
    "tensor": Tensor,
    "span": Span,
    "variable": Variable,
    "run_result": RunResult,
    "connections": Connections,
    "status": Status,
    "embedded_options": EmbeddedOptions,
    "view": View,
    "lent_action": LentAction,
    "task_info": TaskInfo,
}


def _check_layouts() -> None:
    """A library of another version would be read wrongly."""
    layouts = _function("layouts", POINTER(Layout))()
    i = 0
    while layouts[i].name is not None:
        name, size = layouts[i].name.decode(), layouts[i].size
        ours = ctypes.sizeof(_STRUCTS[name])
        if ours != size:
            raise ImportError(
                f"batchmill: the library is of another version: expected a struct "
                f"batchmill_{name} of {ours} bytes, got one of {size}"
            )
        i += 1


_check_layouts()


# ---- Texts and errors ----


def text(value: bytes | None) -> str:
    """What a server says is UTF-8; what is not, is shown all the same."""
    return "" if value is None else value.decode("utf-8", "replace")


def exception(code: int, error: Error) -> _errors.Error:
    """The exception of a call that gave ``code``."""
    message = text(error.text)
    if error.has_batch:
        return _errors.ActionFailed(
            message,
            text(code_name(code)),
            error.seq,
            text(error.pipeline),
            text(error.action),
            error.item if error.has_item else None,
        )
    return _errors.error_class(code)(message)


def fail(code: int, error: Error) -> NoReturn:
    raise exception(code, error)
