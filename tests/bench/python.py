#!/usr/bin/env python3
"""python.py -- batches to a Python loop: ours, our C consumer's, and what others give; ratios.

`./dev bench python` runs it. Each row is measured in rounds, ours and the others' in turn, and the
figures are medians: batches a second, and for ours their ratio to each other one. Products that
are not installed are left out; `./dev bench --peers` installs them in build/peers, and pynng comes
with the tests' requirements.
"""

import argparse
import contextlib
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import batchmill

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "release"
PEERS = {"flight": "flight.py", "tfdata": "tfdata.py", "dataloader": "dataloader.py"}
MIB = 1 << 20

CONFIGURATION = """
sources:
  large: {{npy: {{path: {folder}/large.npy}}}}
  small: {{range: {{n: 1000000}}}}
remote_actions:
  scaled: {{writes: {{x: {{like: x}}}}}}
pipelines:
  large: {{source: large}}
  small: {{source: small, actions: [noop, noop, noop]}}
  scaled: {{source: large, actions: [scaled]}}
"""


class Row:
    def __init__(self, name, pipeline, batch_items, batches, items, item_bytes, actions, goals):
        self.name, self.pipeline, self.batches = name, pipeline, batches
        self.batch_items, self.items, self.item_bytes = batch_items, items, item_bytes
        self.actions, self.goals = actions, goals

    @property
    def work(self):  # as the peers read it
        numbers = (self.items, self.item_bytes, self.batch_items, self.batches, self.actions)
        return " ".join(map(str, (self.name, *numbers, "none")))


LARGE = {"c": 0.9, "pynng": 2.5, "flight": 1.3}
ROWS = [
    Row("py_16m", "large", 16, 200, 64, MIB, 0, LARGE),
    Row("py_1m", "large", 1, 2000, 64, MIB, 0, LARGE),
    Row("py_small", "small", 32, 100_000, 1_000_000, 8, 3, {"tfdata": 20}),
]


