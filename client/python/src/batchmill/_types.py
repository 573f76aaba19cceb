"""What the calls return, as plain data."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

from . import _html, _native
from ._native import text


@dataclasses.dataclass(frozen=True)
class Component:
    """A named column of a pipeline's batches.

    Attributes
    ----------
    name : str
    dtype : str
        Such as ``"float32"``, ``"string"`` or ``"bytes"``.
    shape : tuple of (int or None)
        Of one item; ``None`` where items differ (ragged components, along their first axis).
    ragged : bool
        Also true of text.
    vocabulary : tuple of str, or None
        What the values of an integer component stand for.
    """

    name: str
    dtype: str
    shape: tuple[Optional[int], ...]
    ragged: bool
    vocabulary: Optional[tuple[str, ...]] = None

    def _repr_html_(self) -> str:
        return _html.components((self,))


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """One line of a list of pipelines; ``fingerprint`` is equal where definition and data are."""

    name: str
    source: str
    items: int
    fingerprint: str
    stateful: bool
    registered: bool


class Pipelines(tuple[Pipeline, ...]):
    """Pipelines by name: a tuple that shows as a table in notebooks."""

    def _repr_html_(self) -> str:
        return _html.pipelines(self)


@dataclasses.dataclass(frozen=True)
class Action:
    """A step of a pipeline; ``probability`` is that of an item to go through it."""

    name: str
    lock: Optional[str]
    random: bool
    stateful: bool
    per_batch: bool
    probability: float
    components: tuple[Component, ...]


@dataclasses.dataclass(frozen=True)
class Cache:
    """What a pipeline's cache holds as of now, in items and bytes."""

    actions: int
    on_disk: bool
    items: int
    bytes: int
    bytes_max: int
    hits: int
    misses: int
    damaged: int


@dataclasses.dataclass(frozen=True)
class Description:
    """All that a server says of a pipeline."""

    pipeline: Pipeline
    source_type: str
    source_components: tuple[Component, ...]
    actions: tuple[Action, ...]
    components: tuple[Component, ...]
    steps: tuple[str, ...]
    group_by: Optional[str]
    cache: Optional[Cache]

    def _repr_html_(self) -> str:
        return _html.description(self)


@dataclasses.dataclass(frozen=True)
class StreamInfo:
    """What a stream is.

    Attributes
    ----------
    first_seq : int
        0, or that of the position it was opened at.
    batches : int or None
        Of the whole stream from seq 0 on; None: endless.
    epoch_batches : int or None
        None where batches cross epochs.
    items : int
        Of the source.
    seed : int
        In use, also when the server drew it.
    skipped, failed : int
        Batches left out so far; how many of those and of the reported ones had failed.
    """

    first_seq: int
    batches: Optional[int]
    epoch_batches: Optional[int]
    items: int
    seed: int
    fingerprint: str
    stateful: bool
    components: tuple[Component, ...]
    steps: tuple[str, ...]
    skipped: int
    failed: int


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run on the server came to; ``variables`` are those of the pipeline's actions."""

    batches: int
    items: int
    skipped: int
    failed: int
    bytes: int
    seconds: float
    expected_batches: Optional[int]
    seed: int
    variables: dict[str, int | float]

    def _repr_html_(self) -> str:
        return _html.run_result(self)


@dataclasses.dataclass(frozen=True)
class Status:
    """Figures of a server, as of now or since its start; memory in bytes."""

    version: str
    uptime_seconds: float
    workers: int
    pipelines: int
    streams: int
    runs: int
    jobs_ready: int
    jobs_running: int
    jobs_parked: int
    jobs_waiting: int
    memory_used_bytes: int
    memory_bytes: int
    batches: int
    shared_batches: int
    draining: bool
    answered: dict[str, int]
    connections: dict[str, int]

    def _repr_html_(self) -> str:
        return _html.fields(self)


# ---- From the C structs, copying all ----


def fingerprint(number: int) -> str:
    return f"{number:016x}"


def component(
    from_: _native.Component, vocabularies: dict[str, tuple[str, ...]] | None = None
) -> Component:
    name = text(from_.name)
    dtype = text(_native.dtype_name(from_.dtype))
    shape: list[Optional[int]] = [from_.shape[i] for i in range(from_.ndim)]
    if from_.ragged and shape:
        shape[0] = None
    return Component(name, dtype, tuple(shape), from_.ragged, (vocabularies or {}).get(name))


def components(
    pointer: Any, n: int, vocabularies: dict[str, tuple[str, ...]] | None = None
) -> tuple[Component, ...]:
    return tuple(component(pointer[i], vocabularies) for i in range(n))


def pipeline(from_: _native.Summary) -> Pipeline:
    return Pipeline(
        text(from_.name),
        text(from_.source),
        from_.items,
        fingerprint(from_.fingerprint),
        from_.stateful,
        from_.registered,
    )


def description(from_: _native.Description) -> Description:
    vocabularies = {}
    for i in range(from_.nvocabularies):
        one = from_.vocabularies[i]
        if one.names:
            vocabularies[text(one.component)] = tuple(text(one.names[k]) for k in range(one.size))
    cache = None
    if from_.cache:
        have = from_.cache[0]
        cache = Cache(
            have.nactions,
            have.on_disk,
            have.items,
            have.bytes,
            have.bytes_max,
            have.hits,
            have.misses,
            have.damaged,
        )
    actions = []
    for i in range(from_.nactions):
        action = from_.actions[i]
        actions.append(
            Action(
                text(action.name),
                None if action.lock is None else text(action.lock),
                action.random,
                action.stateful,
                action.per_batch,
                action.probability,
                components(action.components, action.ncomponents),
            )
        )
    return Description(
        pipeline(from_.summary),
        text(from_.source_type),
        components(from_.source_components, from_.nsource_components),
        tuple(actions),
        components(from_.components, from_.ncomponents, vocabularies),
        tuple(text(from_.steps[i]) for i in range(from_.nsteps)),
        None if from_.group_by is None else text(from_.group_by),
        cache,
    )


def _set(number: int) -> Optional[int]:
    return None if number == _native.UNSET else number


def stream_info(from_: _native.StreamInfo) -> StreamInfo:
    return StreamInfo(
        from_.first_seq,
        _set(from_.batches),
        from_.epoch_batches or None,
        from_.items,
        from_.seed,
        fingerprint(from_.fingerprint),
        from_.stateful,
        components(from_.components, from_.ncomponents),
        tuple(text(from_.steps[i]) for i in range(from_.nsteps)),
        from_.skipped,
        from_.failed,
    )


def run_result(from_: _native.RunResult) -> RunResult:
    variables: dict[str, int | float] = {}
    for i in range(from_.nvariables):
        one = from_.variables[i]
        variables[text(one.name)] = one.integer if one.is_integer else one.number
    return RunResult(
        from_.batches,
        from_.items,
        from_.skipped,
        from_.failed,
        from_.bytes,
        from_.seconds,
        _set(from_.expected_batches),
        from_.seed,
        variables,
    )


def status(from_: _native.Status) -> Status:
    answered = {
        text(_native.code_name(code)): from_.answered[code]
        for code in range(17)
        if from_.answered[code] > 0
    }
    connections = {
        field[0]: getattr(from_.connections, field[0]) for field in _native.Connections._fields_
    }
    plain = {
        field.name: getattr(from_, field.name)
        for field in dataclasses.fields(Status)
        if field.name not in ("version", "answered", "connections")
    }
    return Status(version=text(from_.version), answered=answered, connections=connections, **plain)
