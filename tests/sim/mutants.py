#!/usr/bin/env python3
"""mutants.py -- breaks the product in one line at a time; the simulator must find each.

    ./dev mutants              all of them
    ./dev mutants NAME...      those; --seeds N how long to look (20,000)

Works on a copy under build/mutants, so the checkout stays as it is. Each mutant is an exact piece
of a source file, which must occur there once, and what it becomes.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
WORK = ROOT / "build" / "mutants"
FOLDERS = ("src", "server", "client", "proto", "cmake", "tests", "examples")
FILES = ("CMakeLists.txt", "CMakePresets.json")

MUTANTS = {  # name: (file, what is there, what it becomes)
    "lost wake-up of a worker": (
        "src/run/scheduler.c",
        "    scheduler->executor->wake(scheduler->executor);",
        "    if (!granted)\n        scheduler->executor->wake(scheduler->executor);",
    ),
    "lost wake-up of the consumer": (
        "client/c/stream.c",
        "    flight_leave(flight);\n    bm_cond_signal(&stream->changed);\n"
        "    stream_pump(stream);",
        "    flight_leave(flight);\n    stream_pump(stream);",
    ),
    "a change is not told to the session": (
        "src/run/stream.c",
        "if ((committed != stream->committed || end_seq != stream->end_seq) && stream->listener",
        "if (committed != stream->committed && end_seq == stream->end_seq && stream->listener",
    ),
    "no dedup: a repeated ask takes another batch of a cursor": (
        "server/session_cursor.c",
        "    if (next->first > member->ticket)\n        member_done(member);",
        "    if (holds)\n        member_done(member);",
    ),
    "no resend: what a lost reply held is not asked for again": (
        "client/c/window.c",
        "    window->nasks--;\n    uint64_t seq",
        "    window->nasks--;\n    if (lost)\n        return;\n    uint64_t seq",
    ),
    "checkpoint one too far": (
        "client/c/stream.c",
        "? stream->window.base : stream->window.want;",
        "? stream->window.base : stream->window.want + 1;",
    ),
    "checkpoint one too early": (
        "client/c/stream.c",
        "? stream->window.base : stream->window.want;",
        "? stream->window.base : stream->window.base;",
    ),
    "running work is dropped": (
        "src/run/stream.c",
        "    if (!stream->closed || stream->nalive > 0)",
        "    if (!stream->closed)",
    ),
    "a spread step goes on without its last piece": (
        "src/run/spread.c",
        "    if (--spread->nworkers > 0)",
        "    if (--spread->nworkers > 1)",
    ),
    "the last piece of a spread step is nobody's": (
        "src/pipeline/spread.c",
        "    return *ret_piece < spread->npieces;",
        "    return *ret_piece + 1 < spread->npieces;",
    ),
    "LIFO lock": (
        "src/run/lock.c",
        "        bm_list_push_back(&lock->line, &waiter->node);",
        "        bm_list_push_front(&lock->line, &waiter->node);",
    ),
    "lock skipped": (
        "src/run/job.c",
        "    if (lock == NULL)\n        return true;",
        "    if (lock == NULL || job->seq % 7 == 5)\n        return true;",
    ),
    "lock kept on error": (
        "src/run/job.c",
        "    job_leave_lock(job);\n    if (job->result != BM_RESULT_OK ||",
        "    if (job->result == BM_RESULT_OK)\n        job_leave_lock(job);\n"
        "    if (job->result != BM_RESULT_OK ||",
    ),
    "lock kept by a dropped batch": (
        "src/run/job.c",
        "        return;\n    }\n    job_leave_lock(job);\n    job_finish(job);\n}",
        "        return;\n    }\n    job_finish(job);\n}",
    ),
    "double grant": (
        "src/run/lock.c",
        "    lock->holder = next == NULL ? NULL : BM_CONTAINER(next, struct bm_waiter, node);\n"
        "    if (next != NULL)\n        lock->parked--;\n    return lock->holder;",
        "    lock->holder = NULL;\n    if (next != NULL)\n        lock->parked--;\n"
        "    return next == NULL ? NULL : BM_CONTAINER(next, struct bm_waiter, node);",
    ),
    "a hold is dropped early": (
        "server/session_holds.c",
        "outcome->seq >= next->ack || request_holds(next, outcome->seq)",
        "outcome->seq >= next->ack || request_holds(next, outcome->seq + 1)",
    ),
    "what a client may still see is used again": (
        "server/session_holds.c",
        "unsigned i = 0; seen && i < holds->n; i++)",
        "unsigned i = 0; seen && i < holds->n / 2; i++)",
    ),
    "a close says that nothing is held": (
        "client/c/stream.c",
        "bm_client_shared_held(stream->shared, want, held) == 0",
        "bm_client_shared_held(stream->shared, want, held) < 600",
    ),
    "window off by one": (
        "src/run/stream.c",
        "stream->created - stream->asked < stream->width) {",
        "stream->created - stream->asked <= stream->width) {",
    ),
    "window of the client one too large": (
        "client/c/window.c",
        "        .size = prefetch + 1,",
        "        .size = prefetch + 2,",
    ),
    "work before the first ask": (
        "server/session_stream.c",
        "    if (next->max_batches > 0 || next->ack > counts.asked)",
        "    if (next->ack >= counts.asked)",
    ),
    "order by finish": (
        "client/c/window.c",
        "    struct bm_client_slot *slot = window_slot(window, seq);\n"
        "    if (slot->state == BM_CLIENT_READY)",
        "    struct bm_client_slot *slot = window_slot(window, window->want);\n"
        "    if (slot->state == BM_CLIENT_READY)",
    ),
    "committed before it is done": (
        "src/run/stream.c",
        "        if (job->state != JOB_DONE)\n            break;\n"
        "        stream_commit(stream, job);",
        "        if (job->state != JOB_DONE && job->state != JOB_PARKED)\n            break;\n"
        "        stream_commit(stream, job);",
    ),
    "a stale life is answered": (
        "client/c/stream.c",
        "    struct bm_client_opened *opened = NULL;\n    stream_land(stream);\n",
        "    struct bm_client_opened *opened = NULL;\n",
    ),
    "reply to the wrong stream": (
        "server/session.c",
        "    return holding != NULL && holding->type == type ? holding : NULL;",
        "    if (holding != NULL && session->by_id->type == type)\n"
        "        holding = session->by_id;\n"
        "    return holding != NULL && holding->type == type ? holding : NULL;",
    ),
    "the end is told one too early": (
        "server/session_stream.c",
        "    batches->end = next->first + batches->noutcomes >= counts.end_seq;",
        "    batches->end = next->first + batches->noutcomes + 1 >= counts.end_seq;",
    ),
    "a lease ends under a waiting request": (
        "server/session.c",
        "    if (holding->nparked > 0)\n        session_renew(holding);\n    else\n",
        "",
    ),
    "a dead member's batch is not given back": (
        "server/session_cursor.c",
        "    if (member->hand->outcome != NULL)\n        cursor_take_back(cursor, member->hand);\n"
        "    else\n        free(member->hand);",
        "    if (member->hand->outcome != NULL && cursor->nmembers > 9)\n"
        "        cursor_take_back(cursor, member->hand);\n    else\n"
        "        bm_outcome_unref(member->hand->outcome), free(member->hand);",
    ),
    "over the budget, not even one batch goes on": (
        "src/run/stream.c",
        "    if (!standing && !scheduler_reserve(",
        "    if (!scheduler_reserve(",
    ),
    "memory is not given back": (
        "src/run/stream.c",
        "    stream->released = outcome;\n"
        "    scheduler_unreserve(stream->scheduler, reserved_bytes);",
        "    stream->released = outcome;\n    (void)reserved_bytes;",
    ),
    "a batch that the consumer holds is used again": (
        "src/run/outcome.c",
        "memory_order_acquire) > 1;",
        "memory_order_acquire) > 9;",
    ),
    "want of memory leaves a batch out": (
        "src/run/stream.c",
        "        if (starved || stream->on_error == BM_ON_ERROR_STOP) {",
        "        if ((starved && stream->window > 99) || stream->on_error == BM_ON_ERROR_STOP) {",
    ),
    "opened again one batch too far": (
        "client/c/stream_open.c",
        "stream->opened->position_stem, stream->window.want) < 0)",
        "stream->opened->position_stem, stream->window.want + 1) < 0)",
    ),
}


def run(*command):
    return subprocess.run(command, cwd=WORK, capture_output=True, text=True)


def must(*command):
    done = run(*command)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")


def prepare():
    """A copy of what is built; files that did not change keep their time, so little is rebuilt."""
    WORK.mkdir(parents=True, exist_ok=True)
    wanted = {ROOT / file for file in FILES}
    for folder in FOLDERS:
        wanted |= {path for path in (ROOT / folder).rglob("*.*") if path.is_file()}
        for path in (WORK / folder).rglob("*.*"):
            if path.is_file() and ROOT / path.relative_to(WORK) not in wanted:
                path.unlink()
    for path in wanted:
        copy = WORK / path.relative_to(ROOT)
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    must(
        "cmake",
        "-S",
        ".",
        "-B",
        "build",
        "-G",
        "Ninja",
        "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
        "-DCMAKE_C_FLAGS=-O1 -Wno-error",
    )
    build()


def build():
    must("cmake", "--build", "build", "--target", "batchmill_sim")


def look(seeds):
    """What the simulator says: (found, seed, story)."""
    done = run("build/batchmill-sim", "--seeds", str(seeds))
    text = done.stdout + done.stderr
    if done.returncode == 0:
        return False, None, ""
    seed = re.search(r"^seed (\d+): (.*)", text, re.MULTILINE)
    if seed:
        return True, int(seed[1]), seed[2]
    lines = [line for line in text.splitlines() if line] or [f"signal {-done.returncode}"]
    return True, None, lines[-1].split("/")[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seeds", type=int, default=20000)
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(MUTANTS)
    if unknown:
        parser.error(f"expected {', '.join(MUTANTS)}; got {', '.join(unknown)}")
    prepare()
    found, _, story = look(2000)
    if found:
        sys.exit(f"without any mutant: {story}")
    missed = 0
    print(f"{'mutant':58} {'seeds':>6} {'s':>5}  what broke")
    for name in arguments.names or MUTANTS:
        file, before, after = MUTANTS[name]
        path = WORK / file
        text = path.read_text(encoding="utf-8")
        if text.count(before) != 1:
            sys.exit(f"{name}: expected its line once in {file}, got {text.count(before)}")
        path.write_text(text.replace(before, after), encoding="utf-8")
        try:
            build()
            begun = time.monotonic()
            found, seed, story = look(arguments.seeds)
            seconds = time.monotonic() - begun
        finally:
            path.write_text(text, encoding="utf-8")
        missed += not found
        seeds = "-" if not found else "?" if seed is None else str(seed + 1)
        print(
            f"{name:58} {seeds:>6} {seconds:5.1f}  {story[:110] if found else 'NOT FOUND'}",
            flush=True,
        )
    build()
    print(f"{len(arguments.names or MUTANTS) - missed} found, {missed} missed")
    return missed > 0


if __name__ == "__main__":
    sys.exit(main())
