#!/usr/bin/env python3
"""proxy.py -- a TCP proxy between nng peers that breaks what passes, from a seed.

    proxy.py 127.0.0.1:7400 127.0.0.1:7310 --fault cut --fault drop --every-ms 50 --count 100

It knows the framing of SP over TCP (a greeting of 8 bytes, then frames: 8 bytes of length, big
endian, and as many bytes), so that it can lose or repeat a whole message; with --tls that of TLS
(records: 3 bytes, 2 bytes of length, and as many bytes). Each fault is told on
standard output as a line of JSON when it is over: its name and when it began and ended, in ns of
CLOCK_MONOTONIC. After --count of them it passes everything on as it is.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import time

TLS_HANDSHAKE = 22  # the type of its records, as far as they are not encrypted
SPLIT_MAX = 2048  # bytes of a long frame's head and tail that travel one by one


class Connection:
    """A client's connection and ours to the server; either end breaks both."""

    def __init__(self, proxy, client, server):
        self.proxy = proxy
        self.ways = (client, server)  # (reader, writer) each

    def abort(self):
        for _, writer in self.ways:
            writer.transport.abort()

    async def run(self):
        (client_in, client_out), (server_in, server_out) = self.ways
        await asyncio.wait(
            [
                asyncio.create_task(Way(self, client_in, server_out).run()),
                asyncio.create_task(Way(self, server_in, client_out).run()),
            ],
            return_when=asyncio.FIRST_COMPLETED,
        )
        self.abort()


class Way:
    """One direction of a connection."""

    def __init__(self, connection, reader, writer):
        self.connection = connection
        self.proxy = connection.proxy
        self.random = connection.proxy.random
        self.reader = reader
        self.writer = writer
        self.held = None  # a frame that its successor overtakes

    async def run(self):
        try:
            if not self.proxy.tls:
                await self.pass_on(await self.reader.readexactly(8), greeting=True)
            while True:
                head = await self.reader.readexactly(self.proxy.head_bytes)
                length = head[3:] if self.proxy.tls else head
                body = await self.reader.readexactly(int.from_bytes(length, "big"))
                greeting = self.proxy.tls and head[0] == TLS_HANDSHAKE
                await self.pass_on(head + body, greeting)
        except (OSError, asyncio.IncompleteReadError):
            pass  # one end is gone

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def pass_on(self, unit, greeting=False):
        fault = None if self.held else self.proxy.draw(greeting)
        if fault is None:
            await self.send(unit)
            if self.held:
                held, self.held = self.held, None
                await self.send(held)
            return
        begin_ns = time.monotonic_ns()
        try:
            await getattr(self, fault.replace("-", "_"))(unit)
        finally:
            self.proxy.tell(fault, begin_ns)
        if self.writer.transport.is_closing():
            raise ConnectionAbortedError

    async def cut(self, unit):
        await self.send(unit[: self.random.randrange(len(unit))])
        self.connection.abort()

    async def half_open(self, _):
        """This direction goes nowhere for a while; then the connection is found to be dead."""
        try:
            await asyncio.wait_for(self.reader.read(-1), self.random.uniform(0.1, 1.5))
        except asyncio.TimeoutError:
            pass
        self.connection.abort()

    async def deaf(self, _):
        """As half-open, but nobody finds out: it stays so until one end hangs up."""
        await self.reader.read(-1)
        self.connection.abort()

    async def delay(self, unit):
        await asyncio.sleep(self.random.uniform(0.02, 0.5))
        await self.send(unit)

    async def throttle(self, unit):
        pieces = self.random.randint(5, 40)
        size = len(unit) // pieces + 1
        for first in range(0, len(unit), size):
            await self.send(unit[first : first + size])
            await asyncio.sleep(0.01)

    async def duplicate(self, unit):
        await self.send(unit)
        await self.send(unit)

    async def drop(self, _):
        pass

    async def reorder(self, unit):
        self.held = unit
        asyncio.get_running_loop().call_later(0.05, self.let_go)

    def let_go(self):  # nothing came that could overtake it
        if self.held and not self.writer.transport.is_closing():
            self.writer.write(self.held)
        self.held = None

    async def flip(self, unit):
        bit = self.random.randrange(8 * self.proxy.head_bytes, len(unit) * 8)  # never the length
        changed = bytearray(unit)
        changed[bit // 8] ^= 1 << bit % 8
        await self.send(bytes(changed))

    async def split(self, unit):
        middle = max(len(unit) - SPLIT_MAX, SPLIT_MAX)
        await self.send_bytes(unit[:SPLIT_MAX])
        await self.send(unit[SPLIT_MAX:middle])
        await self.send_bytes(unit[middle:])

    async def send_bytes(self, data):
        for i in range(len(data)):
            self.writer.write(data[i : i + 1])  # asyncio sends at once, without Nagle's wait
            if i % 64 == 63:
                await self.writer.drain()


FAULTS = ("cut", "half-open", "deaf", "delay", "throttle", "duplicate", "drop", "reorder", "flip")
FAULTS += ("split",)
OF_GREETING = ("cut", "half-open", "delay", "split")


class Proxy:
    def __init__(self, args):
        self.random = random.Random(args.seed)
        self.faults = args.fault
        self.every_s = args.every_ms / 1000
        self.left = args.count
        self.due = 0.0
        self.busy = False
        self.target = args.target.rsplit(":", 1)
        self.tls = args.tls
        self.head_bytes = 5 if args.tls else 8

    def draw(self, greeting):
        """The fault that the next unit meets, or None. One at a time, so that it can be told
        what each of them did."""
        if self.left == 0 or self.busy or time.monotonic() < self.due:
            return None
        fault = self.random.choice(self.faults)
        if greeting and fault not in OF_GREETING:
            return None
        self.left -= 1
        self.busy = True
        return fault

    def tell(self, fault, begin_ns):
        self.busy = False
        self.due = time.monotonic() + self.every_s * self.random.uniform(0.5, 1.5)
        told = {"fault": fault, "begin_ns": begin_ns, "over_ns": time.monotonic_ns()}
        print(json.dumps(told), flush=True)

    async def accept(self, reader, writer):
        try:
            server = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        await Connection(self, (reader, writer), server).run()


async def serve(args):
    host, port = args.listen.rsplit(":", 1)
    server = await asyncio.start_server(Proxy(args).accept, host, int(port), backlog=512)
    print(json.dumps({"listening": server.sockets[0].getsockname()[1]}), flush=True)
    async with server:
        await server.serve_forever()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("listen", help="host:port; port 0 draws one, which is printed")
    parser.add_argument("target", help="host:port")
    parser.add_argument("--fault", action="append", choices=FAULTS, required=True)
    parser.add_argument("--tls", action="store_true", help="what passes are records of TLS")
    parser.add_argument("--every-ms", type=float, default=100, help="about, between two faults")
    parser.add_argument("--count", type=int, default=-1, help="of faults; default: no end")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        asyncio.run(serve(arguments()))
    except KeyboardInterrupt:
        pass
