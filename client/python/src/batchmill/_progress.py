"""A bar that says how far it is, and for whom it waits."""

from __future__ import annotations

import time
from typing import Any, Optional

from ._errors import Error

_SHOWN_EVERY = 0.2  # seconds


class Progress:
    """Wraps ``tqdm.auto``; counts where a consumer's time goes.

    *you*: between two asks, the time that the loop's body took. *server*: the time that the
    loop waited for a batch; the way over the network is part of it, as a client cannot tell
    them apart when batches are prefetched.
    """

    def __init__(self, name: str, total: Optional[int]) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            raise Error(
                "progress=True needs tqdm: pip install batchmill[progress]", "FAILED_PRECONDITION"
            ) from None
        self._bar: Any = tqdm(total=total, unit="batch", desc=name, leave=True)
        self._waited = self._worked = 0.0
        self._bytes = 0
        self._began = self._last = time.perf_counter()
        self._shown = 0.0

    def asks(self) -> None:
        """The loop's body is over: from now on it waits."""
        now = time.perf_counter()
        self._worked += now - self._last
        self._last = now

    def got(self, batches: int, nbytes: int) -> None:
        """A batch is here."""
        now = time.perf_counter()
        self._waited += now - self._last
        self._last = now
        self._bytes += nbytes
        self._bar.update(batches)
        if now - self._shown >= _SHOWN_EVERY:
            self.show(now)

    def show(self, now: float) -> None:
        self._shown = now
        seconds = max(now - self._began, 1e-9)
        total = max(self._waited + self._worked, 1e-9)
        waits = "server" if self._waited > self._worked else "you"
        share = max(self._waited, self._worked) / total
        rate = self._bytes / seconds / 1e6
        self._bar.set_postfix_str(
            f"{rate:.1f} MB/s, waiting for {waits} {share:.0%}", refresh=False
        )

    def at(self, batches: int) -> None:
        """A run reached that many."""
        self._bar.update(batches - self._bar.n)

    def close(self) -> None:
        self._bar.close()
