"""The calls of a mill for asyncio.

Batches that are here already are taken at once; a thread waits for the others, so the loop never
does.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from typing import TYPE_CHECKING, Any, Callable, Optional

from . import _types
from ._batch import Batch
from ._errors import Timeout
from ._stream import Stream

if TYPE_CHECKING:
    from ._mill import Mill


class AsyncStream:
    """An asynchronous iterator over batches, and an asynchronous context manager.

    A wait that is cancelled loses no batch: the next one gets it.
    """

    def __init__(self, opens: Callable[[], Stream]) -> None:
        self._opens = opens
        self._stream: Optional[Stream] = None
        self._threads = concurrent.futures.ThreadPoolExecutor(1, "batchmill-aio")
        self._waiting: Optional[asyncio.Future[Any]] = None

    def __aiter__(self) -> AsyncStream:
        return self

    async def _do(self, function: Callable[[], Any]) -> Any:
        if self._waiting is None:
            loop = asyncio.get_running_loop()
            self._waiting = loop.run_in_executor(self._threads, function)
        waiting = self._waiting
        try:
            result = await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not waiting.cancelled():
                raise
            self._waiting = None
            raise
        except BaseException:
            self._waiting = None
            raise
        self._waiting = None
        return result

    async def stream(self) -> Stream:
        """The stream itself, for its ``position`` and ``info``; opened at the first use."""
        if self._stream is None:
            self._stream = await self._do(self._opens)
        return self._stream

    async def __anext__(self) -> Batch:
        stream = await self.stream()
        batch: Any
        if self._waiting is None:
            try:
                batch = stream.next(0)
            except Timeout:
                batch = await self._do(stream.next)
        else:
            batch = await self._do(stream.next)
        if batch is None:
            await self.aclose()
            raise StopAsyncIteration
        return batch  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        """Closes it on the server, too."""
        if self._stream is not None:
            self._stream.cancel()
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._threads, self._stream.close)
        self._threads.shutdown(wait=False)

    async def __aenter__(self) -> AsyncStream:
        await self.stream()
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.aclose()

    def __del__(self) -> None:
        stream = getattr(self, "_stream", None)
        if stream is not None:
            stream.cancel()
        threads = getattr(self, "_threads", None)
        if threads is not None:
            threads.shutdown(wait=False)


class Aio:
    """``mill.aio``: as :class:`Mill`, for ``async for`` and ``await``."""

    def __init__(self, mill: Mill) -> None:
        self._mill = mill

    def gen_batch(
        self, pipeline: str, batch_size: Optional[int] = None, **order: Any
    ) -> AsyncStream:
        """As :meth:`Mill.gen_batch`; mistakes in the arguments come with the first batch."""
        return AsyncStream(functools.partial(self._mill.gen_batch, pipeline, batch_size, **order))

    async def _await(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, functools.partial(function, *args, **kwargs))

    async def list(self) -> _types.Pipelines:
        """As :meth:`Mill.list`."""
        return await self._await(self._mill.list)  # type: ignore[no-any-return]

    async def describe(self, pipeline: str) -> _types.Description:
        """As :meth:`Mill.describe`."""
        return await self._await(self._mill.describe, pipeline)  # type: ignore[no-any-return]

    async def status(self) -> _types.Status:
        """As :meth:`Mill.status`."""
        return await self._await(self._mill.status)  # type: ignore[no-any-return]

    async def next_batch(self, pipeline: str, batch_size: int, **kwargs: Any) -> Batch:
        """As :meth:`Mill.next_batch`."""
        return await self._await(  # type: ignore[no-any-return]
            self._mill.next_batch, pipeline, batch_size, **kwargs
        )

    async def run(self, pipeline: str, batch_size: int, **kwargs: Any) -> _types.RunResult:
        """As :meth:`Mill.run`."""
        return await self._await(  # type: ignore[no-any-return]
            self._mill.run, pipeline, batch_size, **kwargs
        )
