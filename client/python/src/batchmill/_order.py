"""The order parameters: keyword arguments to the C struct, checked where the C client would not."""

from __future__ import annotations

import operator
from typing import Any, Optional, Tuple, Union

from . import _native
from ._errors import InvalidArgument

Shuffle = Union[bool, int]
Prefetch = Union[int, str]
Shard = Tuple[int, int]

_BORDERS = {"stop": 0, "cross": 1}
_ON_ERROR = {"stop": 0, "skip": 1, "report": 2}


def integer(name: str, value: Any, low: int, high: int = 2**64 - 2) -> int:
    """``value`` as an int of that range; NumPy's integers count, bools and floats do not."""
    if isinstance(value, bool):
        raise InvalidArgument(f"{name}: expected an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise InvalidArgument(f"{name}: expected an integer, got {value!r}") from None
    if not low <= number <= high:
        at_most = "" if high >= 2**64 - 2 else f" to {high}"
        raise InvalidArgument(f"{name}: expected {low}{at_most or ' or more'}, got {number}")
    return number


def _choice(name: str, value: Any, choices: dict[str, int]) -> int:
    if value not in choices:
        names = ", ".join(repr(choice) for choice in choices)
        raise InvalidArgument(f"{name}: expected one of {names}, got {value!r}")
    return choices[value]


def _flag(name: str, value: Any) -> bool:
    if value is not True and value is not False:
        raise InvalidArgument(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def _shuffle(order: _native.Order, shuffle: Any, seed: Optional[int]) -> None:
    if shuffle is False or shuffle is None:
        order.seed = 0 if seed is None else integer("seed", seed, 0)
    elif shuffle is True:
        order.shuffle = 2 if seed is None else 1
        order.seed = 0 if seed is None else integer("seed", seed, 0)
    else:
        order.shuffle, order.seed = 1, integer("shuffle", shuffle, 0)
        if seed is not None and seed != order.seed:
            raise InvalidArgument(
                f"seed: expected none beside shuffle={shuffle}, which is the seed, got {seed}"
            )


def make(
    *,
    batch_size: Optional[int],
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
) -> _native.Order:
    """The C struct; InvalidArgument names the argument that is not what it has to be."""
    order = _native.Order(n_epochs=_native.UNSET, n_iters=_native.UNSET, shard_count=1)
    if batch_size is not None:
        order.batch_size = integer("batch_size", batch_size, 1)
    elif position is None:
        raise InvalidArgument("batch_size: expected one, got None")
    _shuffle(order, shuffle, seed)
    if n_epochs is not None and n_iters is not None:
        raise InvalidArgument("n_epochs: expected at most one of n_epochs and n_iters, got both")
    if n_epochs is not None:
        order.n_epochs = integer("n_epochs", n_epochs, 0)
    if n_iters is not None:
        order.n_iters = integer("n_iters", n_iters, 1)
    order.drop_last = _flag("drop_last", drop_last)
    order.epoch_border = _choice("epoch_border", epoch_border, _BORDERS)
    if shard is not None:
        try:
            index, count = shard
        except (TypeError, ValueError):
            raise InvalidArgument(f"shard: expected (index, count), got {shard!r}") from None
        order.shard_count = integer("shard count", count, 1)
        order.shard_index = integer("shard index", index, 0, order.shard_count - 1)
    if prefetch == "auto":
        order.prefetch = _native.PREFETCH_AUTO
    else:
        order.prefetch = integer("prefetch", prefetch, 0, 4095)
    order.on_error = _choice("on_error", on_error, _ON_ERROR)
    if position is not None:
        if not isinstance(position, str):
            raise InvalidArgument(f"position: expected a str, got {position!r}")
        order.position = position.encode()
    order.traced = _flag("traced", traced)
    order.checked = _flag("checked", checked)
    return order
