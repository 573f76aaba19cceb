"""peer.py -- how a peer of the benchmark talks: see peer.c."""

import dataclasses
import os
import sys


@dataclasses.dataclass
class Work:
    name: str  # of the row
    items: int
    item_bytes: int
    batch_items: int
    batches: int
    actions: int  # that do nothing
    variant: str

    @property
    def batch_bytes(self):
        return self.batch_items * self.item_bytes

    @property
    def epochs(self):
        """As many as hold all batches."""
        return -(-self.batches * self.batch_items // self.items)


def read_work(line):
    name, *numbers, variant = line.split()
    return Work(name, *map(int, numbers), variant)


def one_line(text):
    return " ".join(str(text).split())[:200]


def unavailable(why):
    print("unavailable", one_line(why), flush=True)


def serve(settings, measure):
    """measure(work) -> batches a second, or also the seconds to the first batch; what it raises is
    why there is no figure."""
    print("ready", settings, flush=True)
    for line in sys.stdin:
        try:
            measured = measure(read_work(line))
            values = measured if isinstance(measured, tuple) else (measured,)
            print("value", *(f"{value:.6f}" for value in values), flush=True)
        except Exception as error:  # whatever a product raises
            print("error", one_line(error) or type(error).__name__, flush=True)


def pictures():
    """The folder of the benchmark's pictures; a folder in it for each class."""
    return os.path.abspath("build/bench-images")


def expect(batches, work):
    if batches != work.batches:
        raise RuntimeError(f"expected {work.batches} batches, got {batches}")
