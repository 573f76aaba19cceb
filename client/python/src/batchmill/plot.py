"""Pictures of what happened; needs matplotlib (``pip install batchmill[plot]``)."""

from __future__ import annotations

import json
import os
from typing import Any, Iterable, NamedTuple, Optional, Union

from ._batch import TracedBatch
from ._errors import Error, InvalidArgument

_BATCHES = 2  # the process of Chrome's format whose rows are batches
_WAITS = "waits for lock"

Trace = Union[str, "os.PathLike[str]", Iterable[TracedBatch]]


class _Bar(NamedTuple):
    seq: int
    step: str
    begin: float  # ms
    end: float
    waits: bool  # for a lock


def _of_batches(batches: Iterable[Any]) -> list[_Bar]:
    bars = []
    for batch in batches:
        if not isinstance(batch, TracedBatch):
            raise InvalidArgument(
                f"trace: expected batches of gen_batch(traced=True), got {type(batch).__name__}"
            )
        for span in batch.spans:
            if span["parked_ns"] and span["started_ns"]:
                ends = (span["parked_ns"] / 1e6, span["started_ns"] / 1e6)
                bars.append(_Bar(batch.seq, span["step"], *ends, True))
            if span["started_ns"] and span["ended_ns"]:
                ends = (span["started_ns"] / 1e6, span["ended_ns"] / 1e6)
                bars.append(_Bar(batch.seq, span["step"], *ends, False))
    return bars


def _of_file(path: Union[str, os.PathLike[str]]) -> list[_Bar]:
    with open(path, encoding="utf-8") as file:
        read = json.load(file)
    events = read["traceEvents"] if isinstance(read, dict) else read
    bars = []
    for event in events:
        if event.get("ph") != "X" or event.get("pid") != _BATCHES:
            continue
        begin = event["ts"] / 1e3
        waits = event["name"].startswith(_WAITS)
        end = begin + event["dur"] / 1e3
        bars.append(_Bar(event["args"]["batch"], event["name"], begin, end, waits))
    return bars


def timeline(trace: Trace, ax: Optional[Any] = None) -> Any:
    """Draws which batch was in which action when: batches as rows, waits for locks hatched.

    Parameters
    ----------
    trace : iterable of TracedBatch, or path
        Batches of ``gen_batch(..., traced=True)``, or the file that ``batchmill trace`` writes.
    ax : matplotlib Axes, optional
        Where to draw; default a new figure.

    Returns
    -------
    Axes
        Time in ms since the first span.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise Error(
            "plot.timeline() needs matplotlib: pip install batchmill[plot]", "FAILED_PRECONDITION"
        ) from None
    bars = _of_file(trace) if isinstance(trace, (str, os.PathLike)) else _of_batches(trace)
    if not bars:
        raise InvalidArgument("trace: expected spans of batches, got none")
    start = min(bar.begin for bar in bars)
    seqs = sorted({bar.seq for bar in bars})
    row = {seq: i for i, seq in enumerate(seqs)}
    if ax is None:
        _, ax = plt.subplots(figsize=(9, 1.2 + 0.26 * len(seqs)), layout="constrained")
    steps = list(dict.fromkeys(bar.step for bar in bars if not bar.waits))
    palette = plt.get_cmap("tab10" if len(steps) <= 10 else "tab20")
    colours = {step: palette(i % palette.N) for i, step in enumerate(steps)}
    seen = set()
    for bar in sorted(bars, key=lambda bar: bar.begin):
        label = "waits for its lock" if bar.waits else bar.step
        style: dict[str, Any] = dict(height=0.72, left=bar.begin - start)
        if bar.waits:
            style.update(facecolor="none", edgecolor="0.55", hatch="////", linewidth=0)
        else:
            style.update(color=colours[bar.step])
        ax.barh(
            row[bar.seq],
            bar.end - bar.begin,
            label=None if label in seen else label,
            **style,
        )
        seen.add(label)
    every = max(1, len(seqs) // 25)
    ax.set_yticks(range(0, len(seqs), every), [str(seq) for seq in seqs[::every]])
    ax.invert_yaxis()
    ax.set_xlabel("ms")
    ax.set_ylabel("batch")
    ax.set_xlim(left=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4, frameon=False)
    return ax
