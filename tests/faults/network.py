"""network.py -- lines of the table whose fault is between client and server."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from mill import Failure, Mill
from row import Result, Row

HERE = pathlib.Path(__file__).resolve().parent


class Proxy:
    """proxy.py as a process in front of a server."""

    def __init__(self, mill, faults, every_ms, count):
        self.log = mill.folder / "proxy.log"
        url = mill.url or mill.server.tcp
        self.scheme, target = url.split("://")
        command = [sys.executable, HERE / "proxy.py", "127.0.0.1:0", target]
        command += ["--tls"] if self.scheme != "tcp" else []
        command += [f"--fault={fault}" for fault in faults]
        command += [f"--every-ms={every_ms}", f"--count={count}"]
        command += [f"--seed={mill.random.randrange(2**32)}"]
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdout=log)

    def lines(self):
        text = self.log.read_text(encoding="utf-8")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def url(self):
        while not self.lines():
            if self.process.poll() is not None:
                raise Failure("the proxy did not start")
            time.sleep(0.01)
        return f"{self.scheme}://127.0.0.1:{self.lines()[0]['listening']}"

    def faults(self):
        told = self.lines()[1:]
        return sorted((fault["begin_ns"], fault["over_ns"]) for fault in told)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def proxied(*faults, every_ms=40, nlanes=3, may_fail=False, tls=False):
    def run(draw, count):
        with Mill(draw, nlanes=0, tls=tls) as mill, Proxy(mill, faults, every_ms, count) as proxy:
            mill.url, mill.nlanes, mill.may_fail = proxy.url(), nlanes, may_fail
            mill.add_lanes()
            while len(proxy.lines()) <= count:
                mill.until_progress(every=False)
            mill.finish()
            return Result(count, mill.judgement, mill.stalls(proxy.faults()))

    return run


# ---- A partition: the server lives behind a cable of its own ----


class Cable:
    """A pair of virtual Ethernet ends, one of them in a network namespace."""

    def __init__(self):
        self.name = f"bmf{os.getpid() % 100000}"
        self.host, self.server = "10.213.77.1", "10.213.77.2"
        self.prefix = ["ip", "netns", "exec", self.name]

    def plug(self):
        """None, or why it cannot be done."""
        inside = self.name + "b"
        for command in (
            ["netns", "add", self.name],
            ["link", "add", self.name, "type", "veth", "peer", "name", inside],
            ["link", "set", inside, "netns", self.name],
            ["addr", "add", f"{self.host}/24", "dev", self.name],
            ["link", "set", self.name, "up"],
            ["-n", self.name, "addr", "add", f"{self.server}/24", "dev", inside],
            ["-n", self.name, "link", "set", inside, "up"],
        ):
            done = subprocess.run(["ip", *command], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                return f"skipped: ip {' '.join(command)}: {done.stderr.strip()}"
        return None

    def unplug(self):
        subprocess.run(["ip", "link", "del", self.name], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)

    def down(self):
        subprocess.run(["ip", "link", "set", self.name, "down"], check=True)

    def up(self):
        subprocess.run(["ip", "link", "set", self.name, "up"], check=True)

    def swallow(self):
        """What the server says goes nowhere; it still hears."""
        self.route("add")

    def let_through(self):
        self.route("del")

    def route(self, verb):
        subprocess.run(
            ["ip", "-n", self.name, "route", verb, "blackhole", f"{self.host}/32"], check=True
        )


def partitioned(draw, count):
    cable = Cable()
    if shutil.which("ip") is None:
        return "skipped: expected the program ip"
    try:
        return cable.plug() or with_cable(cable, draw, count)
    finally:
        cable.unplug()


def with_cable(cable, draw, count):
    faults = []
    with Mill(draw, nlanes=0, args=["--insecure"], prefix=cable.prefix, host=cable.server) as mill:
        mill.url, mill.nlanes = mill.server.tcp, 3
        mill.add_lanes()
        mill.until_progress()
        for _ in range(count):
            mill.run_for(draw.uniform(0, 0.1))
            begin, end = draw.choice(((cable.down, cable.up), (cable.swallow, cable.let_through)))
            begin_ns = time.monotonic_ns()
            begin()
            time.sleep(draw.uniform(0.05, 1.0))
            end()
            faults.append((begin_ns, time.monotonic_ns()))
            mill.until_progress()
        mill.finish()
        return Result(count, mill.judgement, mill.stalls(faults))


ROWS = [
    Row("proxy: cut at any byte", proxied("cut"), proxy=0.28),
    Row("proxy: half-open", proxied("half-open"), proxy=0.03),
    Row("proxy: delay", proxied("delay"), proxy=0.06),
    Row("proxy: throttle", proxied("throttle"), proxy=0.06),
    Row("proxy: duplicate frame", proxied("duplicate", every_ms=10), proxy=0.20),
    Row("proxy: drop frame", proxied("drop", every_ms=500, nlanes=12), proxy=0.02),
    Row("proxy: reorder frames", proxied("reorder", every_ms=10), proxy=0.13),
    Row("proxy: split at every byte", proxied("split", every_ms=10), proxy=0.20),
    Row("proxy: flip a bit", proxied("flip", may_fail=True), proxy=0.05),
    Row("proxy: cut at any byte, TLS", proxied("cut", tls=True), proxy=0.05),
    Row("proxy: flip a bit, TLS", proxied("flip", may_fail=True, tls=True), proxy=0.02),
    Row("proxy: split at every byte, TLS", proxied("split", every_ms=10, tls=True), proxy=0.02),
    Row("partition", partitioned, proxy=0.02),
]
