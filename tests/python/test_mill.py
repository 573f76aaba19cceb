"""Pipelines and streams: the same calls, in this process and at a server."""

import asyncio
import gc
import os
import pathlib
import subprocess
import threading
import time

import numpy as np
import pytest
from conftest import ROOT, python, serving

import batchmill


def digest(stream):
    return [
        (batch.seq, batch.epoch, batch.items.tolist(), batch["pixels"].tobytes())
        for batch in stream
    ]


ORDER = dict(batch_size=64, shuffle=7, n_epochs=2, prefetch=3)


# ---- One word differs ----


def test_embedded_and_remote_give_the_same_bytes(server, configuration):
    with batchmill.open(configuration) as here, batchmill.open(server.url) as there:
        first, second = (digest(mill.gen_batch("digits", **ORDER)) for mill in (here, there))
    assert len(first) == 58
    assert first == second


def test_a_list_and_a_description_say_what_there_is(mill):
    assert "digits" in [pipeline.name for pipeline in mill.list()]
    described = mill.describe("digits")
    assert described.pipeline.items == 1797
    assert described.components[0] == batchmill.Component("pixels", "float32", (64,), False)
    assert [action.name for action in described.actions] == ["accumulate", "cast", "scale"]
    assert mill.describe("lines").components[0].dtype == "string"


def test_everything_shows_as_escaped_html(mill):
    with mill.gen_batch("digits", 4) as stream:
        shown = [mill.list(), mill.describe("digits"), mill.status(), next(stream)]
    shown.append(mill.run("digits", 64))
    shown.append(batchmill.Component("<b>", "int8", (None, 3), True, ("a",)))
    for one in shown:
        assert one._repr_html_().count("<table>") >= 1
    assert "&lt;b&gt;" in shown[-1]._repr_html_()


def test_run_gives_counts_and_variables_and_tells_of_progress(mill):
    seen = []
    result = mill.run("digits", 64, progress=lambda so_far: seen.append(so_far.batches))
    assert (result.batches, result.items, result.failed) == (29, 1797, 0)
    assert result.variables["pixels.mean"] == pytest.approx(4.884164579855314)
    with pytest.raises(ZeroDivisionError):
        mill.run("slow", 1, progress=lambda so_far: 1 // 0)
    with pytest.raises(batchmill.Cancelled):
        mill.run("slow", 1, progress=lambda so_far: False)


def test_a_registered_pipeline_is_there_until_it_is_taken_back(mill):
    definition = {
        "source": "numbers",
        "actions": [{"cast": {"components": "value", "dtype": "int8"}}],
    }
    with mill.register("mine", definition, lease=60) as registration:
        assert registration.lease == 60
        assert len(list(mill.gen_batch("mine", 100))) == 10
    with pytest.raises(batchmill.NotFound):
        mill.describe("mine")
    with pytest.raises(batchmill.InvalidArgument, match="expected"):
        mill.register("mine", {"source": "numbers", "actions": [{"cast": {}}]})


def test_two_members_of_a_cursor_get_each_batch_once(server):
    with batchmill.open(server.url) as one, batchmill.open(server.url) as two:
        seen = []
        for mill in [one, two] * 5:
            seen.append(mill.next_batch("numbers", 100, cursor="shared").seq)
        assert sorted(seen) == list(range(10))
        with pytest.raises(batchmill.EndOfCursor):
            one.next_batch("numbers", 100, cursor="shared")
        with pytest.raises(batchmill.InvalidArgument):
            one.next_batch("numbers", 99, cursor="shared")


# ---- Arrays ----


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_arrays_outlive_everything_they_came_from(server, writable, shared):
    mill = batchmill.open(server.url, writable=writable, shared_memory=shared)
    stream = mill.gen_batch("large", 2, n_epochs=4, prefetch=3)
    views = [batch["value"][1:][:, 5:][:, ::2] for batch in stream]
    expected = [view.copy() for view in views]
    del stream
    mill.close()
    del mill
    gc.collect()
    for view, copy in zip(views, expected):
        np.testing.assert_array_equal(view, copy)


@pytest.mark.parametrize("shared", [True, False])
def test_what_is_written_into_an_array_nobody_else_sees(server, shared):
    with batchmill.open(server.url, shared_memory=shared) as mill:
        with mill.gen_batch("large", 4, n_epochs=3, prefetch=2) as stream:
            for batch in stream:
                fresh = batch["value"]
                assert fresh.flags.writeable and fresh[0, 0] == batch.items[0] * 16384
                fresh[:] = -1
        if shared:
            assert mill.status().shared_batches > 0


def test_arrays_that_lie_in_the_servers_memory_cannot_be_written_unless_asked_for(server):
    with batchmill.open(server.url, writable=False) as mill:
        batch = next(mill.gen_batch("large", 4))
        view = batch["value"]
        with pytest.raises(ValueError):
            view[0] = 1


def test_arrays_are_aligned_and_share_memory_by_dlpack(mill):
    for batch in mill.gen_batch("digits", 7, n_iters=5):
        array = batch["pixels"]
        assert array.ctypes.data % 16 == 0
        other = np.from_dlpack(array)
        array[0, 0] = 123
        assert other[0, 0] == 123
        assert batch["pixels"] is array and list(batch) == ["pixels", "label"]


def test_texts_come_as_bytes_offsets_and_lists(mill):
    batch = next(mill.gen_batch("lines", 3))
    lines = batch["text"]
    assert lines.tolist() == ["line 0 — é", "line 1 — éx", "line 2 — éxx"]
    assert lines.values.dtype == np.uint8 and lines.offsets[-1] == len(lines.values)
    assert lines.numpy().dtype == object
    with pytest.raises(KeyError, match="text"):
        batch["nope"]


def test_ragged_items_can_be_padded_and_viewed_as_one_array():
    ragged = batchmill.Ragged(np.arange(6), np.array([0, 1, 3, 6], np.uint64))
    assert ragged.lists() == [[0], [1, 2], [3, 4, 5]]
    assert ragged.padded(-1).tolist() == [[0, -1, -1], [1, 2, -1], [3, 4, 5]]
    with pytest.raises(batchmill.InvalidArgument, match="1 to 3 rows"):
        ragged.dense()
    equal = batchmill.Ragged(np.arange(6), np.array([0, 2, 4, 6], np.uint64))
    assert np.shares_memory(equal.dense(), equal.values)
    assert equal.dense().tolist() == [[0, 1], [2, 3], [4, 5]]


# ---- Order, errors, ends ----


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("batch_size", dict(batch_size=0)),
        ("batch_size", dict(batch_size=True)),
        ("batch_size", dict(batch_size=2.5)),
        ("batch_size", dict()),
        ("shuffle", dict(batch_size=1, shuffle=-1)),
        ("shuffle", dict(batch_size=1, shuffle="yes")),
        ("seed", dict(batch_size=1, shuffle=3, seed=4)),
        ("n_epochs", dict(batch_size=1, n_epochs=1, n_iters=1)),
        ("n_iters", dict(batch_size=1, n_iters=0)),
        ("drop_last", dict(batch_size=1, drop_last=1)),
        ("epoch_border", dict(batch_size=1, epoch_border="wrap")),
        ("shard", dict(batch_size=1, shard=3)),
        ("shard index", dict(batch_size=1, shard=(3, 3))),
        ("prefetch", dict(batch_size=1, prefetch=5000)),
        ("on_error", dict(batch_size=1, on_error="ignore")),
        ("position", dict(position="nonsense")),
    ],
)
def test_a_senseless_argument_is_an_error_that_names_it(mill, name, arguments):
    with pytest.raises(ValueError, match=name):
        mill.gen_batch("digits", **arguments)
    with pytest.raises(TypeError):
        mill.gen_batch("digits", 1, prefech=3)


