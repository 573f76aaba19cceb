"""Batches for PyTorch: an ``IterableDataset`` whose batches arrive ready.

::

    dataset = batchmill.torch.Dataset("tcp://host:7310", "digits", batch_size=64, shuffle=7)
    loader = torch.utils.data.DataLoader(dataset, batch_size=None)
    for epoch in range(10):
        dataset.set_epoch(epoch)
        for batch in loader:
            batch["pixels"]                 # a tensor over the memory that it came in

``num_workers=0`` is recommended: the server prepares the batches, and the client receives the next
ones in the background without the interpreter's lock. Worker processes of a DataLoader would copy
each batch once more, which halves the rate of large ones. They work all the same, and give the
same batches in the same order: each receives all of them, and gives its share.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Iterator, Optional, Union

import torch
import torch.utils.data

from . import _errors, _mill
from ._batch import Batch, FailedBatch, Ragged, Text
from ._mill import Mill, Target

_TORCH_OF_UNSIGNED = {"uint16": "int16", "uint32": "int32", "uint64": "int64"}


def tensor(value: Any) -> Any:
    """A component as PyTorch has it, without a copy where it is numbers.

    Dense ones are tensors; ragged ones ``(values, offsets)``, two tensors; texts lists. Unsigned
    integers of more than 8 bits come as the signed ones of the same bits where this PyTorch has
    no others.
    """
    if isinstance(value, Text):
        return value.tolist()
    if isinstance(value, Ragged):
        return tensor(value.values), tensor(value.offsets.astype("int64"))
    if value.dtype.name == "bfloat16":
        return torch.from_numpy(value.view("int16")).view(torch.bfloat16)
    signed = _TORCH_OF_UNSIGNED.get(value.dtype.name)
    if signed is not None and not hasattr(torch, value.dtype.name):
        value = value.view(signed)
    return torch.from_numpy(value)


def tensors(batch: Batch) -> dict[str, Any]:
    """All components of a batch, by name."""
    return {name: tensor(batch[name]) for name in batch.keys()}


def _worker() -> tuple[int, int]:
    """Of this process among those of a DataLoader; (0, 1) where there are none."""
    info: Any = torch.utils.data.get_worker_info()  # type: ignore[no-untyped-call,unused-ignore]
    return (0, 1) if info is None else (int(info.id), int(info.num_workers))


def _rank() -> tuple[int, int]:
    """Of this process among those that train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


class Dataset(torch.utils.data.IterableDataset[Any]):
    """Batches of a pipeline, for a DataLoader with ``batch_size=None`` or to iterate over.

    Parameters
    ----------
    target : str or path
        A URL, or a configuration for this very process; opened in the process that iterates.
    pipeline : str
    batch_size : int
        Items in a batch, of this process.
    transform : callable, optional
        Gets what the dataset gives, and returns what is given instead.
    shard : (int, int), optional
        Default: of ``torch.distributed``, or of RANK and WORLD_SIZE. All shards have equally many
        batches.
    epochs : int, default 1
        Passes per iteration; 0 is endless, and then ``set_epoch`` makes no sense.
    options : mapping, optional
        Of :func:`batchmill.open`.
    **order
        As of :meth:`Mill.gen_batch`: ``shuffle``, ``seed``, ``drop_last``, ``prefetch``, ...

    Each iteration is over the epoch that ``set_epoch`` said, as with a DistributedSampler; or goes
    on where ``load_state_dict`` said. ``state_dict`` is that of what this process took, also for
    torchdata's ``StatefulDataLoader``.
    """

    def __init__(
        self,
        target: Target,
        pipeline: str,
        batch_size: int,
        *,
        transform: Optional[Callable[[Any], Any]] = None,
        shard: Optional[tuple[int, int]] = None,
        epochs: int = 1,
        options: Optional[dict[str, Any]] = None,
        **order: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        for name in ("n_epochs", "n_iters", "position"):
            if name in order:
                raise _errors.InvalidArgument(
                    f"{name}: expected none; epochs= and load_state_dict() say how far it goes"
                )
        if order.get("shuffle") is True and order.get("seed") is None:
            raise _errors.InvalidArgument(
                "shuffle: expected a seed, as all processes have to draw the same, got True"
            )
        self.target, self.pipeline, self.batch_size = target, pipeline, batch_size
        self.transform = transform
        self.shard = shard
        self.epochs = epochs
        self.options = dict(options or {})
        self.order = order
        self._epoch = 0
        self._taken = 0  # batches of this shard since the start of that epoch
        self._base = 0  # where the workers of a DataLoader began to take turns
        self._mill: Optional[Mill] = None

    # ---- What DataLoader and trainers ask for ----

    def set_epoch(self, epoch: int) -> None:
        """From now on iterations are over that epoch: its own permutation of the same seed."""
        self._epoch, self._taken, self._base = int(epoch), 0, 0

    def state_dict(self) -> dict[str, int]:
        """Where it stands: behind the last batch that was taken."""
        alone = _worker()[1] == 1
        base = self._taken if alone else self._base
        return {"epoch": self._epoch, "taken": self._taken, "base": base}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next iteration goes on there."""
        self._epoch, self._taken = int(state["epoch"]), int(state["taken"])
        self._base = int(state.get("base", self._taken))

    def __len__(self) -> int:
        """Batches of one iteration of this process, from the start of an epoch."""
        if self.epochs == 0:
            raise TypeError("an endless dataset has no length")
        with self._open_stream(0) as stream:
            per_epoch = stream.info.epoch_batches
            if per_epoch is None:
                raise TypeError("a dataset whose batches cross epochs has no length")
            return int(per_epoch) * self.epochs

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state["_mill"] = None  # each process opens its own
        return state

    # ---- Streams ----

    def _open_mill(self) -> Mill:
        if self._mill is None or self._mill._pid != os.getpid():
            self._mill = _mill.open(self.target, **self.options)
        return self._mill

    def _open_stream(self, skipped: int) -> Any:
        """At the batch ``skipped`` of the epoch, until ``epochs`` epochs are over."""
        mill = self._open_mill()
        shard = self.shard or _rank()
        last = 0 if self.epochs == 0 else self._epoch + self.epochs
        order = dict(self.order, shard=shard, n_epochs=last)
        stream = mill.gen_batch(self.pipeline, self.batch_size, **order)
        per_epoch = stream.info.epoch_batches
        if self._epoch > 0 and per_epoch is None:
            raise _errors.InvalidArgument(
                "epoch_border: expected 'stop' with set_epoch(), as batches cross epochs otherwise"
            )
        first = self._epoch * (per_epoch or 0) + skipped
        if first == 0:
            return stream
        position = stream.position.rsplit(".", 1)[0] + f".{first}"
        stream.close()
        rest = {
            name: order[name]
            for name in ("prefetch", "on_error", "traced", "checked", "progress")
            if name in order
        }
        return mill.gen_batch(self.pipeline, position=position, **rest)

    def _give(self, batch: Union[Batch, FailedBatch]) -> Any:
        made: Any = batch if isinstance(batch, FailedBatch) else tensors(batch)
        return made if self.transform is None else self.transform(made)

    def __iter__(self) -> Iterator[Any]:
        index, count = _worker()
        with self._open_stream(self._taken) as stream:
            # A DataLoader asks its workers in turn, and each gives its own: together all of them.
            for number, batch in enumerate(stream, self._taken):
                if (number - self._base) % count != index:
                    continue
                made = self._give(batch)
                self._taken = number + 1
                yield made
        self._taken = self._base = 0
