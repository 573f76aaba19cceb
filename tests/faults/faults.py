#!/usr/bin/env python3
"""faults.py -- kills, stops and breaks what a stream needs, and counts what that did to it.

    ./dev faults [--kills N] [--proxy N] [--seed S] [--long] [NAME...]

One table: each fault, how often it struck, and over all batches of all streams how many were lost,
repeated, out of order, or had other bytes than without faults. Exit status 1 when any did, or a
stream did not reach its end.
"""

import argparse
import random
import sys
import time
import traceback

import kills
import network
import places
from mill import Failure

HEAD = ("fault", "how many", "batches", "lost", "repeated", "out of order", "wrong bytes")
HEAD += ("longest stall s", "resume p99 s", "seconds")


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else None


def shown(value):
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def line(cells, widths):
    cells = [shown(cell) for cell in cells]
    first, rest = cells[0].ljust(widths[0]), zip(cells[1:], widths[1:])
    return "  ".join([first] + [cell.rjust(width) for cell, width in rest])


def run_row(row, args, seed):
    """The cells of its line, and whether all is as it must be."""
    begin = time.monotonic()
    result = row.run(random.Random(f"{seed} {row.name}"), row.count(args))
    seconds = time.monotonic() - begin
    if isinstance(result, str):  # why it cannot be tried here
        return [row.name, result], True
    judged, stalls = result.judgement, result.stalls
    cells = [row.name, result.count, judged.batches, judged.lost, judged.repeated]
    cells += [judged.disordered, judged.wrong, max((stall for stall, _ in stalls), default=None)]
    cells += [percentile([resume for _, resume in stalls], 0.99), seconds]
    for where in judged.stuck:
        print(f"stuck, and started again: {where}")
    for pipeline, seq, code in judged.failed[:10]:
        print(f"{pipeline}: batch {seq} came as an error: {code}")
    return cells, judged.perfect()


def main():
    rows = kills.ROWS + network.ROWS + places.ROWS
    parser = argparse.ArgumentParser(prog="./dev faults", description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=1000, help="kill -9, in all")
    parser.add_argument("--proxy", type=int, default=1000, help="faults of the network, in all")
    parser.add_argument("--long", action="store_true", help="also stop processes for 120 s")
    parser.add_argument("--seed", type=int, default=1, help="of which faults strike when")
    parser.add_argument("name", nargs="*", help="lines of the table; default: all")
    args = parser.parse_args()
    names = [row.name for row in rows]
    for name in args.name:
        if name not in names:
            parser.error(f"expected one of {', '.join(names)}; got {name}")
    widths = [max(map(len, names))] + [len(cell) for cell in HEAD[1:]]
    print(line(HEAD, widths), flush=True)
    failed = []
    for row in rows:
        if (args.name and row.name not in args.name) or row.skipped(args):
            continue
        try:
            cells, good = run_row(row, args, args.seed)
        except Failure as failure:
            cells, good = [row.name, str(failure)], False
        except Exception:  # a fault of ours must not hide the other lines
            cells, good = [row.name, traceback.format_exc()], False
        print(line(cells, widths), flush=True)
        if not good:
            failed.append(row.name)
    for name in failed:
        print(
            f"FAILED, again: ./dev faults --kills {args.kills} --proxy {args.proxy} "
            f"--seed {args.seed} '{name}'"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
