"""Actions that Python processes lend: same bytes, whoever does them and however often one dies."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import serving

import batchmill

LENDER = """
import os, sys, time
import numpy as np
import batchmill

@batchmill.action("brighten", use_lock=os.environ.get("LOCK"))
def brighten(batch, ctx):
    if ctx.params["sleep"]:
        time.sleep(ctx.params["sleep"])
    if ctx.seq == ctx.params["fail_at"]:
        raise RuntimeError("too bright")
    return {"pixels": batch["pixels"] + np.float32(ctx.params["amount"])}

@batchmill.action("noisy", per="item")
def noisy(item, ctx):
    return {"noise": ctx.rng.standard_normal(2)}

@batchmill.action("words")
def words(batch, ctx):
    if ctx.seq == 1:
        raise batchmill.SkipBatch
    if ctx.seq == 5:
        raise batchmill.StopStream
    values = batch["value"].tolist()
    return {
        "word": [f"number {int(v)}" for v in values],
        "runs": [np.arange(int(v) % 4, dtype=np.int32) for v in values],
    }

@batchmill.action("doubled", version=os.environ.get("VERSION", "2"))
def doubled(batch, ctx):
    out = ctx.empty("x", batch["value"].shape, batch["value"].dtype)
    np.multiply(batch["value"], 2, out=out)
    return {"x": out}

@batchmill.action("late")
def late(batch, ctx):
    time.sleep(30)

@batchmill.action("deadly")
def deadly(batch, ctx):
    os.kill(os.getpid(), 9)

