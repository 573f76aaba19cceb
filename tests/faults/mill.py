"""mill.py -- a server and consumers as processes that get killed, and the judgement of what the
consumers wrote down."""

import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("BATCHMILL_BUILD_DIR", ROOT / "build/release"))
RECORD = struct.Struct("<QQQiI224s")  # consumer.c: struct record
END = -1
PATIENCE_S = 20  # without any batch, a consumer is stuck
STUCK_MAX = 10

# {wait} and {slow} in ms. The reference run has 0 for both: what they do not change is the bytes,
# and a random action knows its place in the list.
CONFIG = """
sources:
  count: {{range: {{n: 5000, dtype: float32}}}}
  wide: {{npy: {{path: wide.npy, id: wide}}}}
pipelines:
  plain: {{source: count, actions: [{{add_noise: {{components: x, std: 1}}}},
      {{wait: {{ms: {wait}, jitter_ms: {wait}}}}}]}}
  locked: {{source: count, actions: [{{add_noise: {{components: x, std: 1}}}},
      {{wait: {{ms: {wait}, jitter_ms: {wait}}}}}, {{wait: {{ms: {lock}}}, use_lock: gpu}}]}}
  slow: {{source: count, actions: [{{wait: {{ms: {slow}, jitter_ms: {slow}}}}},
      {{add_noise: {{components: x, std: 1}}}}, {{wait: {{ms: {lock}}}, use_lock: gpu}}]}}
  wide: {{source: wide, actions: [{{wait: {{ms: {wait}, jitter_ms: {wait}}}}},
      {{scale: {{components: x, factor: 0.5}}}}]}}
"""
LIVE = {"wait": 2, "lock": 0.5, "slow": 25}
AT_ONCE = {"wait": 0, "lock": 0, "slow": 0}

# What a stream may ask for: (pipelines, options). Few, since each needs a run for reference.
ORDERS = [
    (("plain", "locked"), ("--batch-size=16", "--shuffle=7", "--n-iters=300")),
    (("plain", "locked"), ("--batch-size=7", "--shard=1/3", "--n-iters=250")),
    (("plain", "locked"), ("--batch-size=64", "--shuffle=11", "--n-epochs=2", "--cross")),
    (("locked",), ("--batch-size=1", "--shuffle=3", "--n-iters=400")),
    (("wide",), ("--batch-size=32", "--shuffle=5", "--n-iters=120")),
    (("wide",), ("--batch-size=100", "--shuffle=5", "--n-iters=60")),
]
SLOW_ORDERS = [(("slow",), ("--batch-size=16", "--shuffle=7", "--n-iters=60"))]
PREFETCHES = (0, 1, 2, 4, 7, 16)


class Failure(Exception):
    """Something that no fault may lead to."""


def free_port():
    """One that no connection draws as its own end, so that a restarted server finds it free."""
    while True:
        port = random.randint(20000, 30000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def write_npy(path, rows, columns, seed=1):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}"
    header = header.ljust(118 - 1) + "\n"
    values = random.Random(seed)
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        for _ in range(rows):
            # Exponents of 0x3f: floats between 0.5 and 2, so that no digest meets a NaN.
            row = bytearray(values.randbytes(4 * columns))
            row[3::4] = b"\x3f" * columns
            file.write(row)


def make_certificates(folder):
    """ca.pem, server.pem, server.key and others, in a folder of their own."""
    path = folder / "tls"
    path.mkdir()
    subprocess.run([BUILD / "test_certificates", path], check=True)
    return path


class Server:
    """batchmill serve, started again and again on the same addresses."""

    def __init__(
        self, folder, config, args=(), prefix=(), host="127.0.0.1", name="server", tls=None
    ):
        self.folder = folder
        self.tcp = f"tcp://{host}:{free_port()}"
        self.ipc = f"ipc://{folder}/{name}.ipc"
        urls = [self.tcp, self.ipc]
        self.command = [*prefix, BUILD / "batchmill", "serve", str(config), *args]
        if tls is not None:  # the folder of certificates
            self.tls = f"tls+tcp://{host}:{free_port()}"
            urls.append(self.tls)
            self.command += [f"--tls-certificate={tls}/server.pem", f"--tls-key={tls}/server.key"]
        self.nurls = len(urls)
        self.command += [f"--listen={url}" for url in urls]
        self.log = folder / f"{name}.log"
        self.process = None
        self.nstarts = 0

    def start(self, wait=True, **kwargs):
        self.nstarts += 1
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(self.command, stderr=log, **kwargs)
        deadline = time.monotonic() + 20
        while wait and self.text().count("event=listening") < self.nurls:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failure("the server did not start: " + self.text())
            time.sleep(0.002)
        return self

    def text(self):
        return self.log.read_text(encoding="utf-8")

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()

    def check(self):
        if self.process.poll() is not None:
            raise Failure(f"the server left with {self.process.returncode}: {self.text()}")


