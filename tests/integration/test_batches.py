"""Which items are in a batch, and on which of them its actions work: group_by, rebatch."""

import json
import unittest

from test_cli import ROOT, WithFolder, jsonl, mill


class Batches(WithFolder):
    def grouped(self, group_by):
        lengths = [(i * i) % 89 for i in range(500)]
        rows = "".join(json.dumps({"x": [i] * n}) + "\n" for i, n in enumerate(lengths))
        (self.folder / "x.jsonl").write_text(rows)
        return lengths, self.config(
            "sources:\n"
            "  s: {jsonl: {path: x.jsonl, components: {x: {dtype: int32, ragged: true}}}}\n"
            "pipelines: {p: {source: s, group_by: %s}}\n" % group_by
        )

    def test_shuffled_batches_hold_items_of_like_length(self):
        lengths, config = self.grouped("{component: x, width: 4}")
        args = ["p", "--config", config, "--batch-size", "10", "--n-epochs", "2", "--prefetch", "4"]
        lines = jsonl(*args, "--shuffle", "3")
        for epoch in (0, 1):
            batches = [line["items"] for line in lines if line["epoch"] == epoch]
            self.assertEqual(sorted(i for batch in batches for i in batch), list(range(500)))
            for batch in batches:
                of_batch = [lengths[i] for i in batch]
                self.assertLessEqual(max(of_batch) - min(of_batch), 18)
        self.assertNotEqual(lines[0]["items"], lines[50]["items"])
        self.assertEqual(lines[0]["items"], jsonl(*args, "--shuffle", "3")[0]["items"])
        self.assertEqual(jsonl(*args)[0]["items"], list(range(10)))

    def test_the_grouping_is_part_of_the_fingerprint(self):
        shown = set()
        for group_by in ("null", "x", "{component: x, width: 4}"):
            config = self.grouped(group_by)[1]
            shown.add(mill("describe", "p", "--config", config).stdout)
        self.assertEqual(len(shown), 3)

    def test_what_cannot_be_grouped_by_is_refused(self):
        for group_by, text in (
            ("y", "c.yaml:3: pipelines.p.group_by: expected one of"),
            ("{component: x, width: 0}", "c.yaml:3: pipelines.p.group_by.width: expected"),
            ("[x]", "c.yaml:3: pipelines.p.group_by: expected"),
        ):
            config = self.grouped(group_by)[1]
            self.assertIn(text, mill("describe", "p", "--config", config, code=1).stderr)

    def test_rebatch_keeps_order_locks_and_prefetch(self):
        chain = (
            "[{cast: {components: x, dtype: float64}, use_lock: one}, "
            "%saccumulate: {component: x}]"
        )
        args = ["p", "--batch-size", "64", "--shuffle", "5", "--prefetch", "6"]
        whole = jsonl(*args, "--config", self.pipelines(chain % "", n=1000))
        parts = jsonl(*args, "--config", self.pipelines(chain % "{rebatch: {from: 7}}, ", n=1000))
        self.assertEqual(len(whole), 16)
        self.assertEqual(parts, whole)


class Examples(unittest.TestCase):
    def test_every_pipeline_of_every_example_gives_batches(self):
        configs = sorted((ROOT / "examples").glob("*/pipelines.yaml"))
        configs.remove(ROOT / "examples/plugin/pipelines.yaml")  # plugin.sh builds and tries it
        configs.remove(ROOT / "examples/lend/pipelines.yaml")  # test_lend.py brings the lender
        self.assertGreaterEqual(len(configs), 4)
        for config in configs:
            listed = mill("list", "--config", str(config)).stdout.splitlines()[1:]
            self.assertTrue(listed)
            for line in listed:
                name = line.split()[0]
                args = ["--config", str(config), "--batch-size", "4", "--n-iters", "2"]
                with self.subTest(example=config.parent.name, pipeline=name):
                    self.assertEqual(len(jsonl(name, *args, "--shuffle", "3")), 2)


if __name__ == "__main__":
    unittest.main()
