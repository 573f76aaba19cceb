"""What `batchmill` promises on the command line, tried the way a person would."""

import gzip
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import numpy

MILL = os.environ["BATCHMILL"]
ROOT = pathlib.Path(os.environ["BATCHMILL_SOURCE_DIR"])
DIGITS = "examples/digits/pipelines.yaml"
RANGE = "sources: {s: {range: {n: 3}}}\npipelines:\n  p:\n    source: s\n    actions:\n"
ORDER = ["--batch-size", "64", "--shuffle", "7"]


def mill(*args, code=0, **kwargs):
    done = subprocess.run(
        [MILL, *args], cwd=ROOT, capture_output=True, text=True, timeout=120, **kwargs
    )
    if done.returncode != code:
        raise AssertionError(
            f"{args}: exit {done.returncode}, expected {code}\n{done.stdout}\n{done.stderr}"
        )
    return done


def jsonl(*args, **kwargs):
    out = mill("gen", *args, "--output", "jsonl", "--quiet", **kwargs).stdout
    return [json.loads(line) for line in out.splitlines()]


class Server:
    """batchmill serve in a process of its own; `urls` are those that it says it listens on."""

    def __init__(self, config=DIGITS, *args, listen=("tcp://127.0.0.1:0",)):
        self.log = tempfile.NamedTemporaryFile("r", suffix=".log")
        command = [MILL, "serve", str(config), *args]
        for url in listen:
            command += ["--listen", url]
        with open(self.log.name, "w") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log)
        deadline = time.monotonic() + 60
        self.urls = []
        while len(self.urls) < len(listen):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("the server did not start: " + self.text())
            self.urls = re.findall(r"event=listening url=\"?([^\s\"]+)", self.text())
            time.sleep(0.01)
        self.url = self.urls[0]

    def text(self):
        return pathlib.Path(self.log.name).read_text()

    def stop(self, seconds=60):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(seconds)
        self.log.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()


