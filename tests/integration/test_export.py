"""What `batchmill export` promises: the stream's items as files, byte for byte those of one run."""

import filecmp
import gzip
import io
import json
import subprocess
import tarfile
import unittest

import numpy

from test_cli import DIGITS, MILL, ORDER, ROOT, Server, WithFolder, jsonl, mill

MIXED = """sources:
  s: {csv: {path: %s, components: {x: {columns: 0-1, dtype: float32}, k: {columns: 2, dtype: int64},
      name: {columns: 3, dtype: string}}}}
pipelines:
  p: {source: s, actions: [%s]}
"""


class Export(WithFolder):
    def setUp(self):
        super().setUp()
        self.to = self.folder / "out"

    def export(self, *args, **kwargs):
        return mill("export", *args, "--quiet", "--to", str(self.to), **kwargs)

    def array(self, name):
        return numpy.load(self.to / (name + ".npy"))

    def mixed(self, actions=""):
        rows = [f"{i}.5,{-i},{i * 7 % 5},{'n' * (i % 4)}{i}" for i in range(100)]
        (self.folder / "rows.csv").write_text("a,b,k,name\n" + "\n".join(rows) + "\n")
        config = self.folder / "mixed.yaml"
        config.write_text(MIXED % (self.folder / "rows.csv", actions))
        return str(config), rows

    def test_npy_files_hold_all_items_in_the_order_of_the_stream(self):
        out = self.export("digits", "--config", DIGITS, *ORDER).stdout
        self.assertIn("1797 items in 29 batches", out)
        batches = jsonl("digits", "--config", DIGITS, *ORDER, "--values")
        items = [i for batch in batches for i in batch["items"]]
        self.assertEqual(self.array("items").tolist(), items)
        self.assertEqual(self.array("pixels").shape, (1797, 64))
        self.assertEqual(self.array("pixels").dtype, numpy.float32)
        labels = [label for batch in batches for label in batch["tensors"]["label"]["values"]]
        self.assertEqual(self.array("label").tolist(), labels)

    def test_ragged_components_have_offsets_beside_them(self):
        config, rows = self.mixed()
        self.export("p", "--config", config, "--batch-size", "7")
        offsets = self.array("name.offsets")
        text = self.array("name").tobytes().decode()
        names = [text[a:b] for a, b in zip(offsets, offsets[1:])]
        self.assertEqual(names, [row.split(",")[3] for row in rows])
        self.assertEqual(self.array("x")[3].tolist(), [3.5, -3])

    def test_shards_hold_a_file_per_item_and_component(self):
        config, rows = self.mixed()
        args = ["p", "--config", config, "--batch-size", "7", "--format", "webdataset"]
        self.export(*args, "--shard-items", "30")
        shards = sorted(path.name for path in self.to.glob("*.tar"))
        self.assertEqual(shards, [f"shard-{i:06}.tar" for i in range(4)])
        samples = []
        for shard in shards:
            with tarfile.open(self.to / shard) as tar:
                members = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}
            keys = sorted({name.split(".")[0] for name in members})
            self.assertLessEqual(len(keys), 30)
            for key in keys:
                x = numpy.load(io.BytesIO(members[key + ".x.npy"]))
                k = members[key + ".k.cls"].decode()
                samples.append(f"{x[0]},{int(x[1])},{k},{members[key + '.name.txt'].decode()}")
        self.assertEqual(samples, rows)

    def test_shards_are_read_again_as_they_were_written_also_packed(self):
        args = ["digits", "--config", DIGITS, *ORDER, "--format", "webdataset"]
        self.export(*args, "--shard-items", "1000")
        shard = self.to / "shard-000001.tar"
        (self.to / "packed.tar.gz").write_bytes(gzip.compress(shard.read_bytes()))
        config = self.folder / "tar.yaml"
        config.write_text(
            "sources:\n"
            f"  t: {{tar: {{paths: {shard}, components: {{label: label.cls}}}}}}\n"
            f"  z: {{tar: {{paths: {self.to}/packed.tar.gz, components: {{label: label.cls}}}}}}\n"
            "pipelines: {t: {source: t}, z: {source: z}}\n"
        )
        labels = [
            label
            for batch in jsonl("digits", "--config", DIGITS, *ORDER, "--values")
            for label in batch["tensors"]["label"]["values"]
        ]
        for pipeline in "t", "z":
            args = [pipeline, "--config", str(config), "--batch-size", "100", "--values"]
            batches = jsonl(*args)
            read = [label for batch in batches for label in batch["tensors"]["label"]["values"]]
            self.assertEqual(read, labels[1000:])

    ARROW = (
        "sources:\n"
        "  j: {jsonl: {path: rows.jsonl, components: {x: {dtype: float16}, m: {dtype: int16, "
        "shape: [2, 3]}, l: {dtype: uint32, ragged: true}, b: {dtype: bool, shape: 3}, "
        "flags: {dtype: bool, ragged: true}, s: {dtype: string}, raw: {dtype: bytes}, "
        "n: {dtype: bfloat16}}}}\n"
        "pipelines: {j: {source: j}}\n"
    )

    def arrow_rows(self):
        rows = [
            {
                "x": i / 4,
                "m": [[i, -i, 0], [1, 2, i]],
                "l": list(range(i % 5)),
                "b": [i % 2 == 0, i % 3 == 0, True],
                "flags": [j % 2 == 0 for j in range(i % 4)],
                "s": "é" * (i % 7),
                "raw": "r" * (i % 3),
                "n": float(i),
            }
            for i in range(50)
        ]
        (self.folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        config = self.folder / "arrow.yaml"
        config.write_text(self.ARROW)
        return str(config), rows

    def test_an_arrow_file_is_read_again_as_it_was_written(self):
        if "arrow" not in mill("sources").stdout:
            self.skipTest("the arrow source is not built")
        config, _ = self.arrow_rows()
        self.export("j", "--config", config, "--batch-size", "7", "--format", "arrow")
        again = self.folder / "again.yaml"
        again.write_text(
            "sources: {a: {arrow: {path: out/items.arrow}}}\npipelines: {a: {source: a}}\n"
        )
        args = ["--batch-size", "20", "--values"]
        written = jsonl("j", "--config", config, *args)
        read = jsonl("a", "--config", str(again), *args)
        self.assertEqual(len(read), 3)
        for one, two in zip(written, read):
            for name in "x", "m", "l", "b", "flags", "s", "raw":
                self.assertEqual(one["tensors"][name], two["tensors"][name], name)

    def test_an_arrow_file_is_what_pyarrow_reads(self):
        try:
            import pyarrow.ipc
        except ImportError:
            self.skipTest("pyarrow is not installed")
        config, rows = self.arrow_rows()
        self.export("j", "--config", config, "--batch-size", "7", "--format", "arrow")
        with pyarrow.ipc.open_file(str(self.to / "items.arrow")) as file:
            self.assertEqual(file.num_record_batches, 8)
            table = file.read_all()
        table.validate(full=True)
        for row, expected in zip(table.to_pylist(), rows):
            row["n"] = numpy.array([row["n"] << 16], dtype=numpy.uint32).view(numpy.float32)[0]
            self.assertEqual(row, {**expected, "raw": expected["raw"].encode()})

    def kill_until_it_ends(self, command):
        for kills in range(1000):
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
            try:
                process.communicate(timeout=0.02 + 0.01 * (kills % 20))
                self.assertEqual(process.returncode, 0)
                return kills
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        raise AssertionError("it never ended")

    def test_killed_any_number_of_times_the_files_are_those_of_one_run(self):
        config, _ = self.mixed("{wait: {ms: 20}}")
        for form in "npy", "webdataset", "arrow":
            whole, killed = self.folder / ("whole-" + form), self.folder / ("killed-" + form)
            args = ["--batch-size", "3", "--shuffle", "5", "--format", form, "--quiet"]
            args += ["--shard-items", "20"] if form == "webdataset" else []
            mill("export", "p", "--config", config, *args, "--to", str(whole))
            with Server(config) as server:
                command = [MILL, "export", "p", "--server", server.url, *args]
                # Every batch is kept, so that even short lives get on.
                command += ["--checkpoint-every-ms", "0", "--to", str(killed)]
                self.assertGreater(self.kill_until_it_ends(command), 2)
            names = sorted(path.name for path in whole.iterdir())
            self.assertEqual(sorted(path.name for path in killed.iterdir()), names)
            names.remove("export.checkpoint")  # it has the time in it
            _, differ, wrong = filecmp.cmpfiles(whole, killed, names, shallow=False)
            self.assertEqual(differ + wrong, [])

    def test_once_more_it_does_nothing_and_contradictions_are_named(self):
        args = ["digits", "--config", DIGITS, *ORDER]
        self.export(*args)
        before = {path: path.stat().st_mtime_ns for path in self.to.iterdir()}
        self.assertIn("1797 items", self.export(*args).stdout)
        self.assertEqual({path: path.stat().st_mtime_ns for path in self.to.iterdir()}, before)
        error = self.export("digits", "--config", DIGITS, "--batch-size", "32", code=1).stderr
        self.assertIn("batch-size: expected 64 as the checkpoint has it", error)

    def test_what_is_there_already_is_not_written_over(self):
        self.to.mkdir()
        thesis = self.to / "pixels.npy"
        thesis.write_text("my thesis")
        error = self.export("digits", "--config", DIGITS, *ORDER, code=1).stderr
        self.assertIn("pixels.npy: File exists", error)
        self.assertEqual(thesis.read_text(), "my thesis")

    def test_killed_before_its_first_checkpoint_it_begins_again(self):
        for form, name in (
            ("npy", "x.npy"),
            ("webdataset", "shard-000000.tar"),
            ("arrow", "items.arrow"),
        ):
            whole, killed = self.folder / ("whole-" + form), self.folder / ("killed-" + form)
            config = self.pipelines("[noop]")
            args = ["export", "p", "--config", config, "--batch-size", "7", "--format", form]
            mill(*args, "--quiet", "--to", str(whole))
            killed.mkdir()
            (killed / ".begun").touch()  # and what such a run leaves
            (killed / name).write_text("half a head")
            mill(*args, "--quiet", "--to", str(killed))
            names = sorted(path.name for path in whole.iterdir())
            self.assertEqual(sorted(path.name for path in killed.iterdir()), names)
            self.assertEqual((killed / name).read_bytes(), (whole / name).read_bytes())

    def test_options_that_do_not_fit_are_refused(self):
        for args, expected in [
            (["--format", "zip"], "--format: expected npy, webdataset or arrow"),
            (["--shard-items", "5"], "--shard-items goes with --format webdataset"),
            (["--position", "x"], "--position: the directory says where"),
        ]:
            error = self.export("digits", "--config", DIGITS, *ORDER, *args, code=2).stderr
            self.assertIn(expected, error)
        error = mill("export", "digits", "--config", DIGITS, *ORDER, code=2).stderr
        self.assertIn("--to: expected a directory", error)


if __name__ == "__main__":
    unittest.main()
