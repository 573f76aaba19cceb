"""places.py -- lines of the table whose fault is in what processes stand on: the disk, the data
files, the descriptors."""

import os
import resource
import socket
import struct
import subprocess
import time

import mill as mills
from mill import RECORD, Failure, Lane, Mill, consumer_command
from row import Result, Row

# ---- The consumer's file ----


def full_disk(draw, count):
    """The file may not grow beyond some byte, as on a full disk. What is in it stays good, and
    with room again the consumer goes on."""
    order = ("--batch-size=16", "--shuffle=7", "--n-iters=300")
    with Mill(draw, nlanes=0) as mill:
        expected = mill.reference("plain", order)
        for i in range(count):
            log = mill.folder / f"full-{i}.log"
            command = consumer_command(mill.server.tcp, "plain", log, *order, "--prefetch=4")
            size = draw.randrange(1, 200 * RECORD.size)
            done = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                timeout=mills.PATIENCE_S,
                preexec_fn=lambda size=size: resource.setrlimit(
                    resource.RLIMIT_FSIZE, (size, size)
                ),
            )
            if done.returncode != 1 or "cannot write the record of batch" not in done.stderr:
                raise Failure(f"expected an error about the file, got: {done}")
            records = mills.read_records(log)
            if [record[1] for record in records] != expected[: size // RECORD.size]:
                raise Failure(f"the full disk changed records that were there: {log}")
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=mills.PATIENCE_S)
            mill.judgement.add(log, "plain", expected)
        return Result(count, mill.judgement, [])


# ---- The data of a source ----

DATA_LOSS = 15
ROWS_OF_FILE, BATCH, NBATCHES = 2000, 16, 125
DATA_ORDER = (f"--batch-size={BATCH}", "--n-epochs=1", "--report")
# Every pipeline has a lock of its own, so that its stream takes a while at any prefetch.
FILES = """
sources:
  npy: {{npy: {{path: a.npy}}}}
  idx: {{idx: {{path: a.idx}}}}
  csv: {{csv: {{path: a.csv, header: false, components: {{x: {{columns: 0-7, dtype: int64}}}}}}}}
  none: {{range: {{n: 2000}}}}
pipelines:
  npy: {{source: npy, actions: [{{wait: {{ms: {wait}}}, use_lock: npy}}]}}
  idx: {{source: idx, actions: [{{wait: {{ms: {wait}}}, use_lock: idx}}]}}
  csv: {{source: csv, actions: [{{wait: {{ms: {wait}}}, use_lock: csv}}]}}
  none: {{source: none, actions: [{{wait: {{ms: {wait}}}, use_lock: none}}]}}
"""


def write_files(folder, seed):
    mills.write_npy(folder / "a.npy", ROWS_OF_FILE, 64, seed)
    head = struct.pack(">BBBBII", 0, 0, 8, 2, ROWS_OF_FILE, 64)
    values = bytes((i + seed) % 251 for i in range(ROWS_OF_FILE * 64))
    (folder / "a.idx").write_bytes(head + values)
    lines = [",".join(str(row * 8 + i + seed) for i in range(8)) for row in range(ROWS_OF_FILE)]
    (folder / "a.csv").write_text("\n".join(lines), encoding="utf-8")


def cut_files(folder, rows):
    os.truncate(folder / "a.npy", 128 + rows * 64 * 4)
    os.truncate(folder / "a.idx", 12 + rows * 64)
    os.truncate(folder / "a.csv", rows * 10)


def replace_files(folder):
    new = folder / "new"
    new.mkdir(exist_ok=True)
    write_files(new, seed=2)
    for path in new.iterdir():
        path.replace(folder / path.name)


def check_data_loss(judgement, rows):
    """Sources that read as they go fail from the cut on, and only there; the others never."""
    for pipeline in ("npy", "idx"):
        failed = [
            seq for name, seq, code in judgement.failed if (name, code) == (pipeline, DATA_LOSS)
        ]
        first = min(failed, default=NBATCHES)
        # Batches that were read before the cut are good, wherever they lie.
        if failed != list(range(first, NBATCHES)) or not rows // BATCH <= first <= NBATCHES // 2:
            raise Failure(f"{pipeline}: expected DATA_LOSS from the cut on, got {judgement.failed}")
    if {name for name, _, _ in judgement.failed} != {"npy", "idx"}:
        raise Failure(f"expected npy and idx to fail, got {judgement.failed}")
    judgement.failed.clear()


def add_file_lanes(mill, names):
    for name in names:
        mill.lanes.append(Lane(mill, len(mill.lanes), [((name,), DATA_ORDER)]))
    mill.until_progress(more=False)


def refuse_to_go_on(mill):
    """The data are others now: a position of the old ones opens nothing."""
    for lane in mill.lanes:
        lane.kill()
    mill.server.kill()
    replace_files(mill.folder)
    mill.server.start()
    for lane in mill.lanes[:3]:
        done = subprocess.run(
            lane.command(), capture_output=True, text=True, timeout=30, check=False
        )
        if done.returncode != 1 or "FAILED_PRECONDITION" not in done.stderr:
            raise Failure(f"expected FAILED_PRECONDITION, got {done}")
    mill.lanes[3].start()  # of it nothing changed
    del mill.lanes[:3]


def changed_data(draw, count):
    mill = Mill(draw, nlanes=0, text=FILES)
    write_files(mill.folder, seed=1)
    with mill:
        for i in range(count):
            mill.server.kill()
            write_files(mill.folder, seed=1)
            mill.server.start()
            mill.lanes.clear()
            for name in ("npy", "idx", "csv", "none"):
                mill.reference(name, DATA_ORDER)
            add_file_lanes(mill, ("npy", "idx", "csv", "none"))
            if i % 3 == 2:
                refuse_to_go_on(mill)
            elif i % 3 == 1:
                replace_files(mill.folder)
            else:
                rows = draw.choice((0, draw.randrange(ROWS_OF_FILE // 2)))
                cut_files(mill.folder, rows)
            mill.finish()
            mill.server.check()
            if i % 3 == 0:
                check_data_loss(mill.judgement, rows)
        return Result(count, mill.judgement, [])


# ---- Descriptors ----


def no_descriptors(draw, count):
    """A server that may have 64 of them, and 200 that connect and say nothing."""
    faults = []
    limit = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"]
    greeting = bytes.fromhex("0053500000300000")  # of a REQ socket
    with Mill(draw, nlanes=2, prefix=limit) as mill:
        mill.until_progress()
        host, port = mill.server.tcp[6:].split(":")
        for _ in range(count):
            begin_ns = time.monotonic_ns()
            crowd = [socket.socket() for _ in range(200)]
            for guest in crowd:
                guest.setblocking(False)
                guest.connect_ex((host, int(port)))
            mill.run_for(0.1)
            for guest in crowd:
                try:
                    guest.send(greeting)
                except OSError:
                    pass  # the server would not have it
            mill.lanes.append(Lane(mill, len(mill.lanes)))  # an honest one, in the middle of it
            mill.run_for(draw.uniform(0.1, 1.0))
            for guest in crowd:
                guest.close()
            faults.append((begin_ns, time.monotonic_ns()))
            mill.until_progress()
            mill.server.check()
        mill.finish()
        return Result(count, mill.judgement, mill.stalls(faults))


ROWS = [
    Row("full disk under a consumer", full_disk, kills=0.02),
    Row("data files cut or replaced", changed_data, kills=0.03),
    Row("no descriptors left", no_descriptors, kills=0.01),
]
