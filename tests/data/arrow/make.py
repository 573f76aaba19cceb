"""make.py -- made the Arrow files beside it, with pyarrow 26.0.1 and NumPy 2.4.6: make.py FOLDER"""

import pyarrow as pa, pyarrow.feather as f, pyarrow.ipc as ipc, numpy as np, datetime as d, sys

out = sys.argv[1] + "/"
n = 10
i = np.arange(n)
valid = lambda xs: [None if k % 4 == 1 else x for k, x in enumerate(xs)]
ints = {
    str(t): pa.array((i * 3 - 5 * (t not in ("uint8", "uint16", "uint32", "uint64"))).astype(t))
    for t in ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
}
cols = dict(ints)
cols |= {str(t): pa.array((i / 4 - 1).astype(t)) for t in ["float16", "float32", "float64"]}
cols["bool"] = pa.array(i % 3 == 0)
cols["string"] = pa.array(["é" * k for k in range(n)])
cols["large_string"] = pa.array([str(k) * 2 for k in range(n)], pa.large_utf8())
cols["binary"] = pa.array([b"\xff" * (k % 3) for k in range(n)])
cols["large_binary"] = pa.array([bytes([k, 255]) for k in range(n)], pa.large_binary())
cols["fixed"] = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(3 * n, dtype="f4")), 3)
cols["matrix"] = pa.FixedSizeListArray.from_arrays(
    pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6 * n, dtype="i2")), 3), 2
)
cols["flags"] = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(3 * n) % 4 == 0), 3)
cols["list"] = pa.array([list(range(k % 4)) for k in range(n)], pa.list_(pa.int32()))
cols["large_list"] = pa.array(
    [[bool(j % 2) for j in range(k % 3)] for k in range(n)], pa.large_list(pa.bool_())
)
cols["pixels"] = pa.array(
    [[[k, j, 7] for j in range(k % 3)] for k in range(n)], pa.list_(pa.list_(pa.uint8(), 3))
)
cols["date32"] = pa.array([d.date(1969, 12, 30) + d.timedelta(k) for k in range(n)])
cols["date64"] = cols["date32"].cast(pa.date64())
for u in "s", "ms", "us", "ns":
    cols["time_" + u] = pa.array((i - 3).astype("i8"), pa.int64()).cast(pa.timestamp(u))
cols["class"] = pa.array(["cat", "dog", "ant"][k % 3] for k in range(n)).dictionary_encode()
t = pa.table(cols)


def save(name, t, chunk, file=True, **o):
    w = (ipc.new_file if file else ipc.new_stream)(
        out + name, t.schema, options=ipc.IpcWriteOptions(**o)
    )
    for b in t.to_batches(max_chunksize=chunk):
        w.write_batch(b)
    w.close()


save("all.arrow", t, 4)
save("all.lz4.arrow", t, 6, compression="lz4")
save("all.zstd.stream.arrow", t, 6, False, compression="zstd")
save(
    "v4.arrow",
    t.select(["int32", "string"]),
    4,
    metadata_version=ipc.MetadataVersion.V4,
    use_legacy_format=True,
)
h = pa.table(
    {
        "x": pa.array(valid(range(n)), pa.int32()),
        "f": pa.array(valid([k / 2 for k in range(n)]), pa.float32()),
        "s": pa.array(valid([str(k) for k in range(n)])),
        "c": pa.array(valid(["b", "a"] * 5)).dictionary_encode(),
        "d": pa.array(valid([d.date(1970, 1, 1 + k) for k in range(n)])),
        "l": pa.array(valid([[k] for k in range(n)]), pa.list_(pa.int8())),
        "b": pa.array(valid([k % 2 == 0 for k in range(n)])),
        "v": pa.array(valid([[k, k] for k in range(n)]), pa.list_(pa.float32(), 2)),
    }
)
save("holes.arrow", h, 7)
save("other.arrow", pa.table({"class": pa.array(["emu", "cat"]).dictionary_encode()}), 2)
save(
    "struct.arrow",
    pa.table(
        {
            "a": pa.array([{"x": 1, "y": "u"}]),
            "m": pa.array([[("k", 1)]], pa.map_(pa.utf8(), pa.int8())),
            "n": pa.nulls(1),
            "z": pa.array([5], pa.int8()),
        }
    ),
    1,
)
w = ipc.new_stream(
    out + "delta.arrow",
    pa.schema([("c", pa.dictionary(pa.int8(), pa.utf8()))]),
    options=ipc.IpcWriteOptions(emit_dictionary_deltas=True),
)
w.write_batch(
    pa.record_batch(
        [pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), ["x", "y"])], ["c"]
    )
)
w.write_batch(
    pa.record_batch(
        [pa.DictionaryArray.from_arrays(pa.array([2, 0], pa.int8()), ["x", "y", "z"])], ["c"]
    )
)
w.close()
