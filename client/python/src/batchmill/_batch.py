"""Batches: named arrays over the memory they came in, which lives as long as any view of it."""

from __future__ import annotations

import ctypes
import html
from typing import TYPE_CHECKING, Any, Iterator, Optional, Union

import numpy as np
from numpy.typing import NDArray

from . import _errors, _html, _native

if TYPE_CHECKING:
    from ._native import Span, Tensor, View

_TYPESTR = {
    1: "|b1",
    2: "|i1",
    3: "<i2",
    4: "<i4",
    5: "<i8",
    6: "|u1",
    7: "<u2",
    8: "<u4",
    9: "<u8",
    10: "<f2",
    11: "<u2",
    12: "<f4",
    13: "<f8",
    14: "|u1",
    15: "|u1",
}
_BFLOAT16, _BYTES, _STRING = 11, 14, 15
_free = _native.batch_free


class _Owner:
    """Owns a batch of the C client: what looks at its memory refers to this."""

    __slots__ = ("pointer", "__weakref__")

    def __init__(self, pointer: Optional[int]) -> None:
        self.pointer = pointer

    def __del__(self) -> None:
        if self.pointer is not None:
            _free(self.pointer)
            self.pointer = None


class _Memory:
    """What NumPy makes an array of; the array then refers to it, and so do views of views."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(
        self, owner: Any, address: Optional[int], shape: tuple[int, ...], typestr: str, write: bool
    ) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": typestr,
            "data": (address or 0, not write),
        }


def array_at(
    owner: Any, address: Optional[int], shape: tuple[int, ...], typestr: str, write: bool
) -> NDArray[Any]:
    """An array over that memory, which keeps ``owner`` alive."""
    if not address or 0 in shape:
        return np.empty(shape, typestr)
    return np.asarray(_Memory(owner, address, shape, typestr, write))


def _bfloat16(array: NDArray[Any]) -> NDArray[Any]:
    """As ``ml_dtypes.bfloat16`` where that is installed, else the 16 bits as uint16."""
    try:
        import ml_dtypes
    except ImportError:
        return array
    return array.view(ml_dtypes.bfloat16)


class Ragged:
    """A component whose items differ in length along their first axis.

    Attributes
    ----------
    values : ndarray, shape (rows, ...)
        Of all items, one after the other; no copy.
    offsets : ndarray of uint64, shape (items + 1,)
        Item i has the rows ``values[offsets[i]:offsets[i + 1]]``.
    """

    __slots__ = ("values", "offsets")

    def __init__(self, values: NDArray[Any], offsets: NDArray[np.uint64]) -> None:
        self.values = values
        self.offsets = offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> NDArray[Any]:
        n = len(self)
        if not -n <= i < n:
            raise IndexError(f"expected an item below {n}, got {i}")
        i %= n
        return self.values[int(self.offsets[i]) : int(self.offsets[i + 1])]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        offsets = self.offsets.tolist()
        for begin, end in zip(offsets, offsets[1:]):
            yield self.values[begin:end]

    @property
    def lengths(self) -> NDArray[np.uint64]:
        """ndarray of uint64, shape (items,): rows of each item."""
        return np.diff(self.offsets)

    def lists(self) -> list[Any]:
        """The items as nested lists of Python's numbers."""
        return [item.tolist() for item in self]

    def dense(self) -> NDArray[Any]:
        """ndarray, shape (items, rows, ...): without a copy, where all items are equally long.

        Raises
        ------
        InvalidArgument
            They are not.
        """
        lengths = self.lengths
        if len(lengths) == 0:
            return self.values.reshape((0, 0, *self.values.shape[1:]))
        if int(lengths.min()) != int(lengths.max()):
            raise _errors.InvalidArgument(
                f"expected items of equal length, got {lengths.min()} to {lengths.max()} rows"
            )
        return self.values.reshape((len(self), int(lengths[0]), *self.values.shape[1:]))

    def padded(self, fill: Any = 0, length: Optional[int] = None) -> NDArray[Any]:
        """A copy of shape (items, length, ...) where shorter items end with ``fill``.

        ``length`` is that of the longest item unless given; longer ones are cut.
        """
        longest = int(self.lengths.max()) if len(self) > 0 else 0
        length = longest if length is None else length
        out = np.full((len(self), length, *self.values.shape[1:]), fill, self.values.dtype)
        for i, item in enumerate(self):
            out[i, : len(item)] = item[:length]
        return out

    def __repr__(self) -> str:
        return f"Ragged({len(self)} items, values {self.values.dtype} {self.values.shape})"


class Text(Ragged):
    """A component of texts or of runs of bytes: ``values`` are uint8."""

    __slots__ = ("is_string",)

    def __init__(self, values: NDArray[Any], offsets: NDArray[np.uint64], is_string: bool) -> None:
        super().__init__(values, offsets)
        self.is_string = is_string

    def tolist(self) -> list[Any]:
        """A str of each item, or bytes."""
        whole, offsets = self.values.tobytes(), self.offsets.tolist()
        parts = [whole[begin:end] for begin, end in zip(offsets, offsets[1:])]
        return [part.decode("utf-8", "replace") for part in parts] if self.is_string else parts

    def lists(self) -> list[Any]:
        return self.tolist()

    def numpy(self, dtype: str = "object") -> NDArray[Any]:
        """A copy as an array of Python objects, or with ``"string"`` of NumPy's StringDType.

        Raises
        ------
        InvalidArgument
            The component is of bytes, or NumPy is older than 2.0.
        """
        if dtype == "object":
            out = np.empty(len(self), object)
            out[:] = self.tolist()
            return out
        if dtype != "string":
            raise _errors.InvalidArgument(f"dtype: expected 'object' or 'string', got {dtype!r}")
        kind = getattr(np.dtypes, "StringDType", None) if hasattr(np, "dtypes") else None
        if kind is None or not self.is_string:
            raise _errors.InvalidArgument("dtype: StringDType is of strings, and of NumPy 2.0 on")
        strings: NDArray[Any] = np.array(self.tolist(), dtype=kind())
        return strings

    def __repr__(self) -> str:
        return f"Text({len(self)} {'strings' if self.is_string else 'runs of bytes'})"


