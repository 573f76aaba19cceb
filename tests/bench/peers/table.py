#!/usr/bin/env python3
"""table.py -- rows of a table from PyTorch's DataLoader: read by pandas, pyarrow, sqlite3 or numpy,
prepared by numpy in worker processes on this machine; shared memory instead of a network.

The seconds to the first batch count reading the file and starting the workers, but not Python's own
start and its imports. Before the first measurement each way of reading and preparing is compared
with what Batchmill gives for the same table: other values are an error instead of a figure.
"""

import itertools
import os
import sqlite3
import subprocess
import sys
import tempfile
import time

import peer

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import table_data as table  # noqa: E402

WORKERS, PREFETCH_FACTOR = 2, 8
CHECKED_ROWS = 16 * 1024  # of those that are made one by one, and of windows
BATCHMILL = "build/release/batchmill"

# ---- Reading: {column: numbers}, float64 with NaN where there is none, categories as codes ----


def path(name):
    return f"{table.FOLDER}/{name}"


def from_pandas(frame):
    for name in table.CATEGORIES:
        frame[name] = frame[name].astype("category").cat.codes
    return {name: frame[name].to_numpy() for name in table.NUMBERS}


def from_arrow(np, whole):
    whole = whole.unify_dictionaries().combine_chunks()
    columns = {name: whole[name].to_numpy() for name in table.FLOATS}
    for name in table.CATEGORIES:
        codes = whole[name].chunk(0)
        rank = np.argsort(np.argsort(codes.dictionary.to_numpy(zero_copy_only=False)))
        columns[name] = rank[codes.indices.to_numpy()]
    return columns


def read_pandas_csv(np):
    import pandas

    types = {name: "category" for name in table.CATEGORIES}
    return from_pandas(pandas.read_csv(path("flights.csv"), dtype=types, parse_dates=["time_hour"]))


def read_pyarrow_csv(np):
    import pyarrow
    import pyarrow.csv

    kind = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    types = {name: kind for name in table.CATEGORIES}
    options = pyarrow.csv.ConvertOptions(column_types=types)
    return from_arrow(np, pyarrow.csv.read_csv(path("flights.csv"), convert_options=options))


def read_feather(np):
    import pyarrow.feather

    return from_arrow(np, pyarrow.feather.read_table(path("flights.feather")))


def read_parquet(np):
    import pyarrow.parquet

    return from_arrow(np, pyarrow.parquet.read_table(path("flights.parquet")))


def read_sqlite(np):
    import pandas

    base = sqlite3.connect(path("flights.sqlite"))
    return from_pandas(pandas.read_sql_query("SELECT * FROM flights", base))


def read_npy(np):
    return {name: np.load(path(f"{name}.npy"), mmap_mode="r") for name in table.NUMBERS}


READERS = {
    "pandas_csv": read_pandas_csv,
    "pyarrow_csv": read_pyarrow_csv,
    "feather": read_feather,
    "parquet": read_parquet,
    "sqlite": read_sqlite,
    "npy": read_npy,
}
OURS = {"feather": "table_arrow", "sqlite": "table_sqlite", "npy": "table_npy"}

# ---- Preparing: (features, dest), the floats and one-hot numbers beside each other ----


def features_of(np, columns, nrows):
    """All at once: the same steps, each over a whole column."""
    width = len(table.FLOATS) + sum(len(table.CATEGORIES[name]) for name in table.ONE_HOT)
    features = np.zeros((nrows, width), dtype=np.float32)
    for at, name in enumerate(table.FLOATS):
        values = columns[name]
        if name in table.FILLED:
            values = np.where(np.isnan(values), 0, values)
        values = values.astype(np.float32)
        if name in table.STANDARDISED:
            mean, deviation = map(np.float32, table.STANDARDISED[name])
            values = (values - mean) / deviation
        features[:, at] = values
    rows, at = np.arange(nrows), len(table.FLOATS)
    for name in table.ONE_HOT:
        features[rows, at + columns[name].astype(np.int64)] = 1
        at += len(table.CATEGORIES[name])
    return features


