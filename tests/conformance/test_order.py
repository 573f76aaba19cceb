#!/usr/bin/env python3
"""ORDER.md read a second time, in plain Python, and held against the golden vectors.

Run by ctest as conformance.order. It shares no line with the code that wrote the vectors.
"""

import json
import math
import pathlib
import re
import statistics
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
VECTORS = json.loads((ROOT / "proto/golden/order.json").read_text())
MASK = 2**64 - 1
G = 0x9E3779B97F4A7C15


class Refused(Exception):
    """Holds the name of the parameter."""


def mix64(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def permute(seed, epoch, n, position):
    key = mix64(mix64((seed + G) & MASK) ^ epoch)
    bits = max(6, n.bit_length())
    x = position
    while True:
        a, b = bits // 2, bits - bits // 2
        left, right = x >> b, x & (2**b - 1)
        for i in range(1, 9):
            round_key = mix64((key + i * G) & MASK)
            left, right = right, left ^ (mix64(round_key ^ right) & (2**a - 1))
            a, b = b, a
        x = left << b | right
        if x < n:
            break
    return x ^ (mix64(key) & 1) if n > 1 and x < 2 else x


def ceil(a, b):
    return -(-a // b)


class Stream:
    """Sections 1 and 2. `batches` is None without end."""

    def __init__(
        self,
        n,
        batch_size,
        shuffle=False,
        seed=0,
        n_epochs=None,
        n_iters=None,
        drop_last=False,
        epoch_border="stop",
        shard_index=0,
        shard_count=1,
    ):
        self.n, self.b, self.seed, self.shuffle = n, batch_size, seed, shuffle
        self.i, self.k, self.drop_last = shard_index, shard_count or 1, drop_last
        self.cross = epoch_border == "cross"
        self.check(n_epochs, n_iters)
        epochs = 1 if n_epochs is None else n_epochs
        limit = 2**63 // (self.b * self.k)
        self.t_max = 0 if self.cross or n == 0 else self.count(n)
        self.row = n
        if n == 0:
            self.batches = 0
            return
        if self.cross:
            self.row = n * epochs if n_iters is None else 0
            full = self.count(self.row)
            if self.row > 2**62:
                self.row, full = 0, limit
        else:
            full = min(self.t_max * epochs, limit)
        if n_iters is not None:
            self.batches = n_iters
        else:
            self.batches = full if epochs > 0 else None
        if self.batches == 0 or (not self.cross and self.t_max == 0):
            raise Refused("shard_count" if self.row < self.k else "batch_size")

    def check(self, n_epochs, n_iters):
        if not 1 <= self.b <= 2**24:
            raise Refused("batch_size")
        if self.k > 2**20:
            raise Refused("shard_count")
        if self.i >= self.k:
            raise Refused("shard_index")
        if n_iters is None:
            return
        if n_epochs is not None or self.n == 0 or not 1 <= n_iters <= 2**63 // (self.b * self.k):
            raise Refused("n_iters")

    def count(self, positions):
        if self.drop_last:
            return positions // self.k // self.b
        return ceil(ceil(positions, self.k), self.b)

    def item(self, epoch, position):
        return permute(self.seed, epoch, self.n, position) if self.shuffle else position

    def batch(self, seq):
        """Pairs of (item, epoch)."""
        t, epoch = (seq, 0) if self.cross else (seq % self.t_max, seq // self.t_max)
        first = self.i + self.k * self.b * t
        if self.row == 0:  # cross, without end
            positions = range(first, first + self.b * self.k, self.k)
        elif first < self.row:
            positions = range(first, min(first + self.b * self.k, self.row), self.k)
        else:
            positions = [first % self.row]
        found = [(epoch + g // self.n, g % self.n) for g in positions]
        return [(self.item(e, p), e) for e, p in found]


def grouped(seed, epoch, lengths, width, batch_size, shard_count):
    """Section 4: the items at all positions of an epoch."""
    together = batch_size * shard_count
    n, runs = len(lengths), len(lengths) // together
    by_length = sorted(range(n), key=lambda item: (lengths[item], item))
    rest, size = n % together, ceil(width, shard_count) * together
    rest_first = permute((seed + 1) & MASK, epoch, runs + 1, 0) * together
    items = []
    for position in range(n):
        run, inside = divmod(position, together)
        if run == runs:
            place = rest_first + inside
        else:
            place = permute(seed, epoch, runs, run) * together
            place += inside + (rest if place >= rest_first else 0)
        block, inside = divmod(place, size)
        length = min(size, n - block * size)
        key = (mix64((seed + 2) & MASK) + block) & MASK
        items.append(by_length[block * size + permute(key, epoch, length, inside)])
    return items


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        product0, product1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [
            (product1 >> 32) ^ c[1] ^ k[0],
            product1 & 0xFFFFFFFF,
            (product0 >> 32) ^ c[3] ^ k[1],
            product0 & 0xFFFFFFFF,
        ]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def words_of(number):
    return [number & 0xFFFFFFFF, number >> 32]


def u32s(seed, epoch, item, action):
    key = words_of(mix64(mix64(mix64(seed) ^ epoch) ^ action))
    block = 0
    while True:
        yield from philox(words_of(item) + words_of(block), key)
        block += 1


def u64s(*args):
    words = u32s(*args)
    while True:
        low = next(words)
        yield low | next(words) << 32


def belows(bound, *args):
    for number in u64s(*args):
        if number * bound & MASK >= 2**64 % bound:
            yield number * bound >> 64


def whole(value):
    """Numbers that came as text."""
    if isinstance(value, list):
        return [whole(v) for v in value]
    return int(value) if isinstance(value, str) and value.isdigit() else value


def vectors(key):
    for vector in VECTORS[key]:
        made = {name: whole(value) for name, value in vector.items()}
        if "parameters" in made:
            made["parameters"] = {k: whole(v) for k, v in made["parameters"].items()}
        yield made


class OrderTest(unittest.TestCase):
    def test_mixing(self):
        for v in vectors("mix64"):
            self.assertEqual(mix64(v["x"]), v["result"])

    def test_permutations(self):
        for v in vectors("permute"):
            with self.subTest(n=v["n"]):
                positions = v.get("positions", range(v["n"]))
                items = [permute(v["seed"], v["epoch"], v["n"], p) for p in positions]
                self.assertEqual(items, v["items"])
                if "positions" not in v:
                    self.assertEqual(sorted(items), list(range(v["n"])))

    def test_streams(self):
        for v in vectors("streams"):
            with self.subTest(n=v["n"], **v["parameters"]):
                stream = Stream(v["n"], **v["parameters"])
                self.assertEqual(stream.batches, v["batches"])
                self.assertEqual(stream.t_max, v["epoch_batches"])
                for sample in v["sample"]:
                    batch = stream.batch(whole(sample["seq"]))
                    self.assertEqual([item for item, _ in batch], whole(sample["items"]))
                    self.assertEqual([epoch for _, epoch in batch], whole(sample["epochs"]))
                    self.assertEqual(batch[0][1], whole(sample["epoch"]))

    def test_items_of_like_length(self):
        for v in vectors("grouped"):
            with self.subTest(**v):
                items = v.pop("items")
                self.assertEqual(grouped(**v), items)
                self.assertEqual(sorted(items), list(range(len(items))))

    def test_what_is_refused(self):
        for v in vectors("refused"):
            with self.subTest(n=v["n"], **v["parameters"]):
                with self.assertRaises(Refused) as caught:
                    Stream(v["n"], **v["parameters"])
                self.assertEqual(str(caught.exception), v["parameter"])

    def test_philox(self):
        for v in vectors("philox"):
            self.assertEqual(philox(v["counter"], v["key"]), v["result"])

    def test_random_numbers(self):
        normal = statistics.NormalDist()
        for v in vectors("random"):
            args = v["seed"], v["epoch"], v["item"], v["action"]
            self.assertEqual([w for w, _ in zip(u32s(*args), v["u32"])], v["u32"])
            self.assertEqual([w for w, _ in zip(u64s(*args), v["u64"])], v["u64"])
            self.assertEqual([w for w, _ in zip(belows(v["bound"], *args), v["below"])], v["below"])
            for number, uniform, quantile in zip(u64s(*args), v["uniform"], v["normal"]):
                self.assertEqual((number >> 11) * 2**-53, uniform)
                expected = normal.inv_cdf(((number >> 12) + 0.5) * 2**-52)
                self.assertTrue(math.isclose(quantile, expected, rel_tol=1e-14), quantile)

    def test_the_page_shows_what_its_example_says(self):
        def text(**parameters):
            stream = Stream(5, 2, n_epochs=2, **parameters)
            return " ".join(
                "".join(str(item) for item, _ in stream.batch(seq)) for seq in range(stream.batches)
            )

        shown = re.findall(r"`([0-9 ]{5,})`", (ROOT / "proto/ORDER.md").read_text())
        self.assertEqual(shown, [text(), text(epoch_border="cross"), text(drop_last=True)])

    def test_shards_share_every_epoch(self):
        """Every position in one shard's full share, and equally many batches for all."""
        for n in range(1, 14):
            for k in range(1, 6):
                for cross in ("stop", "cross"):
                    shards = [
                        Stream(n, 2, n_epochs=2, epoch_border=cross, shard_index=i, shard_count=k)
                        for i in range(k)
                    ]
                    self.assertEqual(len({s.batches for s in shards}), 1)
                    taken = {
                        pair for s in shards for seq in range(s.batches) for pair in s.batch(seq)
                    }
                    self.assertEqual(taken, {(item, e) for item in range(n) for e in range(2)})


if __name__ == "__main__":
    unittest.main()
