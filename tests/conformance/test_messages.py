#!/usr/bin/env python3
"""The golden messages, read by Python's protobuf, and what PROTOCOL.md says about bytes and limits.

Run by ctest as conformance.messages; `test_messages.py --write` writes the .txtpb files anew.
"""

import ast
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "proto/golden/messages"
ALIGNMENT, REST = 64, 12
DTYPE_SIZES = (0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 2, 4, 8, 1, 1)


def load_messages():
    """The generated module, made for this run."""
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(
            [
                "protoc",
                f"--proto_path={ROOT / 'proto'}",
                f"--python_out={out}",
                "batchmill/v1/batchmill.proto",
            ],
            check=True,
        )
        sys.path.insert(0, out)
        from batchmill.v1 import batchmill_pb2  # pylint: disable=import-error

        return batchmill_pb2


pb = load_messages()


def message_of(path):
    kind = pb.Request if path.name.endswith(".request.bin") else pb.Response
    return kind.FromString(path.read_bytes())


def text_of(path):
    kind = "Request" if path.name.endswith(".request.bin") else "Response"
    return subprocess.run(
        [
            "protoc",
            f"--proto_path={ROOT / 'proto'}",
            f"--decode=batchmill.v1.{kind}",
            "batchmill/v1/batchmill.proto",
        ],
        input=path.read_bytes(),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout.decode()


def fields(data, at, end):
    """(number, wire type, begin, end) of each field's contents: the walk that PROTOCOL.md tells."""

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < end:
        tag = varint()
        begin = at
        if tag & 7 == 0:
            varint()
        elif tag & 7 == 1:
            at += 8
        elif tag & 7 == 2:
            size = varint()
            begin, at = at, at + size
        else:
            raise ValueError(f"wire type {tag & 7}")
        yield tag >> 3, tag & 7, begin, at


def tensor_places(data):
    """Where offsets and data of all tensors lie in the Response."""

    def inside(number, begin, end):
        return [(b, e) for n, t, b, e in fields(data, begin, end) if n == number and t == 2]

    for reply in inside(15, 0, len(data)):
        for batch in inside(15, *reply):
            for tensor in inside(15, *batch):
                for number in (6, 8):
                    yield from inside(number, *tensor)


class Golden(unittest.TestCase):
    def test_every_message_says_what_its_text_says(self):
        paths = sorted(GOLDEN.glob("*.bin"))
        self.assertGreater(len(paths), 15)
        for path in paths:
            with self.subTest(path.name):
                self.assertEqual(text_of(path), path.with_suffix(".txtpb").read_text())

    def test_python_writes_the_same_bytes(self):
        for path in sorted(GOLDEN.glob("*.bin")):
            with self.subTest(path.name):
                message = message_of(path)
                check = b"\x71" + message.check.to_bytes(8, "little")
                message.ClearField("check")  # which is last also behind fields of a higher number
                self.assertEqual(
                    message.SerializeToString(deterministic=True) + check, path.read_bytes()
                )
                self.assertEqual(
                    list(message.ListFields())[-1][0].message_type is None,
                    path.name == "error.response.bin",
                )

    def test_tensors_hold_what_their_shapes_say(self):
        reply = message_of(GOLDEN / "next_batches.response.bin").next_batches
        self.assertEqual([batch.seq for batch in reply.batches], [4, 5])
        for batch in reply.batches:
            for tensor in batch.tensors:
                size = DTYPE_SIZES[tensor.dtype]
                for length in tensor.shape:
                    size *= length
                self.assertEqual(len(tensor.data), size)
                self.assertEqual(tensor.data, bytes(i % 256 for i in range(1, size + 1)))
                if tensor.ragged:
                    offsets = memoryview(tensor.offsets).cast("Q").tolist()
                    self.assertEqual(len(offsets), len(batch.items) + 1)
                    self.assertEqual(offsets, sorted(offsets))
                    self.assertEqual((offsets[0], offsets[-1]), (0, tensor.shape[0]))
                else:
                    self.assertEqual(tensor.shape[0], len(batch.items))

    def test_tensors_lie_aligned(self):
        for name, count in (("next_batches", 10), ("next_batches_small", 1)):
            data = (GOLDEN / f"{name}.response.bin").read_bytes()
            places = list(tensor_places(data))
            self.assertEqual(len(places), count)
            for begin, _ in places:
                self.assertEqual(begin % ALIGNMENT, REST)


class Document(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.text = (ROOT / "proto/PROTOCOL.md").read_text()

    def test_the_byte_examples_are_the_golden_messages(self):
        """A block begins with a file's name; each line with bytes, two spaces and a remark."""
        blocks = re.findall(r"```\n# (\S+\.bin)\n(.*?)```", self.text, re.DOTALL)
        self.assertGreaterEqual(len(blocks), 3)
        for name, lines in blocks:
            with self.subTest(name):
                shown = "".join(
                    re.match(r"(?:[0-9a-f]{2} ?)*", line)[0] for line in lines.splitlines()
                )
                self.assertEqual(bytes.fromhex(shown), (GOLDEN / name).read_bytes())

    def test_the_limits_are_those_of_the_headers(self):
        headers = "".join(
            path.read_text()
            for folder in ("src", "server")
            for path in (ROOT / folder).rglob("*.h")
        )
        rows = re.findall(r"\| `(BM_\w+)` \| ([\d,]+) ", self.text)
        self.assertGreater(len(rows), 15)
        for name, shown in rows:
            with self.subTest(name):
                found = re.search(rf"\b{name} = ([^,}}]+)", headers)
                self.assertIsNotNone(found)
                self.assertEqual(calculate(found[1]), int(shown.replace(",", "")))

    def test_every_call_and_code_is_told(self):
        for call in pb.DESCRIPTOR.services_by_name["Batchmill"].methods:
            self.assertRegex(self.text, rf"(?m)^### {call.name}\b")
        for code in pb.Code.keys():
            self.assertIn(f"`{code}`", self.text)


def calculate(expression):
    """64 * 1024, 1 << 24, INT32_MAX."""

    def value(node):
        if isinstance(node, ast.Constant):
            return node.value
        left, right = value(node.left), value(node.right)
        return left << right if isinstance(node.op, ast.LShift) else left * right

    return value(
        ast.parse(expression.replace("INT32_MAX", str(2**31 - 1)).strip(), mode="eval").body
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        for golden in sorted(GOLDEN.glob("*.bin")):
            golden.with_suffix(".txtpb").write_text(text_of(golden))
        sys.exit()
    os.environ.setdefault("LC_ALL", "C")
    unittest.main()
