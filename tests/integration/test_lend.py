"""An action that another process does, in C: the example, and what `status` and the log say."""

import json
import pathlib
import subprocess
import time
import unittest

from test_cli import MILL, Server, jsonl, mill

LEND = pathlib.Path(MILL).parent / "example_lend"
CONFIG = "examples/lend/pipelines.yaml"


def remote(url):
    return json.loads(mill("status", "--server", url, "--json").stdout)["remote_actions"][0]


class Lend(unittest.TestCase):
    def setUp(self):
        self.server = Server(CONFIG)
        self.addCleanup(self.server.stop)
        self.lenders = []
        self.addCleanup(self.leave)

    def lend(self):
        self.lenders.append(subprocess.Popen([LEND, self.server.url], stderr=subprocess.DEVNULL))

    def leave(self):
        for lender in self.lenders:
            lender.kill()
            lender.wait()

    def test_batches_wait_for_a_lender_and_come_right(self):
        order = ["brighter", "--batch-size", "64", "--shuffle", "7", "--server", self.server.url]
        gen = subprocess.Popen(
            [MILL, "gen", *order, "--output", "jsonl", "--quiet"],
            stdout=subprocess.PIPE,
            text=True,
        )
        while "waits for a process that lends brighten" not in self.server.text():
            time.sleep(0.01)
        self.assertEqual(remote(self.server.url)["lenders"], 0)
        self.lend()
        out, _ = gen.communicate(timeout=60)
        first = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(len(first), 29)
        self.lend()
        self.assertEqual(jsonl(*order), first)
        self.assertEqual(remote(self.server.url)["done"], 58)
        self.assertIn("brighten", mill("status", "--server", self.server.url).stdout)

    def test_a_lender_that_is_killed_costs_another_attempt_and_nothing_else(self):
        order = ["brighter", "--batch-size", "1", "--n-epochs", "3", "--server", self.server.url]
        self.lend()
        whole = jsonl(*order)
        gen = subprocess.Popen(
            [MILL, "gen", *order, "--output", "jsonl", "--quiet"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(10):
            self.lend()
            self.lenders[-2].kill()
        out, _ = gen.communicate(timeout=60)
        self.assertEqual([json.loads(line) for line in out.splitlines()], whole)


if __name__ == "__main__":
    unittest.main()
