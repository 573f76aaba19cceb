#!/usr/bin/env python3
"""Batches by reference between processes: kills, other users, few descriptors."""

import json
import os
import pathlib
import re
import resource
import subprocess
import tempfile
import time
import unittest

MILL = os.environ["BATCHMILL"]
CONFIG = "sources: {s: {range: {n: 1638400}}}\npipelines: {p: {source: s}}\n"
GEN = ["p", "--batch-size", "16384", "--shuffle", "3", "--digest", "--quiet"]  # 128 KiB each
NOBODY = 65534


def descriptors(pid):
    """How many files in memory the process has, but for its probe."""
    links = []
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(os.readlink(fd))
        except FileNotFoundError:
            pass  # closed just now
    return sum(link.startswith("/memfd:batchmill ") for link in links)


class Server:
    def __init__(self, folder, *args, listen="tcp://127.0.0.1:0", **kwargs):
        config = pathlib.Path(folder) / "c.yaml"
        config.write_text(CONFIG)
        command = [MILL, "serve", str(config), "--listen", listen, *args]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **kwargs)
        line = self.process.stderr.readline()
        self.url = re.search(r"event=listening url=\"?([^\s\"]+)", line).group(1)

    def end(self):
        self.process.kill()
        self.process.wait(60)
        self.process.stderr.close()

    def shared(self):
        done = subprocess.run(
            [MILL, "status", "--json", "--server", self.url], capture_output=True, check=True
        )
        return json.loads(done.stdout)["shared_batches"]


def gen(url, *args, **kwargs):
    command = [MILL, "gen", "--server", url, *GEN, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **kwargs)
    assert done.returncode == 0, done.stderr
    return re.search("digest ([0-9a-f]+)", done.stdout + done.stderr).group(1), done.stderr


class SharedMemory(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def server(self, *args, **kwargs):
        server = Server(self.folder, *args, **kwargs)
        self.addCleanup(lambda: server.process.poll() is None and server.end())
        return server

    def test_both_ends_can_switch_it_off(self):
        server = self.server()
        expected, _ = gen(server.url, "--no-shared-memory")
        self.assertEqual(server.shared(), 0)
        self.assertEqual(gen(server.url), (expected, ""))
        self.assertEqual(server.shared(), 100)
        without = self.server("--no-shared-memory")
        self.assertEqual(gen(without.url), (expected, ""))
        self.assertEqual(without.shared(), 0)

    def test_a_killed_consumer_leaves_nothing_and_disturbs_nobody(self):
        server = self.server("--workers", "1")
        expected, _ = gen(server.url)
        for _ in range(5):
            endless = [MILL, "gen", "--server", server.url, *GEN, "--n-epochs", "0"]
            consumer = subprocess.Popen(endless)
            before = server.shared()
            while server.shared() < before + 50:
                time.sleep(0.01)
            consumer.kill()
            consumer.wait()
            self.assertEqual(gen(server.url)[0], expected)
        # What it saw goes with its lease; until then it is bounded by its window.
        self.assertLess(descriptors(server.process.pid), 512)

    def test_a_killed_server_is_replaced_and_the_stream_goes_on(self):
        server = self.server()
        expected, _ = gen(server.url, "--n-epochs", "40")
        command = [MILL, "gen", "--server", server.url, *GEN, "--n-epochs", "40"]
        before = server.shared()
        consumer = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        while server.shared() < before + 100:
            time.sleep(0.001)
        server.end()
        after = self.server(listen=server.url)
        text, _ = consumer.communicate(timeout=120)
        self.assertEqual(consumer.returncode, 0, text)
        self.assertIn("digest " + expected, text)
        self.assertIn("opened it again", text)
        self.assertGreater(after.shared(), 0)

    @unittest.skipIf(os.getuid() != 0, "only root can be somebody else")
    def test_another_user_gets_the_bytes_by_the_socket_and_is_told_once(self):
        server = self.server()
        expected, _ = gen(server.url)
        before = server.shared()
        digest, said = gen(server.url, user=NOBODY, group=NOBODY, extra_groups=[])
        self.assertEqual(digest, expected)
        self.assertEqual(said.count("cannot map the server's memory"), 1)
        self.assertEqual(server.shared(), before)

    def test_a_server_with_few_descriptors_sends_what_it_cannot_share(self):
        server = self.server()
        expected, _ = gen(server.url, "--prefetch", "64")
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (150, 150))
        for _ in range(3):
            self.assertEqual(gen(server.url, "--prefetch", "64")[0], expected)
        self.assertEqual(gen(server.url, "--prefetch", "64", "--batch-size", "8192")[1], "")
        self.assertLessEqual(descriptors(server.process.pid), 66)

    def test_a_client_needs_hardly_any_descriptors(self):
        server = self.server()
        expected, _ = gen(server.url)
        command = ["sh", "-c", 'ulimit -n 16; exec "$@"', "sh", MILL, "gen", "--server"]
        done = subprocess.run(
            [*command, server.url, *GEN], capture_output=True, text=True, timeout=120
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("digest " + expected, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
