"""How things show in notebooks: small tables, in whatever colours the notebook has."""

from __future__ import annotations

import dataclasses
import html
from typing import TYPE_CHECKING, Any, Iterable, Sequence

if TYPE_CHECKING:
    from . import _types

_CELL = "text-align:left;padding:0.15em 0.8em 0.15em 0"


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """A table of escaped texts."""
    parts = ["<table>"]
    if caption:
        parts.append(f'<caption style="text-align:left">{html.escape(caption)}</caption>')
    cells = "".join(f'<th style="{_CELL}">{html.escape(name)}</th>' for name in head)
    parts.append(f"<thead><tr>{cells}</tr></thead><tbody>")
    for row in rows:
        cells = "".join(f'<td style="{_CELL}">{html.escape(_number(value))}</td>' for value in row)
        parts.append(f"<tr>{cells}</tr>")
    parts.append("</tbody></table>")
    return "".join(parts)


def _shape(component: _types.Component) -> str:
    return ", ".join("…" if axis is None else str(axis) for axis in component.shape)


def components(of: Sequence[_types.Component], caption: str = "") -> str:
    rows = [
        (
            one.name,
            one.dtype,
            f"[{_shape(one)}]",
            "" if one.vocabulary is None else f"{len(one.vocabulary)} names",
        )
        for one in of
    ]
    return table(("component", "dtype", "item", "stands for"), rows, caption)


def pipelines(of: Sequence[_types.Pipeline]) -> str:
    rows = [(one.name, one.source, one.items, one.fingerprint) for one in of]
    return table(("pipeline", "source", "items", "fingerprint"), rows)


def description(of: _types.Description) -> str:
    line = f"{of.pipeline.name}: {of.pipeline.items:,} items of {of.pipeline.source}"
    rows = [
        (
            i,
            action.name,
            action.lock or "",
            "per batch" if action.per_batch else "per item",
            ", ".join(one.name for one in action.components),
        )
        for i, action in enumerate(of.actions)
    ]
    actions = table(("", "action", "lock", "", "components after it"), rows)
    return components(of.components, f"{line} ({of.source_type})") + actions


def run_result(of: _types.RunResult) -> str:
    rows = [
        ("batches", of.batches),
        ("items", of.items),
        ("skipped", of.skipped),
        ("failed", of.failed),
        ("seconds", of.seconds),
        *of.variables.items(),
    ]
    return table(("run", ""), rows)


def fields(of: Any) -> str:
    rows = []
    for field in dataclasses.fields(of):
        value = getattr(of, field.name)
        if isinstance(value, dict):
            value = ", ".join(f"{name} {_number(one)}" for name, one in value.items())
        rows.append((field.name.replace("_", " "), value))
    return table(("", ""), rows)