def test_mistakes_have_a_class_and_say_what_there_is(mill, tmp_path):
    with pytest.raises(batchmill.NotFound, match="there are: .*digits"):
        mill.gen_batch("digit", 1)
    with pytest.raises(batchmill.Unavailable):
        batchmill.open(f"ipc://{tmp_path}/nobody", timeout=0.2)
    with pytest.raises(batchmill.NotFound):
        batchmill.open(tmp_path / "none.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_text("pipelines: {a: {source: b}}\nnonsense: 1\n")
    with pytest.raises(batchmill.InvalidArgument, match="bad.yaml:2"):
        batchmill.open(bad)
    with pytest.raises(batchmill.InvalidArgument, match="workers"):
        batchmill.open("tcp://127.0.0.1:1", workers=2)


def test_a_stream_goes_on_at_its_position(mill):
    whole = digest(mill.gen_batch("digits", **ORDER))
    with mill.gen_batch("digits", **ORDER) as stream:
        begin = digest(next(stream) for _ in range(10))
        position = stream.position
        assert len(stream) == 58 and stream.info.seed == 7
    rest = digest(mill.gen_batch("digits", position=position, prefetch=1))
    assert begin + rest == whole


def test_a_stream_ends_waits_no_longer_than_told_and_can_be_cancelled(mill):
    stream = mill.gen_batch("late", 1000)  # nobody lends its action
    with pytest.raises(batchmill.Timeout):
        stream.next(0.01)
    begin = time.monotonic()
    threading.Timer(0.05, stream.cancel).start()
    with pytest.raises((batchmill.Cancelled, batchmill.ActionFailed)):
        next(stream)
    assert time.monotonic() - begin < 5
    stream.close()
    with pytest.raises(batchmill.Error):
        next(stream)
    done = mill.gen_batch("numbers", 500)
    assert [batch.seq for batch in done] == [0, 1] and done.next() is None


def test_threads_share_a_stream_and_have_their_own(mill):
    seen, own = [], []

    def take(stream):
        for batch in stream:
            seen.append(batch.seq)

    def count():
        own.append(sum(1 for _ in mill.gen_batch("numbers", 3)))

    stream = mill.gen_batch("numbers", 1, prefetch=16)
    threads = [threading.Thread(target=take, args=[stream]) for _ in range(3)]
    threads += [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(1000)) and own == [334] * 3


def test_spans_say_where_a_batch_was(mill):
    batch = next(mill.gen_batch("digits", 64, traced=True))
    assert [span["step"] for span in batch.spans][0] == "read"
    assert all(span["ended_ns"] >= span["started_ns"] > 0 for span in batch.spans)


# ---- asyncio ----


def test_asyncio_gets_the_same_batches(mill):
    async def collect():
        batches = [batch async for batch in mill.aio.gen_batch("digits", **ORDER)]
        assert (await mill.aio.run("digits", 64)).batches == 29
        return batches

    assert digest(asyncio.run(collect())) == digest(mill.gen_batch("digits", **ORDER))


def test_a_cancelled_wait_of_asyncio_loses_no_batch_and_blocks_nobody(mill):
    async def collect():
        async with mill.aio.gen_batch("late", 1000, on_error="report") as stream:
            ticks = 0
            for _ in range(3):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(stream.__anext__(), 0.02)
                ticks += 1
            failed = await stream.__anext__()
            return ticks, failed

    ticks, failed = asyncio.run(collect())
    assert ticks == 3 and not failed and failed.seq == 0
    assert failed.error.code == "DEADLINE_EXCEEDED"


# ---- Processes ----


def test_ctrl_c_stops_a_wait_at_once_and_frees_the_stream(tmp_path):
    code = (
        "import batchmill, sys, threading, os, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # it may be ignored here
        "mill = batchmill.open(sys.argv[1])\n"
        "stream = mill.gen_batch('words', 1000)\n"
        "threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "begin = time.monotonic()\n"
        "try:\n    next(stream)\n"
        "except KeyboardInterrupt:\n"
        "    print(time.monotonic() - begin < 1, mill.status().streams)\n"
    )
    with serving(tmp_path) as server:
        child = python(code, server.url, stdout=subprocess.PIPE)
        out, _ = child.communicate(timeout=30)
    assert out.split() == ["True", "0"]


def test_a_fork_gets_a_clear_error_and_does_not_crash(server):
    code = (
        "import batchmill, os, sys\n"
        "mill = batchmill.open(sys.argv[1])\n"
        "stream = mill.gen_batch('numbers', 10)\n"
        "next(stream)\n"
        "if os.fork() == 0:\n"
        "    for ask in (mill.list, lambda: next(stream), lambda: batchmill.open(sys.argv[1])):\n"
        "        try:\n            ask()\n"
        "        except batchmill.FailedPrecondition as error:\n"
        "            print('fork' in str(error), flush=True)\n"
        "    sys.exit(0)\n"
        "os.wait()\n"
        "print(next(stream).seq)\n"
    )
    child = python(code, server.url, stdout=subprocess.PIPE)
    out, _ = child.communicate(timeout=30)
    assert out.split() == ["True"] * 3 + ["1"] and child.returncode == 0


def test_a_process_that_just_ends_leaves_nothing_behind(tmp_path, configuration):
    with serving(tmp_path) as server, batchmill.open(server.url) as mill:
        ends_and_leaves_nothing(server.url, configuration, mill)


def ends_and_leaves_nothing(url, configuration, mill):
    for target in (url, str(configuration)):
        code = (
            "import batchmill, sys\n"
            "mill = batchmill.open(sys.argv[1])\n"
            "stream = mill.gen_batch('numbers', 10, prefetch=3)\n"
            "kept = next(stream)['value']\n"
        )
        child = python(code, target)
        assert child.wait(30) == 0
    assert mill.status().streams == 0


def test_many_small_batches_need_no_more_memory(mill):
    def resident():
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )

    stream = mill.gen_batch("numbers", 1, n_epochs=0, prefetch=64)
    for _ in range(50_000):
        next(stream)["value"]
    before = resident()
    for _ in range(950_000):
        next(stream)["value"]
    assert resident() - before < 8 * 2**20
    stream.close()


def test_the_lines_of_the_readme_work(configuration, monkeypatch):
    monkeypatch.chdir(ROOT / "examples" / "digits")
    text = (ROOT / "client" / "python" / "README.md").read_text()
    blocks = text.split("```python\n")[1:]
    assert len(blocks) >= 2
    for block in blocks:
        code = block.split("```")[0]
        if "# not run" not in code:
            exec(compile(code, "README.md", "exec"), {})
