"""Pipelines from clients on the command line, and what they are made of."""

import json
import re
import signal
import subprocess
import time
import unittest

from test_cli import MILL, Server, WithFolder, jsonl, mill

PIPELINE = """
sources: {s: {range: {n: 3}}}
pipelines:
  p:
    source: s
    actions:
      - cast: {components: x, dtype: int32}
      - one_hot: {component: x, classes: 3}
"""


class Types(WithFolder):
    def test_actions_and_sources_are_there_for_programs(self):
        listed = json.loads(mill("actions", "--json").stdout)
        actions = {action["name"]: action for action in listed}
        scale = {param["name"]: param for param in actions["scale"]["parameters"]}
        self.assertEqual(actions["scale"]["form"], "item")
        self.assertEqual(scale["factor"]["type"], "float")
        self.assertEqual(scale["factor"]["default"], 1)
        self.assertFalse(scale["factor"]["required"])
        for action in actions.values():
            for param in action["parameters"]:
                self.assertTrue(param["doc"])
                self.assertEqual("choices" in param, param["type"] == "choice")
        sources = {source["name"] for source in json.loads(mill("sources", "--json").stdout)}
        self.assertLessEqual({"range", "csv", "npy", "idx"}, sources)

    def test_a_pipeline_is_described_after_each_action(self):
        said = mill("describe", "p", "--json", "--config", str(self.config(PIPELINE))).stdout
        pipeline = json.loads(said)
        x = {"name": "x", "dtype": "int64", "shape": []}
        self.assertEqual(pipeline["source"]["components"], [x])
        cast, one_hot = pipeline["actions"]
        self.assertEqual(cast["components"], [{**x, "dtype": "int32"}])
        self.assertEqual(one_hot["components"], pipeline["components"])
        self.assertEqual(pipeline["components"][0]["shape"], [3])
        self.assertEqual(pipeline["owner"], "config")

    def test_names_groups_and_what_a_cache_saved_are_described(self):
        (self.folder / "pets.csv").write_text("kind,age\ndog,3\ncat,5\ndog,1\n")
        config = self.config(
            "sources: {s: {csv: {path: pets.csv, types: {kind: category}}}}\n"
            "pipelines:\n"
            "  p: {source: s, group_by: age, actions: [noop, {cache: {memory: 1MiB}}, noop]}\n"
            "  q: {source: s, actions: [{drop: {components: kind}}]}\n"
        )
        with Server(config) as server:
            there = ["--server", server.url]
            in_turn = ["--n-epochs", "3", "--prefetch", "0"]  # none is made twice at once
            mill("gen", "p", "--batch-size", "2", *in_turn, "--quiet", *there)
            said = json.loads(mill("describe", "p", "--json", *there).stdout)
            text = mill("describe", "p", *there).stdout
            other = json.loads(mill("describe", "q", "--json", *there).stdout)
        self.assertEqual(said["vocabularies"], {"kind": {"size": 2, "names": ["cat", "dog"]}})
        self.assertEqual(said["group_by"], "age")
        cache = said["cache"]
        self.assertEqual((cache["actions"], cache["where"]), (1, "memory"))
        self.assertEqual((cache["items"], cache["hits"], cache["misses"]), (3, 6, 3))
        self.assertIn("kind stands for 2 names: cat, dog", text)
        self.assertIn("saved them for 6 of 9 items (67 %)", text)
        self.assertIn("items of like age", text)
        self.assertEqual(
            (other["vocabularies"], other["group_by"], other["cache"]), ({}, None, None)
        )


class Register(WithFolder):
    """Pipelines from clients."""

    DOUBLED = '{"source": "s", "actions": [{"cast": {"components": "x", "dtype": "float32"}}]}'

    def setUp(self):
        super().setUp()
        self.served = self.config("sources: {s: {range: {n: 30}}}\npipelines: {p: {source: s}}\n")
        self.file = self.folder / "doubled.json"
        self.file.write_text(self.DOUBLED)

    def test_it_is_off_by_default(self):
        with Server(self.served) as server:
            said = mill("register", str(self.file), "--server", server.url, code=1).stderr
            self.assertIn("may not register", said)

    def test_a_registered_pipeline_streams_until_it_is_removed(self):
        with Server(self.served, "--allow-register") as server:
            there = ["--server", server.url]
            said = mill("register", str(self.file), *there).stdout
            fingerprint, registration = re.match(
                r"registered doubled, fingerprint (\w+), registration (\w+), for 60 s ", said
            ).groups()
            listed = mill("list", *there).stdout
            self.assertRegex(listed, rf"(?m)^doubled .*{fingerprint}  client$")
            self.assertRegex(listed, r"(?m)^p .*  config$")
            self.assertEqual(len(jsonl("doubled", "--batch-size", "10", *there)), 3)
            mill("register", str(self.file), "--name", "p", *there, code=1)
            self.file.write_text(self.DOUBLED.replace("float32", "float33"))
            said = mill("register", str(self.file), *there, code=1).stderr
            self.assertIn("definition:1: actions[0].cast.dtype: expected", said)
            mill("unregister", "doubled", "--registration", registration, *there)
            self.assertNotIn("doubled", mill("list", *there).stdout)

    def test_keep_keeps_it_until_interrupted(self):
        with Server(self.served, "--allow-register") as server:
            command = [MILL, "register", str(self.file), "--keep", "--lease", "1"]
            with subprocess.Popen(
                [*command, "--server", server.url], stdout=subprocess.PIPE, text=True
            ) as keeper:
                self.assertIn("registered doubled", keeper.stdout.readline())
                time.sleep(2.5)  # more than twice its lease
                self.assertIn("doubled", mill("list", "--server", server.url).stdout)
                keeper.send_signal(signal.SIGINT)
                self.assertEqual(keeper.wait(30), 0)
            self.assertNotIn("doubled", mill("list", "--server", server.url).stdout)


if __name__ == "__main__":
    unittest.main()