class WithFolder(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def config(self, text, name="c.yaml"):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def pipelines(self, actions, n=20):
        return self.config(
            "sources: {count: {range: {n: %d}}}\npipelines: {p: {source: count, actions: %s}}\n"
            % (n, actions)
        )


def pixels():
    with gzip.open(ROOT / "examples/digits/digits.csv.gz", "rt") as file:
        return numpy.loadtxt(file, delimiter=",")


class Gen(WithFolder):
    def test_lines_of_json_say_which_items_and_which_bytes(self):
        lines = jsonl("digits", "--config", DIGITS, *ORDER, "--prefetch", "3")
        self.assertEqual([line["seq"] for line in lines], list(range(29)))
        self.assertEqual(set(lines[0]), {"seq", "epoch", "items", "tensors"})
        self.assertEqual(lines[0]["tensors"]["pixels"]["dtype"], "float32")
        self.assertEqual(lines[0]["tensors"]["pixels"]["shape"], [64, 64])
        self.assertRegex(lines[0]["tensors"]["pixels"]["xxh3"], "^[0-9a-f]{16}$")
        self.assertEqual(sorted(i for line in lines for i in line["items"]), list(range(1797)))
        self.assertNotEqual(lines[0]["items"], sorted(lines[0]["items"]))

    def test_values_are_those_of_the_file(self):
        data = pixels()
        for line in jsonl("digits", "--config", DIGITS, *ORDER, "--n-iters", "3", "--values"):
            rows = data[line["items"]]
            numpy.testing.assert_array_equal(line["tensors"]["pixels"]["values"], rows[:, :64] / 16)
            numpy.testing.assert_array_equal(line["tensors"]["label"]["values"], rows[:, 64])

    def test_files_for_numpy_hold_the_same(self):
        target = self.folder / "npy"
        mill(
            "gen",
            "digits",
            "--config",
            DIGITS,
            *ORDER,
            "--output",
            "npy",
            "--directory",
            str(target),
        )
        data = pixels()
        seen = []
        for seq in range(29):
            items = numpy.load(target / f"{seq:09}.items.npy")
            seen += items.tolist()
            got = numpy.load(target / f"{seq:09}.tensor.pixels.npy")
            self.assertEqual(got.dtype, numpy.float32)
            numpy.testing.assert_array_equal(got, data[items, :64] / 16)
            numpy.testing.assert_array_equal(
                numpy.load(target / f"{seq:09}.tensor.label.npy"), data[items, 64]
            )
        self.assertEqual(sorted(seen), list(range(1797)))

    def test_the_bytes_are_equal_for_every_prefetch_worker_count_and_transport(self):
        expected = jsonl("digits", "--config", DIGITS, *ORDER)
        for workers in ("1", "4"):
            listen = (
                "tcp://127.0.0.1:0",
                f"ipc://{self.folder}/s{workers}",
                "ws://127.0.0.1:0/mill",
            )
            with Server(DIGITS, "--workers", workers, listen=listen) as server:
                for url in server.urls:
                    for prefetch in ("0", "1", "3", "16", "auto"):
                        self.assertEqual(
                            jsonl("digits", "--server", url, *ORDER, "--prefetch", prefetch),
                            expected,
                        )

    def test_a_position_goes_on_where_the_stream_stood(self):
        lines = jsonl("digits", "--config", DIGITS, *ORDER)
        summary = mill("gen", "digits", "--config", DIGITS, *ORDER).stdout
        stem = re.search(r"position (\S+)\.29$", summary, re.M)[1]
        self.assertEqual(
            jsonl("digits", "--config", DIGITS, "--position", stem + ".11"), lines[11:]
        )
        self.assertEqual(jsonl("digits", "--config", DIGITS, "--position", stem + ".29"), [])
        sharded = ["digits", "--config", DIGITS, *ORDER, "--shard", "1/3"]
        summary = mill("gen", *sharded).stdout
        shard = re.search(r"position (\S+)\.10$", summary, re.M)[1]
        rest = jsonl("digits", "--config", DIGITS, "--position", shard + ".4")
        self.assertEqual(rest, jsonl(*sharded)[4:])
        endless = ["digits", "--config", DIGITS, *ORDER, "--n-epochs", "0"]
        forged = self.endless_position(endless)
        error = mill("gen", *endless, "--position", forged + "." + str(2**64 - 2), code=1).stderr
        self.assertIn("position", error)
        error = mill("gen", "digits", "--config", DIGITS, "--position", stem + ".30", code=1).stderr
        self.assertIn("position", error)
        error = mill(
            "gen", "digits", "--config", DIGITS, "--position", stem[:-3] + ".3", code=1
        ).stderr
        self.assertIn("position", error)

    def endless_position(self, args):
        command = [MILL, "gen", *args]
        stream = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        stream.stderr.readline()  # its progress: it is under way
        stream.send_signal(signal.SIGINT)
        out, _ = stream.communicate(timeout=60)
        self.assertEqual(stream.returncode, 1)  # it was cancelled, and says where it stood
        return re.search(rb"position (\S+)\.\d+$", out, re.M)[1].decode()

    def test_shards_share_the_epoch_and_stay_in_step(self):
        shards = [
            jsonl("digits", "--config", DIGITS, *ORDER, "--shard", f"{i}/3") for i in range(3)
        ]
        self.assertEqual({len(shard) for shard in shards}, {10})
        items = sorted(i for shard in shards for line in shard for i in line["items"])
        self.assertEqual(items, list(range(1797)))

    def test_progress_is_a_bar_on_a_terminal_and_plain_lines_elsewhere(self):
        plain = mill("gen", "digits", "--config", DIGITS, *ORDER).stderr
        self.assertRegex(plain, r"100% 29/29 batches, 1797 items, \d+ batches/s, [\d.]+ MB/s\n")
        self.assertNotIn("\r", plain)
        self.assertNotIn("\x1b", plain)
        # One batch after the other, 300 ms in all: time for the bar to be drawn before the end.
        slow = self.pipelines("[{wait: {ms: 10}, use_lock: slow}]", n=30)
        parent, child = pty.openpty()
        subprocess.run(
            [MILL, "gen", "p", "--config", slow, "--batch-size", "1"],
            cwd=ROOT,
            stderr=child,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=120,
        )
        os.close(child)
        shown = b""
        try:
            while chunk := os.read(parent, 65536):
                shown += chunk
        except OSError:
            pass
        os.close(parent)
        self.assertIn(b"[########################] 100% 30/30 batches", shown)
        self.assertRegex(shown, rb"ETA \d\d:\d\d")


class SourcesOverSources(WithFolder):
    def load(self, sources, **kwargs):
        config = self.folder / "sources.yaml"
        config.write_text("sources:\n" + sources + "pipelines: {p: {source: a}}\n")
        return mill("describe", "p", "--config", str(config), **kwargs)

    def test_they_may_stand_in_any_order(self):
        sources = "  a: {concat: {sources: [b, b]}}\n  b: {range: {n: 4}}\n"
        self.assertIn("source a (concat), 8 items", self.load(sources).stdout)

    def test_a_circle_is_named(self):
        sources = "  a: {concat: {sources: [b]}}\n  b: {join: {sources: [a]}}\n"
        error = self.load(sources, code=1).stderr
        self.assertIn("sources.yaml:2: sources.a: source a is made of itself", error)

    def test_a_name_that_is_not_there_is_named_with_those_that_are(self):
        error = self.load("  a: {concat: {sources: [c]}}\n", code=1).stderr
        self.assertIn('expected one of `sources` (a), got "c"', error)


class Checkpoint(WithFolder):
    """gen --checkpoint: killed at any time, it goes on, and its result is that of one run."""

    def setUp(self):
        super().setUp()
        self.file = self.folder / "checkpoint"

    def result(self, done):
        """The summary without what time does to it."""
        return re.sub(r" in [\d.]+ s: .*", "", done.stdout)

    def gen(self, *args, **kwargs):
        return mill("gen", *args, "--quiet", "--checkpoint", str(self.file), **kwargs)

    def kill_again_and_again(self, command, **kwargs):
        """Kills it a little later each time, until it ends by itself; how often that took."""
        for kills in range(1000):
            stream = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, **kwargs)
            try:
                out, _ = stream.communicate(timeout=0.02 + 0.003 * (kills % 40))
            except subprocess.TimeoutExpired:
                stream.kill()
                stream.communicate()
                continue
            self.assertEqual(stream.returncode, 0, out)
            return kills, out.decode()
        raise AssertionError("it never ended")

    def test_killed_any_number_of_times_its_result_is_that_of_one_run(self):
        config = self.pipelines("[{skip_at: {items: [33]}}, {wait: {ms: 2}}]", n=600)
        order = ["--batch-size", "3", "--shuffle", "draw", "--prefetch", "5"]
        with Server(config) as server:
            args = [MILL, "gen", "p", "--server", server.url, "--quiet", "--digest"]
            command = [*args, *order, "--checkpoint", str(self.file)]
            kills, out = self.kill_again_and_again(command)
            self.assertGreater(kills, 3)
            seed = re.search(r"shuffled with seed (\d+)", out)[1]
            order[3] = seed
            expected = mill(*args[1:], *order)
            self.assertIn("199 batches, 597 items", expected.stdout)
            self.assertEqual(re.sub(r" in [\d.]+ s: .*", "", out), self.result(expected))
        # Its server is gone, and it is finished: the same once more, to the last digit.
        self.assertEqual(mill(*command[1:]).stdout, out)
        self.assertIn("finished: 1", self.file.read_text())

    def test_lines_are_never_lost_and_at_most_the_last_comes_again(self):
        config = self.pipelines("[{wait: {ms: 5}}]", n=60)
        with Server(config) as server, open(self.folder / "lines", "w") as lines:
            command = [MILL, "gen", "p", "--server", server.url, "--batch-size", "1"]
            command += ["--quiet", "--output", "jsonl", "--checkpoint", str(self.file)]
            for delay in range(1000):
                stream = subprocess.Popen(command, cwd=ROOT, stdout=lines)
                try:
                    self.assertEqual(stream.wait(0.02 + 0.003 * (delay % 40)), 0)
                    break
                except subprocess.TimeoutExpired:
                    stream.kill()
                    stream.wait()
        seqs = [json.loads(x)["seq"] for x in (self.folder / "lines").read_text().splitlines()]
        self.assertEqual(sorted(set(seqs)), list(range(60)))
        for before, after in zip(seqs, seqs[1:]):
            self.assertIn(after - before, (0, 1))

    def test_failures_that_were_reported_count_once(self):
        config = self.pipelines("[{fail_at: {items: [4, 12]}}, {wait: {ms: 5}}]", n=40)
        args = ["p", "--config", config, "--batch-size", "1", "--on-error", "report", "--digest"]
        expected = mill("gen", *args, "--quiet", code=1)
        self.assertIn("0 skipped, 2 failed", expected.stdout)
        self.gen(*args, "--checkpoint-every", "7", code=1)
        self.assertEqual(self.result(self.gen(*args, code=1)), self.result(expected))
        # A batch that ends the stream was not consumed: it is tried again.
        self.file.unlink()
        for _ in range(2):
            stopped = self.gen("p", "--config", config, "--batch-size", "1", code=1)
            self.assertIn("item 4", stopped.stderr)
            self.assertIn("batches: 4\n", self.file.read_text())
            self.assertIn("failed: 0\n", self.file.read_text())

    def test_an_interrupted_gen_keeps_all_that_it_consumed(self):
        config = self.pipelines("[{wait: {ms: 5}}]", n=100000)
        command = [MILL, "gen", "p", "--config", config, "--batch-size", "1", "--output", "jsonl"]
        command += ["--checkpoint", str(self.file), "--checkpoint-every", "1000000"]
        command += ["--prefetch", "0"]  # nobody reads its lines before it is interrupted
        stream = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        stream.stderr.readline()
        stream.send_signal(signal.SIGINT)
        lines = stream.communicate(timeout=60)[0].splitlines()
        self.assertEqual(stream.returncode, 1)
        self.assertIn(f"\nbatches: {len(lines)}\n", self.file.read_text())

    def test_what_contradicts_the_file_is_an_error(self):
        given = ["--batch-size", "64", "--seed", "5", "--shard", "1/3", "--epoch-border", "cross"]
        self.gen("digits", "--config", DIGITS, *given, "--on-error", "skip")
        kept = self.file.read_bytes()
        for args, said in (
            (["--batch-size", "32"], "batch-size: expected 64"),
            (["--shuffle", "5"], "shuffle: expected off"),
            (["--seed", "0"], "seed: expected 5"),
            (["--n-iters", "7"], "n-iters: expected nothing"),
            (["--n-epochs", "1"], "n-epochs: expected nothing"),
            (["--drop-last"], "drop-last: expected 0"),
            (["--epoch-border", "stop"], "epoch-border: expected cross"),
            (["--shard", "0/1"], "shard-index: expected 1"),
            (["--on-error", "stop"], "on-error: expected skip"),
        ):
            error = self.gen("digits", "--config", DIGITS, *args, code=1).stderr
            self.assertIn(said + " as the checkpoint has it", error)
        error = self.gen("digits-locked", "--config", DIGITS, code=1).stderr
        self.assertIn("PIPELINE: expected digits as the checkpoint has it", error)
        self.gen("digits", "--config", DIGITS, "--position", "x", *given, code=2)
        self.assertEqual(self.file.read_bytes(), kept)
        self.gen("digits", "--config", DIGITS)  # what is not given is as it was
        self.gen("digits", "--config", DIGITS, *given, "--on-error", "skip", "--prefetch", "9")

    def test_a_pipeline_that_changed_is_an_error_that_says_what(self):
        args = ["--batch-size", "1", "--n-iters", "3"]
        self.gen("p", "--config", self.pipelines("[]"), *args, code=0)
        position = re.search(r"position: (\S+)", self.file.read_text())[1]
        for actions, n, said in (
            ("[]", 21, "the data of pipeline"),
            ("[noop]", 20, "the definition of pipeline"),
            ("[noop]", 7, "the definition and the data of pipeline"),
        ):
            config = self.pipelines(actions, n)
            error = mill("gen", "p", "--config", config, "--position", position, code=1).stderr
            self.assertIn(f'position: {said} "p" changed since this position was given', error)

    def test_a_file_that_was_cut_or_altered_is_an_error(self):
        self.gen("digits", "--config", DIGITS, *ORDER)
        whole = self.file.read_bytes()
        cases = [whole[:size] for size in range(0, len(whole), 37)] + [whole + b"\n", whole[:-1]]
        for at in range(0, len(whole), 29):
            cases.append(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        for case in cases:
            self.file.write_bytes(case)
            error = self.gen("digits", "--config", DIGITS, *ORDER, code=1).stderr
            self.assertIn("it was cut or altered", error)
            self.assertEqual(self.file.read_bytes(), case)
        self.file.unlink()
        self.file.mkdir()
        self.assertIn("Is a directory", self.gen("digits", "--config", DIGITS, code=1).stderr)
        gone = str(self.folder / "gone" / "checkpoint")
        args = ["gen", "digits", "--config", DIGITS, *ORDER, "--checkpoint", gone]
        self.assertIn("No such file", mill(*args, code=1).stderr)


class Errors(WithFolder):
    def test_an_error_comes_in_its_place_at_every_prefetch(self):
        config = self.pipelines("[{fail_at: {items: [7], message: seven is out}}]")
        for prefetch in ("0", "1", "3", "16"):
            args = [
                "gen",
                "p",
                "--config",
                config,
                "--batch-size",
                "2",
                "--prefetch",
                prefetch,
                "--output",
                "jsonl",
            ]
            stopped = mill(*args, code=1)
            lines = [json.loads(line) for line in stopped.stdout.splitlines()]
            self.assertEqual([line["seq"] for line in lines], [0, 1, 2, 3])
            self.assertEqual(lines[3]["error"]["item"], 7)
            self.assertEqual(lines[3]["error"]["action"], "fail_at")
            self.assertIn("seven is out", lines[3]["error"]["message"])
            self.assertIn("seven is out", stopped.stderr)
            reported = mill(*args, "--on-error", "report", code=1).stdout.splitlines()
            self.assertEqual([json.loads(line)["seq"] for line in reported], list(range(10)))
            skipped = mill(*args, "--on-error", "skip").stdout.splitlines()
            self.assertEqual(
                [json.loads(line)["seq"] for line in skipped], [0, 1, 2, 4, 5, 6, 7, 8, 9]
            )

    def test_an_end_ends_and_a_skip_leaves_out(self):
        config = self.pipelines("[{skip_at: {items: [3]}}, {end_at: {items: [12]}}]")
        for prefetch in ("0", "5"):
            lines = jsonl("p", "--config", config, "--batch-size", "2", "--prefetch", prefetch)
            self.assertEqual([line["seq"] for line in lines], [0, 2, 3, 4, 5])
        summary = mill("gen", "p", "--config", config, "--batch-size", "2").stdout
        self.assertIn("1 skipped", summary)

    def test_batches_say_which_items_a_filter_left_in_them(self):
        actions = "[{filter: {component: x, in: [1, 2, 9]}}, {repeat: {times: 2}}]"
        config = self.pipelines(actions, n=12)
        for prefetch in ("0", "5"):
            lines = jsonl("p", "--config", config, "--batch-size", "4", "--prefetch", prefetch)
            items = {line["seq"]: line["items"] for line in lines}
            self.assertEqual(items, {0: [1, 1, 2, 2], 2: [9, 9]})
            self.assertEqual(lines[0]["tensors"]["x"]["shape"], [4])
        summary = mill("gen", "p", "--config", config, "--batch-size", "4").stdout
        self.assertIn("2 batches, 6 items", summary)
        self.assertIn("1 skipped", summary)

    def test_exit_codes(self):
        self.assertIn("Usage", mill("help").stdout)
        mill(code=2)
        mill("gen", code=2)
        mill("fly", code=2)
        mill("gen", "digits", "--config", DIGITS, code=2)  # no batch size
        mill("gen", "digits", "--config", DIGITS, "--batch-size", "0", code=2)
        mill("gen", "digits", "--config", DIGITS, *ORDER, "--prefech", "3", code=2)
        mill(
            "gen", "digits", "--config", DIGITS, *ORDER, "--n-epochs", "1", "--n-iters", "1", code=2
        )
        error = mill("gen", "nothing", "--config", DIGITS, *ORDER, code=1).stderr
        self.assertIn("digits, digits-locked", error)
        error = mill("list", "--server", "tcp://127.0.0.1:1", "--timeout", "1", code=3).stderr
        self.assertIn("tcp://127.0.0.1:1", error)
        self.assertRegex(mill("version").stdout, r"^batchmill \d+\.\d+\.\d+\n$")

    def test_senseless_orders_are_refused_by_name(self):
        for args, name in (
            (["--batch-size", "2000", "--drop-last"], "batch_size"),
            (["--batch-size", "99999999999"], "batch_size"),
            (["--batch-size", "4", "--prefetch", "100000"], "prefetch"),
        ):
            self.assertIn(name, mill("gen", "digits", "--config", DIGITS, *args, code=1).stderr)
        # More than there is, without drop_last, is one short batch; an empty source is a clean end.
        lines = jsonl("digits", "--config", DIGITS, "--batch-size", "2000")
        self.assertEqual([len(line["items"]) for line in lines], [1797])
        self.assertEqual(jsonl("p", "--config", self.pipelines("[]", n=0), "--batch-size", "2"), [])


class Serve(WithFolder):
    def test_check_says_file_line_and_path(self):
        self.assertIn("ok, 2 pipelines", mill("serve", DIGITS, "--check").stdout)
        cases = (
            (
                "pipelines:\n  p: {source: count}\n",
                "2: pipelines.p.source",
                "expected one of `sources`",
            ),
            (
                RANGE + "      - cast: {components: x, dtype: float23}\n",
                "6: pipelines.p.actions[0].cast.dtype",
                "float32",
            ),
            (
                RANGE + "      - noop\n      - burn: {ms: 1}\n        use_lock: 3\n",
                "8: pipelines.p.actions[1].use_lock",
                "expected true, false or a lock's name",
            ),
            ("workers: many\n", "1: workers", "whole number"),
            ("wrokers: 3\n", "1: wrokers", "expected one of listen, workers"),
            ("workers: 3\nworkers: 4\n", "2", "twice"),
            ("memory: 12 parsecs\n", "1: memory", "512MiB"),
            ("sources: {s: {range: {n: 3}}\n", "", "YAML"),
            ("sources: {s: {csv: {path: gone.csv}}}\n", "1: sources.s.csv", "gone.csv"),
        )
        for text, where, said in cases:
            config = self.config(text)
            error = mill("serve", config, "--check", code=1).stderr
            self.assertTrue(error.startswith(f"{config}:{where}"), error)
            self.assertIn(said, error)

    def test_sigterm_ends_an_idle_server_at_once_and_a_second_one_a_busy_one(self):
        server = Server()
        started = time.monotonic()
        self.assertEqual(server.stop(), 0)
        self.assertLess(time.monotonic() - started, 5)
        with Server(self.pipelines("[{wait: {ms: 200}}]", n=100000)) as server:
            client = self.client(server, "--output", "jsonl", stdout=subprocess.PIPE)
            client.stdout.readline()  # the stream is open
            server.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 30
            while "event=draining" not in server.text() and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertIsNone(server.process.poll())  # it drains: the stream may go on
            error = mill(
                "gen", "p", "--server", server.url, "--batch-size", "1", "--timeout", "2", code=3
            ).stderr
            self.assertIn("takes nothing new", error)
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(server.process.wait(30), 0)

    def client(self, server, *args, stdout=subprocess.DEVNULL):
        client = subprocess.Popen(
            [MILL, "gen", "p", "--server", server.url, "--batch-size", "1", "--quiet", *args],
            cwd=ROOT,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(lambda: (client.kill(), client.communicate()))
        return client

    def test_a_client_whose_server_was_killed_gives_up_after_its_timeout(self):
        with Server(self.pipelines("[{wait: {ms: 20}}]", n=100000)) as server:
            client = self.client(
                server, "--timeout", "2", "--output", "jsonl", stdout=subprocess.PIPE
            )
            client.stdout.readline()
            server.process.kill()
            _, error = client.communicate(timeout=60)
            self.assertEqual(client.returncode, 3, error)
            self.assertIn(server.url, error)

    def test_a_killed_client_disturbs_nobody(self):
        with Server(self.pipelines("[{wait: {ms: 20}, use_lock: gpu}]", n=1000)) as server:
            for _ in range(5):
                client = self.client(
                    server, "--prefetch", "9", "--output", "jsonl", stdout=subprocess.PIPE
                )
                client.stdout.readline()
                client.kill()
                client.wait()
            lines = jsonl("p", "--server", server.url, "--batch-size", "1", "--n-iters", "3")
            self.assertEqual([line["seq"] for line in lines], [0, 1, 2])

    def test_other_addresses_than_loopback_want_insecure(self):
        done = mill("serve", DIGITS, "--listen", "tcp://0.0.0.0:0", code=1)
        self.assertIn("insecure", done.stderr)
        with Server(DIGITS, "--insecure", listen=("tcp://0.0.0.0:0",)) as server:
            self.assertEqual(server.stop(), 0)

    def token(self, text, name="token", mode=0o600):
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def test_a_token_keeps_strangers_out(self):
        right = self.token("correct-horse-battery\n")
        wrong = self.token("correct-horse-staple1", "wrong")
        with Server(DIGITS, "--token-file", right) as server:
            for how in ([], ["--token-file", wrong]):
                error = mill("list", "--server", server.url, *how, code=1).stderr
                self.assertIn("expected a request with this server's token", error)
            lines = mill("list", "--server", server.url, "--token-file", right).stdout
            self.assertIn("digits-locked", lines)
            env = {**os.environ, "BATCHMILL_TOKEN_FILE": right}
            self.assertEqual(
                jsonl("digits", "--server", server.url, *ORDER, "--prefetch", "3", env=env),
                jsonl("digits", "--config", DIGITS, *ORDER),
            )
            self.assertIn(
                "29 batches", mill("run", "digits", "--server", server.url, *ORDER, env=env).stdout
            )
            text = server.text()
            self.assertNotIn("horse", text)
        for text, mode, said in (
            ("correct-horse-battery", 0o640, "chmod 600"),
            ("short", 0o600, "16 to 1024"),
        ):
            bad = self.token(text, "bad", mode)
            error = mill("serve", DIGITS, "--check", "--token-file", bad, code=1).stderr
            self.assertTrue(error.startswith(f"{bad}: ") and said in error, error)
            self.assertNotIn(text, error.replace(bad, ""))
            error = mill(
                "list", "--server", "tcp://127.0.0.1:1", "--token-file", bad, code=1
            ).stderr
            self.assertIn(said, error)
        mill("list", "--config", DIGITS, "--token-file", right, code=2)

    def test_a_configuration_may_name_the_token(self):
        self.token("correct-horse-battery")
        config = self.config("token_file: token\n" + RANGE + "      - noop\n")
        with Server(config, listen=("tcp://0.0.0.0:0",)) as server:  # no --insecure is needed
            url = server.url.replace("0.0.0.0", "127.0.0.1")
            self.assertIn("token", mill("list", "--server", url, code=1).stderr)
            path = str(self.folder / "token")
            self.assertIn("p", mill("list", "--server", url, "--token-file", path).stdout)
        (self.folder / "token").chmod(0o644)
        self.assertIn("chmod 600", mill("serve", config, "--check", code=1).stderr)

    def certificates(self):
        made = self.folder / "tls"
        made.mkdir()
        tool = pathlib.Path(os.environ["BATCHMILL_BUILD_DIR"]) / "test_certificates"
        subprocess.run([tool, made], check=True)
        return made

    def test_tls_carries_the_same_bytes_to_who_believes_the_server(self):
        tls = self.certificates()
        show = [f"--tls-certificate={tls}/server.pem", f"--tls-key={tls}/server.key"]
        listen = ("tls+tcp://127.0.0.1:0", "tcp://127.0.0.1:0")
        with Server(DIGITS, *show, listen=listen) as server:
            secure, plain = server.urls
            ca = f"--tls-ca={tls}/ca.pem"
            expected = jsonl("digits", "--server", plain, *ORDER, "--prefetch", "3")
            self.assertEqual(jsonl("digits", "--server", secure, *ORDER, ca), expected)
            env = {**os.environ, "BATCHMILL_TLS_CA": str(tls / "ca.pem")}
            self.assertEqual(jsonl("digits", "--server", secure, *ORDER, env=env), expected)
            self.assertEqual(jsonl("digits", "--server", plain, *ORDER, env=env), expected)
            for args, said in (
                ([], "expected a certificate for 127.0.0.1 of a known authority, got one of CN"),
                ([f"--tls-ca={tls}/stranger-ca.pem"], "unable to get local issuer certificate"),
                ([ca, "--tls-server-name=db.example"], "hostname mismatch"),
                ([f"--tls-ca={tls}/none.pem"], "none.pem: cannot open: No such file"),
                ([ca, f"--tls-key={tls}/client.key"], "got only a key"),
            ):
                began = time.monotonic()
                error = mill("list", "--server", secure, *args, code=1).stderr
                self.assertIn(said, error)
                self.assertLess(time.monotonic() - began, 5)
            error = mill("list", "--server", plain, ca, code=1).stderr
            self.assertIn("expected a URL as tls+tcp://", error)
        for args, said in (
            ([], "expected a certificate and its key to show"),
            ([show[0], f"--tls-key={tls}/name.key"], "key values mismatch"),
        ):
            self.assertIn(said, mill("serve", DIGITS, "--listen", listen[0], *args, code=1).stderr)
        mill("serve", DIGITS, show[0], code=2)

    def test_a_configuration_may_name_the_certificates(self):
        tls = self.certificates()
        names = "tls: {certificate: tls/server.pem, key: tls/server.key, client_ca: tls/ca.pem}\n"
        config = self.config(names + RANGE + "      - noop\n")
        with Server(config, listen=("tls+tcp://127.0.0.1:0",)) as server:
            ca = f"--tls-ca={tls}/ca.pem"
            me = [f"--tls-certificate={tls}/client.pem", f"--tls-key={tls}/client.key"]
            self.assertIn("p", mill("list", "--server", server.url, ca, *me).stdout)
            error = mill("list", "--server", server.url, ca, code=1).stderr
            self.assertIn("does not accept this side's certificate", error)
        for names, said in (
            ("tls: {certificate: a}\n", 'tls: expected "key"'),
            ("tls: {certificate: a, key: b, ca: c}\n", "tls.ca"),
            ("tls: 1\n", "tls: expected"),
        ):
            config = self.config(names + RANGE + "      - noop\n")
            error = mill("serve", config, "--check", code=1).stderr
            self.assertTrue(error.startswith(f"{config}:1") and said in error, error)

    def test_logs_are_json_when_asked(self):
        done = mill(
            "serve", DIGITS, "--listen", "tcp://256.0.0.1:1", "--log-format", "json", code=1
        )
        line = json.loads(done.stderr.splitlines()[-1])
        self.assertEqual((line["level"], line["event"]), ("error", "cannot-start"))


class RunNextTrace(WithFolder):
    def test_run_returns_what_numpy_gives(self):
        out = mill("run", "digits", "--config", DIGITS, *ORDER, "--prefetch", "3").stdout
        got = dict(re.findall(r"^  (pixels\.\w+) = (\S+)$", out, re.M))
        data = pixels()[:, :64]
        self.assertEqual(int(got["pixels.count"]), data.size)
        self.assertAlmostEqual(float(got["pixels.mean"]) / data.mean(), 1, places=12)
        self.assertAlmostEqual(float(got["pixels.std"]) / data.std(), 1, places=12)
        self.assertEqual(
            (float(got["pixels.min"]), float(got["pixels.max"])), (data.min(), data.max())
        )
        self.assertIn("29 batches, 1797 items, 0 skipped, 0 failed", out)
        again = mill("run", "digits", "--config", DIGITS, *ORDER, "--prefetch", "0").stdout
        self.assertEqual(
            dict(re.findall(r"^  (pixels\.\w+) = (\S+)$", again, re.M)), got
        )  # to the last digit

    def test_a_cursor_lives_on_the_server(self):
        with Server() as server:
            args = [
                "next",
                "digits",
                "--server",
                server.url,
                "--batch-size",
                "600",
                "--cursor",
                "mine",
            ]
            lines = [json.loads(mill(*args).stdout) for _ in range(3)]
            self.assertEqual([line["seq"] for line in lines], [0, 1, 2])
            self.assertEqual([i for line in lines for i in line["items"]], list(range(1797)))
            end = mill(*args)
            self.assertEqual(end.stdout, "")
            self.assertIn("at its end", end.stderr)
            error = mill(*args, "--drop-last", code=1).stderr
            self.assertIn("drop_last", error)

    def test_a_trace_shows_that_the_lock_never_held_two(self):
        out = self.folder / "trace.json"
        mill(
            "trace",
            "digits-locked",
            "--config",
            DIGITS,
            "--batch-size",
            "64",
            "--prefetch",
            "7",
            "--out",
            str(out),
        )
        events = json.loads(out.read_text())["traceEvents"]
        burns = sorted(
            (e["ts"], e["ts"] + e["dur"]) for e in events if e["name"] == "burn" and e["pid"] == 2
        )
        self.assertEqual(len(burns), 29)
        for (_, ended), (started, _) in zip(burns, burns[1:]):
            self.assertGreaterEqual(started, ended)
        self.assertTrue(any(e["name"] == "waits for lock burn" for e in events))
        gantt = mill(
            "trace",
            "digits-locked",
            "--config",
            DIGITS,
            "--batch-size",
            "64",
            "--prefetch",
            "7",
            "--gantt",
        ).stdout
        self.assertEqual(len(re.findall(r"^batch +\d+ \|.{72}\|$", gantt, re.M)), 12)
        self.assertIn("29 batches held lock burn, never two at once", gantt)

    def test_list_and_describe(self):
        self.assertRegex(
            mill("list", "--config", DIGITS).stdout,
            r"(?m)^digits +digits +1797  [0-9a-f]{16}  config$",
        )
        text = mill("describe", "digits-locked", "--config", DIGITS).stdout
        self.assertIn("read -> cast+scale -> wait -> burn -> wait", text)
        self.assertIn("per batch, lock burn", text)

    def test_status_counts_what_was_refused(self):
        with Server() as server:
            mill("describe", "nothing", "--server", server.url, code=1)
            with socket.create_connection(("127.0.0.1", server.url.split(":")[-1])) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
                while stranger.recv(64):  # until it is hung up on
                    pass
            status = json.loads(mill("status", "--json", "--server", server.url).stdout)
            self.assertEqual(status["answered"]["NOT_FOUND"], 1)
            self.assertEqual(status["connections"]["no_greeting"], 1)
            self.assertGreaterEqual(status["connections"]["accepted"], 3)
            self.assertEqual(status["streams"], 0)
            text = mill("status", "--server", server.url).stdout
            self.assertRegex(text, "requests answered: OK [0-9]+ NOT_FOUND 1\n")
            self.assertIn("hung up on: 1 without a greeting, 0 broken frames, 0 too slow", text)

    def test_actions_and_sources_document_themselves(self):
        actions = mill("actions").stdout
        for name in (
            "noop cast scale normalize clip select rename drop reshape one_hot add_noise "
            "accumulate wait "
            "burn fail_at skip_at end_at"
        ).split():
            self.assertRegex(actions, rf"(?m)^{name} \(per (item|batch)")
        self.assertRegex(actions, r"(?m)^  factor +float, default 1: ")
        sources = mill("sources").stdout
        for name in ("range", "csv", "npy", "idx"):
            self.assertRegex(sources, rf"(?m)^{name}$")


if __name__ == "__main__":
    unittest.main()
