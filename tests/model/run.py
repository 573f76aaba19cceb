#!/usr/bin/env python3
"""run.py -- checks the model with spin, then breaks it: each mutant must make spin find an error.

    ./dev model           the quick configurations and the mutants (about a minute)
    ./dev model --big     the large configurations (minutes, several GB)

A configuration holds when no assertion fails, no execution gets stuck before the consumer has all
batches, and no execution goes on for ever (the graph of states has no cycle).
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

MODEL = pathlib.Path(__file__).resolve().parent / "batchmill.pml"


def configuration(n, p, drops, dups, server_kills, consumer_kills, w=2):
    return {
        "N": n,
        "P": p,
        "W": w,
        "DROPS": drops,
        "DUPS": dups,
        "SERVER_KILLS": server_kills,
        "CONSUMER_KILLS": consumer_kills,
    }


QUICK = [
    configuration(2, 0, 1, 1, 1, 1),
    configuration(3, 1, 2, 1, 0, 0),
    configuration(3, 1, 0, 1, 1, 0),
    configuration(3, 1, 1, 0, 1, 0),
    configuration(3, 2, 1, 1, 0, 0, w=3),
    configuration(2, 1, 0, 0, 1, 1),
]
BIG = [
    configuration(2, 1, 1, 0, 1, 1, w=1),
    configuration(2, 1, 0, 0, 2, 1),
    configuration(3, 1, 0, 0, 1, 1),
    configuration(3, 1, 1, 1, 1, 0),
    configuration(2, 1, 1, 1, 1, 1),
    configuration(4, 1, 1, 1, 0, 0),
]
MUTANTS = {  # what it breaks, and a configuration in which that shows
    "NO_RESEND": ("what was lost is not asked for again", configuration(2, 0, 1, 0, 0, 0)),
    "NO_DEDUP": ("a repeated batch is taken again", configuration(3, 1, 0, 1, 0, 0)),
    "BY_FINISH": ("batches are delivered as they come", configuration(3, 1, 0, 0, 0, 0)),
    "CHECKPOINT": ("the checkpoint is one too far", configuration(2, 0, 0, 0, 0, 1)),
    "ACK_TOO_FAR": ("a batch is acknowledged too early", configuration(2, 1, 1, 0, 0, 0)),
    "WINDOW": ("the window is one too large", configuration(3, 1, 0, 0, 0, 0)),
    "STALE_ANSWERED": ("an unknown stream is answered", configuration(3, 1, 0, 0, 1, 0)),
    "LOCK_SKIPPED": ("the lock is not waited for", configuration(3, 1, 0, 0, 0, 0)),
    "LOCK_KEPT": ("a dropped batch keeps the lock after its step", configuration(2, 1, 0, 0, 0, 1)),
    "KEPT_BY_DROPPED": ("a dropped batch keeps a granted lock", configuration(2, 1, 0, 0, 0, 1)),
    "LIFO_LOCK": ("the last in the lock's line is served first", configuration(3, 2, 0, 0, 0, 0)),
    "RUNNING_DROPPED": ("running work is dropped with its stream", configuration(2, 1, 0, 0, 0, 1)),
}
SAFETY, CYCLES = ["-DSAFETY"], ["-DNP"]


def check(defines, property_flags, pan_options):
    """(what spin found or None, states, depth, seconds)"""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        definitions = [f"-D{key}={value}" if value != "" else f"-D{key}" for key, value in defines]
        for command in (
            ["spin", *definitions, "-a", str(MODEL)],
            ["gcc", "-O1", "-w", "-DCOLLAPSE", "-DMEMLIM=12000", *property_flags]
            + ["-o", "pan", "pan.c"],
        ):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
        done = subprocess.run(
            ["./pan", "-m2000000", *pan_options], cwd=folder, capture_output=True, text=True
        )
    text = done.stdout
    cut = "Search not completed" in text and "errors: 0" in text
    if cut or "max search depth too small" in text:
        sys.exit(f"spin did not look at everything:\n{text}{done.stderr}")
    found = re.search(r"^pan:1: (.*)", text, re.MULTILINE)
    states = re.search(r"(\d+) states, stored", text)
    depth = re.search(r"depth reached (\d+)", text)
    if not states or not depth:
        sys.exit(f"spin said something else than expected:\n{text}{done.stderr}")
    what = found[1].split(" (at depth")[0] if found else None
    return what, int(states[1]), int(depth[1]), time.monotonic() - begun


def name_of(config):
    return " ".join(f"{key.lower()}={value}" for key, value in config.items())


def check_both(config, mutant=None):
    """Safety and getting stuck first, then executions without end."""
    defines = list(config.items()) + ([(f"MUTANT_{mutant}", "")] if mutant else [])
    what, states, depth, seconds = check(defines, SAFETY, [])
    if what is None:
        what, more, _, longer = check(defines, CYCLES, ["-l"])
        states, seconds = max(states, more), seconds + longer
    return what, states, depth, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--big", action="store_true")
    arguments = parser.parse_args()
    jobs = [(name_of(config), config, None) for config in (BIG if arguments.big else QUICK)]
    if not arguments.big:
        for mutant, (why, config) in MUTANTS.items():
            jobs.append((f"{mutant}: {why}", config, mutant))
    wrong = 0
    print(f"{'configuration or mutant':72} {'states':>9} {'depth':>6} {'s':>6}  result")
    workers = 1 if arguments.big else os.cpu_count()  # the big ones take gigabytes
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda job: check_both(job[1], job[2]), jobs)
        for (name, _, mutant), (what, states, depth, seconds) in zip(jobs, results):
            wrong += (what is None) == (mutant is not None)
            if mutant is None:
                result = "holds" if what is None else f"BROKEN: {what}"
            else:
                result = "NOT FOUND" if what is None else f"found, as it must: {what}"
            print(f"{name:72} {states:9} {depth:6} {seconds:6.1f}  {result}", flush=True)
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
