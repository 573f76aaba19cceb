"""Unshuffled sequences are BatchFlow's, item for item.

BatchFlow lets a batch cross the border of an epoch unless ``drop_last``, which here is
``epoch_border="cross"``. Shuffled ones differ by design: there each epoch's permutation is a power
of the first one's, here each is its own.
"""

import itertools

import pytest
from conftest import ROOT  # noqa: F401 -- makes the folder a place for tests

import batchmill

batchflow = pytest.importorskip("batchflow")
N = 37


@pytest.fixture(scope="module")
def mill(tmp_path_factory):
    path = tmp_path_factory.mktemp("order") / "pipelines.yaml"
    path.write_text(f"sources: {{s: {{range: {{n: {N}}}}}}}\npipelines: {{p: {{source: s}}}}\n")
    with batchmill.open(path) as opened:
        yield opened


def theirs(batch_size, drop_last, n_epochs, n_iters):
    index = batchflow.DatasetIndex(N)
    made = index.gen_batch(
        batch_size, shuffle=False, n_iters=n_iters, n_epochs=n_epochs, drop_last=drop_last
    )
    return [list(map(int, batch.indices)) for batch in made]


@pytest.mark.parametrize("drop_last", [False, True])
def test_sequences_are_those_of_batchflow(mill, drop_last):
    lengths = [(1, None), (2, None), (3, None), (None, 1), (None, 7), (None, 41)]
    for batch_size, (n_epochs, n_iters) in itertools.product([1, 2, 5, 12, 36, 37], lengths):
        border = "stop" if drop_last else "cross"
        ours = mill.gen_batch(
            "p",
            batch_size,
            drop_last=drop_last,
            epoch_border=border,
            n_epochs=n_epochs,
            n_iters=n_iters,
            prefetch=2,
        )
        case = (batch_size, drop_last, n_epochs, n_iters)
        assert [batch["x"].tolist() for batch in ours] == theirs(*case), case