class Judgement:
    """What the records of streams say, summed up."""

    def __init__(self):
        self.batches = self.lost = self.repeated = self.disordered = self.wrong = 0
        self.failed = []  # (pipeline, seq, code) of batches that came as errors
        self.stuck = []  # what consumers that had to be helped were doing

    def add(self, log, pipeline, expected):
        """`log` is of a stream that says it reached its end."""
        records = read_records(log)
        seen = set()
        latest = -1
        for seq, digest, _, code in records[:-1]:
            self.repeated += seq in seen
            self.disordered += seq < latest and seq not in seen
            if code != 0:
                self.failed.append((pipeline, seq, code))
            else:
                self.wrong += seq >= len(expected) or digest != expected[seq]
            seen.add(seq)
            latest = max(latest, seq)
        self.batches += len(records) - 1
        self.lost += len(set(range(len(expected))) - seen)

    def perfect(self):
        counts = (self.lost, self.repeated, self.disordered, self.wrong)
        return not any(counts) and not self.failed and not self.stuck


def read_records(log):
    """[(seq, digest, taken_ns, code)], as far as the file has whole ones."""
    data = log.read_bytes() if log.exists() else b""
    data = data[: len(data) // RECORD.size * RECORD.size]
    return [record[:4] for record in RECORD.iter_unpack(data)]


class Lane:
    """One consumer after the other: when a stream reached its end, the next is drawn."""

    def __init__(self, mill, number, orders=None, url=None):
        self.mill = mill
        self.number = number
        self.orders = orders or ORDERS
        self.url = url
        self.nstreams = 0
        self.gaps = []  # (begin_ns, end_ns) between two batches
        self.done = False
        self.process = None
        self.latest = None  # progress, and since when
        self.patient_s = 0.0
        self.next_stream()

    def next_stream(self):
        draw = self.mill.random
        pipelines, self.order = draw.choice(self.orders)
        self.pipeline = draw.choice(pipelines)
        self.prefetch = draw.choice(PREFETCHES)
        self.stream_url = self.url or draw.choice((self.mill.server.tcp, self.mill.server.ipc))
        self.log = self.mill.folder / f"lane{self.number}-{self.nstreams}.log"
        self.nstreams += 1
        self.begin_ns = time.monotonic_ns()
        self.start()

    def command(self):
        return consumer_command(
            self.stream_url,
            self.pipeline,
            self.log,
            *self.order,
            *self.mill.trust(self.stream_url),
            f"--prefetch={self.prefetch}",
        )

    def start(self):
        with open(self.mill.folder / f"lane{self.number}.err", "a", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                self.command(), stdout=subprocess.DEVNULL, stderr=errors
            )

    def kill(self):
        self.process.kill()
        self.process.wait()

    def progress(self):
        size = self.log.stat().st_size if self.log.exists() else 0
        return self.nstreams, size // RECORD.size

    def where(self):
        text = (self.mill.folder / f"lane{self.number}.err").read_text(encoding="utf-8")
        return (
            f"{self.pipeline} {' '.join(self.order)} --prefetch={self.prefetch} at "
            f"{self.stream_url}, batch {self.progress()[1]}: {text[-500:]}"
        )

    def be_patient(self):
        """Whatever it did not do so far was no fault of its own."""
        self.patient_s = time.monotonic()

    def tick(self, more):
        """Looks after the process. A stream that ended is judged, and followed if there are
        to be `more`."""
        if self.done:
            return
        code = self.process.poll()
        if code == 0:
            self.judge()
            self.done = not more
            if more:
                self.next_stream()
        elif code is not None and self.mill.may_fail:
            self.start()
        elif code is not None:
            raise Failure(f"a consumer left with {code}: {self.where()}")
        elif self.latest != self.progress():
            self.latest = self.progress()
            self.be_patient()
        elif time.monotonic() - self.patient_s > PATIENCE_S:
            self.help()

    def help(self):
        """A stuck consumer is a failure, but must not keep the others from theirs."""
        self.mill.judgement.stuck.append(self.where())
        if len(self.mill.judgement.stuck) > STUCK_MAX:
            raise Failure(f"no batch for {PATIENCE_S} s, again and again: {self.where()}")
        self.kill()
        self.start()
        self.be_patient()

    def judge(self):
        expected = self.mill.reference(self.pipeline, self.order)
        self.mill.judgement.add(self.log, self.pipeline, expected)
        self.note_gaps()
        self.log.unlink()

    def note_gaps(self):
        times = [self.begin_ns] + [record[2] for record in read_records(self.log)]
        self.gaps += [(a, b) for a, b in zip(times, times[1:])]


def consumer_command(url, pipeline, log, *options):
    command = [BUILD / "faults_consumer", f"--url={url}", f"--pipeline={pipeline}", f"--log={log}"]
    return [*command, *options]


class Mill:
    """A folder, a server, and lanes on it; as a context it leaves nothing behind."""

    references = {}  # (pipeline, order) -> digest per seq; equal in all of them

    def __init__(
        self,
        draw,
        nlanes=3,
        orders=None,
        url=None,
        args=(),
        prefix=(),
        host="127.0.0.1",
        text=CONFIG,
        tls=False,  # over TLS alone
    ):
        self.random = draw
        self.nlanes, self.orders, self.url = nlanes, orders, url
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="batchmill-faults-"))
        self.judgement = Judgement()
        self.may_fail = False  # a consumer that gave up is started again
        self.lanes = []
        self.text = text
        write_npy(self.folder / "wide.npy", 1000, 2048)
        self.config = self.write_config("live.yaml", LIVE)
        certificates = make_certificates(self.folder) if tls else None
        self.server = Server(self.folder, self.config, args, prefix, host, tls=certificates)
        if tls:
            self.url = self.server.tls

    def write_config(self, name, times):
        path = self.folder / name
        path.write_text(self.text.format(**times), encoding="utf-8")
        return path

    def trust(self, url):
        """What a consumer needs to believe the server."""
        return [f"--tls-ca={self.folder}/tls/ca.pem"] if url.startswith("tls+") else []

    def __enter__(self):
        try:
            self.server.start()
            self.add_lanes()
        except BaseException:
            self.__exit__()
            raise
        return self

    def add_lanes(self):
        for i in range(self.nlanes):
            self.lanes.append(Lane(self, i, self.orders, self.url))

    def __exit__(self, *_):
        for process in [self.server.process] + [lane.process for lane in self.lanes]:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def reference(self, pipeline, order):
        """The digests of a stream that nothing happened to."""
        key = (pipeline, order)
        if key not in self.references:
            server = Server(self.folder, self.write_config("at-once.yaml", AT_ONCE), name="ref")
            log = self.folder / "reference.log"
            log.unlink(missing_ok=True)
            server.start()
            try:
                subprocess.run(
                    consumer_command(server.ipc, pipeline, log, *order, "--prefetch=4"),
                    check=True,
                    timeout=PATIENCE_S,
                    stdout=subprocess.DEVNULL,
                )
            finally:
                server.kill()
            records = read_records(log)
            numbers = [record[0] for record in records[:-1]]
            if numbers != list(range(len(numbers))) or records[-1][3] != END:
                raise Failure(f"{pipeline} {order}: the run for reference is out of order")
            self.references[key] = [record[1] for record in records[:-1]]
        return self.references[key]

    def tick(self, more=True):
        for lane in self.lanes:
            lane.tick(more)

    def until_progress(self, every=True, more=True):
        """Until every (or any) lane got another batch."""
        before = [lane.progress() for lane in self.lanes]
        while True:
            self.tick(more)
            moved = [lane.done or lane.progress() != old for lane, old in zip(self.lanes, before)]
            if all(moved) if every else any(moved):
                return
            time.sleep(0.002)

    def run_for(self, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.tick()
            time.sleep(min(0.005, max(0, deadline - time.monotonic())))

    def finish(self):
        """No more faults: what is open reaches its end."""
        while not all(lane.done for lane in self.lanes):
            self.until_progress(every=False, more=False)

    def stalls(self, faults):
        """For each fault (begin_ns, over_ns): the longest gap that it may have caused, and how
        much of it came after it was over, in seconds; of the lane that it hit hardest."""
        found = []
        # A consumer may still take what was on its way, so a gap may begin after its cause. The
        # gap of the next fault begins at the last batch before that.
        ends = [begin - 20_000_000 for begin, _ in faults[1:]] + [2**63]
        for (begin_ns, over_ns), end_ns in zip(faults, ends):
            until_ns = max(over_ns, min(end_ns, over_ns + 500_000_000))
            stall_ns = resume_ns = 0
            for lane in self.lanes:
                gaps = [gap for gap in lane.gaps if gap[0] < until_ns and gap[1] > begin_ns]
                a, b = max(gaps, key=lambda gap: gap[1] - gap[0], default=(0, 0))
                stall_ns = max(stall_ns, b - a)
                resume_ns = max(resume_ns, b - max(a, over_ns))
            found.append((stall_ns / 1e9, resume_ns / 1e9))
        return found