def row_features(np, columns, index):
    """One row, as most data sets are written."""
    numbers = []
    for name in table.FLOATS:
        value = columns[name][index]
        if name in table.FILLED and np.isnan(value):
            value = 0
        value = np.float32(value)
        if name in table.STANDARDISED:
            mean, deviation = map(np.float32, table.STANDARDISED[name])
            value = (value - mean) / deviation
        numbers.append(value)
    for name in table.ONE_HOT:
        kinds = np.zeros(len(table.CATEGORIES[name]), dtype=np.float32)
        kinds[columns[name][index]] = 1
        numbers.extend(kinds)
    return np.array(numbers, dtype=np.float32)


class Batches:
    """Whole batches: one indexing a column."""

    def __init__(self, np, columns):
        self.np, self.columns = np, columns

    def __getitem__(self, indices):
        picked = {name: column[indices] for name, column in self.columns.items()}
        dest = picked["dest"].astype(self.np.int64)
        return features_of(self.np, picked, len(indices)), dest


class Prepared:
    """Everything is prepared at the start and kept; a batch is only gathered."""

    def __init__(self, np, columns):
        self.features = features_of(np, columns, table.ROWS)
        self.dest = columns["dest"].astype(np.int64)

    def __getitem__(self, indices):
        return self.features[indices], self.dest[indices]


class Rows:
    def __init__(self, np, columns):
        self.np, self.columns = np, columns

    def __getitem__(self, index):
        return row_features(self.np, self.columns, index), int(self.columns["dest"][index])

    def __len__(self):
        return table.ROWS


class Keyset:
    """Nothing is read at the start; each batch is a query by keys, each worker has a connection."""

    query = f"SELECT id, {', '.join(table.NUMBERS)} FROM flights WHERE id IN "

    def __init__(self, np, _columns):
        self.np, self.base = np, None
        self.codes = {
            name: {text: code for code, text in enumerate(names)}
            for name, names in table.CATEGORIES.items()
        }

    def __getitem__(self, indices):
        if self.base is None:
            self.base = sqlite3.connect(f"file:{path('flights.sqlite')}?mode=ro", uri=True)
        np = self.np
        marks = ",".join("?" * len(indices))
        ids, *columns = zip(*self.base.execute(f"{self.query} ({marks})", indices.tolist()))
        back = np.searchsorted(ids, indices)  # they come by rising id
        picked = {}
        for name, column in zip(table.NUMBERS, columns):
            if name in self.codes:
                column = [self.codes[name][text] for text in column]
                picked[name] = np.array(column, dtype=np.int64)[back]
            else:
                picked[name] = np.array(column, dtype=np.float64)[back]
        return features_of(np, picked, len(indices)), picked["dest"]


class Windows:
    """Of tokens, as language models take them; one, or a batch of them."""

    def __init__(self, np, _columns):
        tokens = np.memmap(path("tokens.bin"), dtype="<u2", mode="r")
        windows = np.lib.stride_tricks.sliding_window_view(tokens, table.TOKENS_LENGTH)
        self.np, self.windows = np, windows[:: table.TOKENS_STRIDE]

    def __getitem__(self, index):
        return (self.windows[index].astype(self.np.int64),)

    def __len__(self):
        return table.ROWS


KINDS = {
    "batches": Batches,
    "alone": Batches,  # no worker process: prepared where it is consumed
    "prepared": Prepared,
    "rows": Rows,
    "keyset": Keyset,
}


def make_items(np, variant):
    reader, kind = variant.split(".")
    if reader == "tokens":
        return Windows(np, None)
    columns = None if kind == "keyset" else READERS[reader](np)
    return KINDS[kind](np, columns)


# ---- The same values as Batchmill's ----