@contextlib.contextmanager
def server(folder):
    np.save(folder / "large.npy", np.random.default_rng(1).random((64, MIB // 4), np.float32))
    path = folder / "pipelines.yaml"
    path.write_text(CONFIGURATION.format(folder=folder))
    log = folder / "log"
    with open(log, "w") as file:
        command = [BUILD / "batchmill", "serve", path, "--listen", "tcp://127.0.0.1:0"]
        process = subprocess.Popen(command, stderr=file)
    try:
        while not (found := re.search(r"event=listening url=\"?([^\s\"]+)", log.read_text())):
            time.sleep(0.01)
        yield found.group(1)
    finally:
        process.terminate()
        process.wait()


# ---- Ours ----


def order(row):
    return dict(batch_size=row.batch_items, shuffle=7, n_epochs=None, n_iters=row.batches)


def loop(url, row, **options):
    with batchmill.open(url, **options) as mill:
        with mill.gen_batch(row.pipeline, **order(row)) as stream:
            begin = time.perf_counter()
            for batch in stream:
                batch["x"]
            return row.batches / (time.perf_counter() - begin)


def c_consumer(url, row, *options):
    command = [BUILD / "batchmill", "gen", row.pipeline, "--server", url, *options]
    command += ["--batch-size", row.batch_items, "--shuffle", 7, "--n-iters", row.batches]
    out = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return float(re.search(r"in [\d.]+ s: ([\d.]+) batches/s", out.stdout).group(1))


# ---- The protocol by hand: pynng and python-protobuf, as anybody would begin ----


def by_hand(url, row, folder):
    code = f"""
import sys, time
sys.path.insert(0, {str(folder)!r})
import numpy, pynng
from batchmill.v1 import batchmill_pb2 as pb
socket = pynng.Req0(dial={url!r}, resend_time=60000)
socket.recv_max_size = 0
def call(**fields):
    socket.send(pb.Request(**fields).SerializeToString())
    return pb.Response.FromString(socket.recv())
order = pb.Order(batch_size={row.batch_items}, shuffle=1, seed=7, n_iters={row.batches})
stream = call(open_stream=pb.OpenStreamRequest(
    pipeline={row.pipeline!r}, order=order, prefetch=16)).open_stream.stream
begin, seq = time.perf_counter(), 0
while seq < {row.batches}:
    reply = call(next_batches=pb.NextBatchesRequest(
        stream=stream, first=seq, ack=seq, max_batches=16, wait_ms=5000)).next_batches
    for batch in reply.batches:
        numpy.frombuffer(batch.tensors[0].data, "f4" if {row.item_bytes} > 8 else "i8")
    seq += len(reply.batches)
print({row.batches} / (time.perf_counter() - begin))
"""
    subprocess.run(
        [
            "protoc",
            f"-I{ROOT / 'proto'}",
            f"--python_out={folder}",
            str(ROOT / "proto/batchmill/v1/batchmill.proto"),
        ],
        check=True,
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    return float(out.stdout)


# ---- Other products ----


class Peer:
    """A program of tests/bench/peers, which peer.py there describes."""

    def __init__(self, script):
        python = ROOT / "build" / "peers" / "bin" / "python"
        if not python.exists():
            raise FileNotFoundError("./dev bench --peers installs it")
        self.process = subprocess.Popen(
            [python, ROOT / "tests/bench/peers" / script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        )
        self.expect("ready")

    def expect(self, word):
        line = self.process.stdout.readline().split(None, 1)
        if not line or line[0] != word:
            raise RuntimeError(" ".join(line) or "it ended")
        return line[1] if len(line) > 1 else ""

    def measure(self, row):
        print(row.work, file=self.process.stdin, flush=True)
        return float(self.expect("value").split()[0])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- Remote actions ----

WORKER = """
import sys, numpy as np, batchmill
@batchmill.action("scaled")
def scaled(batch, ctx):
    out = ctx.empty("x", batch["x"].shape, batch["x"].dtype)
    np.multiply(batch["x"], np.float32(0.5), out=out)
    return {"x": out}
batchmill.worker(sys.argv[1], actions=[scaled]).run()
"""


def remote_action(url, rounds):
    """Microseconds of a 1 MiB batch: the bare call, the stream without and with the action."""
    array = np.random.default_rng(1).random((1, MIB // 4), np.float32)
    out = np.empty_like(array)
    bare, plain, remote = [], [], []
    worker = subprocess.Popen([sys.executable, "-c", WORKER, url])
    try:
        for _ in range(rounds):
            begin = time.perf_counter()
            for _ in range(500):
                np.multiply(array, np.float32(0.5), out=out)
            bare.append((time.perf_counter() - begin) / 500)
            for name, times in (("large", plain), ("scaled", remote)):
                row = Row(name, name, 1, 1000, 64, MIB, 0, {})
                times.append(1 / loop(url, row))
    finally:
        worker.terminate()
        worker.wait()
    return tuple(statistics.median(times) * 1e6 for times in (bare, plain, remote))


# ---- The table ----


def measure(row, url, folder, rounds, peers):
    figures = {}

    def add(name, function, *args, **kwargs):
        try:
            figures.setdefault(name, []).append(function(*args, **kwargs))
        except Exception as error:  # whatever a product raises
            print(f"  {row.name}: {name}: {str(error)[:150]}", file=sys.stderr)

    for _ in range(rounds):
        add("python", loop, url, row, shared_memory=False)
        add("c", c_consumer, url, row, "--no-shared-memory")
        if row.item_bytes > 8:
            add("python, shared", loop, url, row)
            add("python, shared, read-only", loop, url, row, writable=False)
            add("c, shared", c_consumer, url, row)
        add("pynng", by_hand, url, row, folder)
        for name, peer in peers.items():
            add(name, peer.measure, row)
    return {name: statistics.median(values) for name, values in figures.items()}


def show(row, figures):
    ours = figures["python"]
    for name, figure in figures.items():
        goal = row.goals.get(name)
        met = goal is not None and ours / figure >= goal
        verdict = "" if goal is None else f"goal {goal}: {'met' if met else 'missed'}"
        print(
            f"{row.name:12} {name:26} {figure:12,.0f} batches/s {ours / figure:9.2f} x  {verdict}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = "py_16m, py_1m, py_small, py_worker_1m"
    parser.add_argument("rows", nargs="*", help=f"{names}; default all")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    peers = {}
    for name, script in PEERS.items():
        try:
            peers[name] = Peer(script)
        except Exception as error:
            print(f"  without {name}: {error}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as name, server(pathlib.Path(name)) as url:
        print("row          who                                figure           python / who")
        for row in ROWS:
            if not given.rows or row.name in given.rows:
                show(row, measure(row, url, pathlib.Path(name), given.rounds, peers))
        if not given.rows or "py_worker_1m" in given.rows:
            bare, plain, remote = remote_action(url, given.rounds)
            limit = 1.5 * bare + 200
            print(
                f"py_worker_1m bare call {bare:.0f} us, stream {plain:.0f} us, with the remote "
                f"action {remote:.0f} us; adds {remote - plain:.0f} us, "
                f"goal {limit:.0f}: {'met' if remote - plain <= limit else 'missed'}"
            )
    for peer in peers.values():
        peer.close()


if __name__ == "__main__":
    main()