Value = Union[NDArray[Any], Ragged, Text]


class Batch:
    """A batch: ``batch["pixels"]`` is an array of shape (items, ...) over the memory it came in.

    The memory is kept for as long as anything looks at it. Components with items of different
    length are :class:`Ragged`, texts :class:`Text`.

    Attributes
    ----------
    seq : int
        Its number in the stream, from 0.
    epoch : int
        Of its first item.
    """

    __slots__ = ("seq", "epoch", "_owner", "_n", "_items", "_at", "_ntensors", "_table", "_made")
    _write: bool = True

    def __init__(self, view: View, owner: Any = None) -> None:
        self._owner = _Owner(view.batch) if owner is None else owner
        self.seq: int = view.seq
        self.epoch: int = view.epoch
        self._n: int = view.nitems
        self._items = view.items
        self._at: int = view.tensors
        self._ntensors: int = view.ntensors
        self._table: Any = None
        self._made: Optional[dict[str, Value]] = None

    def _tensors(self) -> Any:
        if self._table is None:
            self._table = (_native.Tensor * self._ntensors).from_address(self._at)
        return self._table

    def _tensor(self, name: str) -> Tensor:
        wanted = name.encode() if isinstance(name, str) else b""
        for tensor in self._tensors():
            if tensor.name == wanted:
                return tensor  # type: ignore[no-any-return]
        names = ", ".join(self.keys())
        raise KeyError(f"there is no component {name!r}; there are: {names}")

    def _make(self, tensor: Tensor) -> Value:
        dtype, owner = tensor.dtype, self._owner
        shape = tuple(tensor.shape[: tensor.ndim])
        values = array_at(owner, tensor.data, shape, _TYPESTR[dtype], self._write)
        if dtype == _BFLOAT16:
            values = _bfloat16(values)
        if not tensor.ragged:
            return values
        offsets = array_at(owner, tensor.offsets, (self._n + 1,), "<u8", False)
        if dtype in (_BYTES, _STRING):
            return Text(values, offsets, dtype == _STRING)
        return Ragged(values, offsets)

    def __getitem__(self, name: str) -> Any:
        made = self._made
        if made is None:
            made = self._made = {}
        value = made.get(name)
        if value is None:
            value = made[name] = self._make(self._tensor(name))
        return value

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __len__(self) -> int:
        return self._n

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> list[str]:
        """The names of the components."""
        return [tensor.name.decode() for tensor in self._tensors()]

    def values(self) -> list[Any]:
        """The components, as by their names."""
        return [self[name] for name in self.keys()]

    @property
    def items(self) -> NDArray[np.uint64]:
        """ndarray of uint64, shape (items,): indices in the source."""
        return array_at(self._owner, self._items, (self._n,), "<u8", False)

    @property
    def nbytes(self) -> int:
        """Bytes of all components, without offsets."""
        return sum(tensor.size_bytes for tensor in self._tensors())

    def __repr__(self) -> str:
        return f"Batch(seq={self.seq}, {self._n} items: {', '.join(self.keys())})"

    def _repr_html_(self) -> str:
        rows = []
        for name in self.keys():
            value = self[name]
            inner = value.values if isinstance(value, Ragged) else value
            kind = "text" if isinstance(value, Text) else str(inner.dtype)
            ragged = "ragged " if isinstance(value, Ragged) else ""
            rows.append((name, ragged + kind, str(inner.shape)))
        head = f"batch {self.seq}, epoch {self.epoch}, {self._n} items"
        return f"<div>{html.escape(head)}</div>" + _html.table(("", "dtype", "shape"), rows)


class ReadOnlyBatch(Batch):
    """A batch that is only to be looked at: it lies where others look, too."""

    __slots__ = ()
    _write = False


class TracedBatch(Batch):
    """A batch of a traced stream.

    Attributes
    ----------
    spans : list of dict
        One for each step: ``step``, ``worker`` and, in ns of the server's clock, ``queued_ns``,
        ``parked_ns``, ``started_ns`` and ``ended_ns``; 0 means that it did not happen.
    """

    __slots__ = ("spans", "_write")  # the latter is a class's in the others

    def __init__(self, view: View, steps: tuple[str, ...], write: bool) -> None:
        super().__init__(view)
        self._write = write
        spans = (_native.Span * view.nspans).from_address(view.spans)
        self.spans = [_span(span, step) for span, step in zip(spans, steps)]


def _span(span: Span, step: str) -> dict[str, Any]:
    plain: dict[str, Any] = {field[0]: getattr(span, field[0]) for field in span._fields_}
    plain["step"] = step
    return plain


class FailedBatch:
    """In the place of a batch that failed, where ``on_error="report"``; false as a bool.

    Attributes
    ----------
    seq : int
    error : ActionFailed
    """

    __slots__ = ("seq", "error")

    def __init__(self, error: _errors.ActionFailed) -> None:
        self.seq = error.seq
        self.error = error

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"FailedBatch(seq={self.seq}: {self.error})"


assert ctypes.sizeof(ctypes.c_void_p) == 8, "batchmill needs a 64-bit Python"