def exported(np, name, nbatches):
    """The table as a pipeline gives it, in order, as (features, dest) or (tokens,)."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [BATCHMILL, "export", name, f"--config={path(name)}.yaml", "--batch-size=1024"]
            + [f"--n-iters={nbatches}", "--quiet", "--to", folder],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        load = lambda component: np.load(f"{folder}/{component}.npy")  # noqa: E731
        if name == "table_tokens":
            return (load("tokens"),)
        floats = [load(component)[:, None] for component in table.FLOATS]
        features = np.concatenate(floats + [load(component) for component in table.ONE_HOT], axis=1)
        return features, load("dest")


def compare(np, what, ours, theirs):
    for mine, other in zip(ours, theirs):
        if mine.dtype != other.dtype or not np.array_equal(mine[: len(other)], other):
            raise RuntimeError(f"{what}: other values than Batchmill's")


def check(np, variant):
    reader, kind = variant.split(".")
    name = "table_tokens" if reader == "tokens" else "table_csv"
    few = kind == "rows" or reader == "tokens"
    nrows = CHECKED_ROWS if few else table.ROWS
    ours = exported(np, name, -(-nrows // 1024))
    if reader in OURS:  # the same table from another format
        try:
            compare(np, OURS[reader], ours, exported(np, OURS[reader], -(-nrows // 1024)))
        except subprocess.CalledProcessError:
            pass  # it has no such source: then there is nothing of ours to compare with either
    items = make_items(np, variant)
    if kind == "rows":
        parts = [np.stack(part) for part in zip(*(items[index] for index in range(nrows)))]
    else:
        starts = range(0, nrows, 1024)
        batches = (items[np.arange(at, min(at + 1024, nrows))] for at in starts)
        parts = [np.concatenate(part) for part in zip(*batches)]
    compare(np, variant, ours, parts)


# ---- Measuring ----


def as_it_is(batch):
    return batch


def make_loader(torch, np, items, work):
    reader, kind = work.variant.split(".")

    class Shuffled(torch.utils.data.Sampler):
        """Whole batches, which do not end with an epoch; or single rows."""

        def __init__(self):
            pass

        def __iter__(self):
            order = np.concatenate([np.random.permutation(work.items) for _ in range(work.epochs)])
            if kind == "rows":
                yield from order.tolist()
            for at in range(0, work.batches * work.batch_items, work.batch_items):
                yield order[at : at + work.batch_items]

    by_row = kind == "rows"
    workers = 0 if kind == "alone" else WORKERS
    # Small arrays come faster through the workers' pipes than, as tensors, through shared memory.
    small = not by_row and reader != "tokens"
    return torch.utils.data.DataLoader(
        items,
        sampler=Shuffled(),
        batch_size=work.batch_items if by_row else None,
        num_workers=workers,
        prefetch_factor=PREFETCH_FACTOR if workers else 2,
        collate_fn=as_it_is if small else None,
    )


def measure(torch, np, work):
    begin = time.perf_counter()
    loader = make_loader(torch, np, make_items(np, work.variant), work)
    batches = 0
    for batch in itertools.islice(loader, work.batches):
        for part in batch:
            torch.as_tensor(part)
        if batches == 0:
            first = time.perf_counter()
        batches += 1
    seconds = time.perf_counter() - first
    peer.expect(batches, work)
    return (batches - 1) / seconds, first - begin


def main():
    try:
        import numpy as np
        import pandas
        import pyarrow
        import torch
    except ImportError as error:
        peer.unavailable(error)
        return
    torch.set_num_threads(1)
    checked = set()

    def measure_checked(work):
        if work.variant not in checked:
            check(np, work.variant)
            checked.add(work.variant)
        return measure(torch, np, work)

    peer.serve(
        f"torch {torch.__version__}, pandas {pandas.__version__}, pyarrow {pyarrow.__version__}: "
        f"DataLoader, {WORKERS} workers, prefetch_factor {PREFETCH_FACTOR}; whole batches sampled, "
        f"gathered and prepared by numpy (rows: one by one), and sent as arrays; values compared "
        f"with ours; local, no network",
        measure_checked,
    )


if __name__ == "__main__":
    main()