actions = [globals()[name] for name in sys.argv[2].split(",")]
shared = os.environ.get("SHARED") != "no"
batchmill.worker(
    sys.argv[1], actions=actions, processes=int(sys.argv[3]), shared_memory=shared
).run()
"""


@contextlib.contextmanager
def lending(url, actions, processes=1, **env):
    command = [sys.executable, "-c", LENDER, url, actions, str(processes)]
    child = subprocess.Popen(command, env={**os.environ, **env}, stderr=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
        child.stderr.close()


def digest(stream):
    return [(batch.seq, batch["pixels"].tobytes()) for batch in stream]


@pytest.fixture(scope="module")
def bright(server):
    """What comes of an undisturbed stream, computed here."""
    with batchmill.open(server.url) as mill:
        plain = mill.gen_batch("digits", 64, shuffle=7)
        return [(b.seq, (b["pixels"] * 16 + np.float32(0.5)).tobytes()) for b in plain]


def test_a_lent_action_gives_what_it_gives_in_process(server, mill, bright):
    with lending(server.url, "brighten"):
        assert digest(mill.gen_batch("bright", 64, shuffle=7, prefetch=3)) == bright


@pytest.mark.parametrize("shared", ["yes", "no"])
def test_large_batches_come_right_by_shared_memory_and_by_the_socket(server, mill, shared):
    with lending(server.url, "doubled", SHARED=shared):
        for batch in mill.gen_batch("doubled", 4, n_epochs=2, prefetch=2):
            np.testing.assert_array_equal(batch["x"], batch["value"] * 2)


def test_texts_ragged_items_skips_and_ends_come_in_their_places(server, mill):
    with lending(server.url, "words"):
        stream = mill.gen_batch("words", 10, prefetch=4)
        seqs = []
        for batch in stream:
            seqs.append(batch.seq)
            assert batch["word"].tolist() == [f"number {i}" for i in batch.items]
            assert batch["runs"].lengths.tolist() == [i % 4 for i in batch.items.tolist()]
        assert seqs == [0, 2, 3, 4] and stream.info.skipped == 1


def test_random_numbers_belong_to_items_and_not_to_workers(server, mill):
    def noise(**order):
        by_item = {}
        for batch in mill.gen_batch("noisy", shuffle=3, **order):
            by_item.update(zip(batch.items.tolist(), batch["noise"].tolist()))
        return by_item

    with lending(server.url, "noisy", processes=2):
        assert noise(batch_size=100, prefetch=0) == noise(batch_size=37, prefetch=5)


def test_a_failing_action_is_told_of_in_its_place(server, mill):
    with lending(server.url, "brighten"):
        seen = []
        with pytest.raises(batchmill.ActionFailed, match="RuntimeError: too bright") as caught:
            for batch in mill.gen_batch("failing", 64, prefetch=3):
                seen.append(batch.seq)
        assert seen == [0, 1, 2]
        assert (caught.value.seq, caught.value.action) == (3, "brighten")


def test_a_batch_waits_for_somebody_who_lends_its_action(server, mill, bright):
    stream = mill.gen_batch("bright", 64, shuffle=7, prefetch=1)
    with pytest.raises(batchmill.Timeout):
        stream.next(0.2)
    server.wait_for("waits for a process that lends brighten")
    with lending(server.url, "brighten"):
        assert digest(stream) == bright


def test_a_deadline_ends_the_wait(mill, server):
    with pytest.raises(batchmill.ActionFailed, match="within 0.3 s, but no process") as caught:
        next(mill.gen_batch("late", 10))
    assert caught.value.code == "DEADLINE_EXCEEDED"
    with lending(server.url, "late"):
        server.wait_for("a process lends late now")
        with pytest.raises(batchmill.ActionFailed, match="the process that has it"):
            next(mill.gen_batch("late", 10))


def test_a_batch_that_kills_whoever_does_it_fails_in_the_end(server, mill):
    with lending(server.url, "deadly", processes=2):
        with pytest.raises(batchmill.ActionFailed, match="3 processes were lost"):
            next(mill.gen_batch("deadly", 10))


def test_the_server_refuses_what_it_does_not_know(server):
    cases = [
        ("brighten", {"LOCK": "gpu0"}, "use_lock: gpu0"),
        ("doubled", {"VERSION": "3"}, 'version "2"'),
    ]
    for actions, env, text in cases:
        with lending(server.url, actions, **env) as child:
            assert child.wait(20) != 0
            assert text in child.stderr.read()


def test_lenders_need_the_right_token(tmp_path):
    tokens = {}
    for name in ("clients", "lenders"):
        tokens[name] = tmp_path / name
        tokens[name].write_text(f"secret-of-the-{name}\n")
        tokens[name].chmod(0o600)
    with serving(tmp_path, "--token-file", str(tokens["clients"])) as server:
        configuration = server.configuration.read_text()
        server.stop()
        server.configuration.write_text(f"lender_token_file: {tokens['lenders']}\n{configuration}")
        server.start()
        with lending(server.url, "brighten", BATCHMILL_TOKEN_FILE=str(tokens["clients"])) as child:
            assert child.wait(20) != 0
            assert "token" in child.stderr.read()


def children(child):
    path = f"/proc/{child.pid}/task/{child.pid}/children"
    with contextlib.suppress(OSError):
        with open(path) as file:
            return [int(pid) for pid in file.read().split()]
    return []


@pytest.mark.parametrize("pipeline", ["slow", "locked"])
def test_random_kills_of_lenders_lose_and_repeat_nothing(server, mill, pipeline):
    """Together 200 kills; each time, the batch goes to another process, and comes out the same."""
    kills, stop = [], threading.Event()
    picks = random.Random(5)
    with lending(server.url, "brighten", processes=3) as child:

        def kill():
            while not stop.is_set() and len(kills) < 100:
                time.sleep(picks.uniform(0.02, 0.08))
                alive = children(child)
                if alive:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(picks.choice(alive), signal.SIGKILL)
                        kills.append(1)

        killer = threading.Thread(target=kill)
        killer.start()
        expected = {}
        stream = mill.gen_batch(pipeline, 64, n_epochs=0, prefetch=3)
        seq = 0
        while len(kills) < 100:
            batch = stream.next(60)
            assert batch.seq == seq
            key = tuple(batch.items.tolist())
            made = batch["pixels"].tobytes()
            assert expected.setdefault(key, made) == made
            seq += 1
        stop.set()
        killer.join()
        stream.close()
    assert len(kills) >= 100 and seq > 10


def test_a_server_that_is_killed_and_started_again_gets_its_lenders_back(tmp_path, bright):
    with serving(tmp_path) as server:
        with lending(server.url, "brighten", processes=2):
            with batchmill.open(server.url) as mill:
                seen = []
                for batch in mill.gen_batch("bright", 64, shuffle=7, prefetch=3):
                    seen.append((batch.seq, batch["pixels"].tobytes()))
                    if batch.seq in (5, 15):
                        server.kill()
                        server.start()
                assert seen == bright
