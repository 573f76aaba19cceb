"""kills.py -- lines of the table whose fault is a signal."""

import signal
import time

from mill import SLOW_ORDERS, Mill
from row import Result, Row


def both(mill):
    lanes = list(mill.lanes)
    for lane in lanes:
        lane.process.kill()
    mill.server.kill()
    for lane in lanes:
        lane.process.wait()
    mill.server.start(wait=False)
    for lane in lanes:
        lane.start()


def server(mill):
    mill.server.kill()
    mill.server.start(wait=False)


def server_away(mill):
    mill.server.kill()
    time.sleep(mill.random.uniform(0.2, 1.5))
    mill.server.start(wait=False)


def client(mill):
    lane = mill.random.choice(mill.lanes)
    lane.kill()
    lane.start()


def opening(mill):
    """A moment after somebody started: in its first call, or before."""
    lane = mill.random.choice(mill.lanes)
    lane.kill()
    lane.start()
    time.sleep(mill.random.uniform(0, 0.015))
    if mill.random.random() < 0.5:
        lane.kill()
        lane.start()
    else:
        server(mill)
        time.sleep(mill.random.uniform(0, 0.015))
        server(mill)


def draining(mill):
    """SIGTERM: no new streams, open ones go on; SIGKILL before they ended."""
    mill.server.kill(signal.SIGTERM)
    time.sleep(mill.random.uniform(0, 0.1))
    server(mill)


def killed(act, orders=None, patience=0.7, tls=False):
    """`patience`: how often the next kill waits until every consumer goes on again; else it waits
    for one of them."""

    def run(draw, count):
        faults = []
        with Mill(draw, orders=orders, tls=tls) as mill:
            mill.until_progress()
            for _ in range(count):
                mill.run_for(draw.uniform(0, 0.1))
                begin_ns = time.monotonic_ns()
                act(mill)
                faults.append((begin_ns, time.monotonic_ns()))
                mill.until_progress(every=draw.random() < patience)
            mill.finish()
            return Result(count, mill.judgement, mill.stalls(faults))

    return run


def stopped(pick, shortest_s, longest_s):
    def run(draw, count):
        faults = []
        with Mill(draw) as mill:
            mill.until_progress()
            for _ in range(count):
                mill.run_for(draw.uniform(0, 0.1))
                process = pick(mill)
                begin_ns = time.monotonic_ns()
                process.send_signal(signal.SIGSTOP)
                time.sleep(draw.uniform(shortest_s, longest_s))
                process.send_signal(signal.SIGCONT)
                faults.append((begin_ns, time.monotonic_ns()))
                for lane in mill.lanes:
                    lane.be_patient()
                mill.until_progress()
            mill.finish()
            return Result(count, mill.judgement, mill.stalls(faults))

    return run


def the_server(mill):
    return mill.server.process


def a_client(mill):
    return mill.random.choice(mill.lanes).process


ROWS = [
    Row("kill -9 server", killed(server), kills=0.38),
    Row("kill -9 server, away 1 s", killed(server_away, patience=1), kills=0.02),
    Row("kill -9 server, TLS", killed(server, tls=True), kills=0.03),
    Row("kill -9 client", killed(client), kills=0.20),
    Row("kill -9 both", killed(both), kills=0.15),
    Row("kill -9 while opening", killed(opening), kills=0.10),
    Row("kill -9 in slow actions", killed(server, SLOW_ORDERS), kills=0.10),
    Row("kill -9 while draining", killed(draining), kills=0.05),
    Row("SIGSTOP server", stopped(the_server, 0.02, 0.5), kills=0.02),
    Row("SIGSTOP client", stopped(a_client, 0.02, 0.5), kills=0.02),
    Row("SIGSTOP client 20 s", stopped(a_client, 20, 20), kills=0.001),
    Row("SIGSTOP server 120 s", stopped(the_server, 120, 120), fixed=1, long=True),
    Row("SIGSTOP client 120 s", stopped(a_client, 120, 120), fixed=1, long=True),
]
