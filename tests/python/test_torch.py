"""PyTorch: the same training, here, at a server, and through kill -9 of both."""

import hashlib
import json
import os
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
from conftest import python, serving

import batchmill

torch = pytest.importorskip("torch")
import batchmill.torch  # noqa: E402 -- only where there is one

TRAINER = """
import hashlib, json, os, sys
import torch
import batchmill.torch

target, checkpoint = sys.argv[1:3]
epochs, kill_after = (int(text) for text in sys.argv[3:5])
torch.manual_seed(1)
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
dataset = batchmill.torch.Dataset(target, "train", 32, shuffle=7, prefetch=3)
epoch, digests = 0, []
if os.path.exists(checkpoint):
    saved = torch.load(checkpoint)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    epoch, digests = saved["data"]["epoch"], saved["digests"]
    dataset.load_state_dict(saved["data"])
for epoch in range(epoch, epochs):
    if dataset.state_dict()["epoch"] != epoch:
        dataset.set_epoch(epoch)
    for batch in torch.utils.data.DataLoader(dataset, batch_size=None):
        digests.append(hashlib.sha1(batch["pixels"].numpy().tobytes()).hexdigest())
        loss = torch.nn.functional.cross_entropy(model(batch["pixels"]), batch["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if len(digests) % 10 == 0:
            saved = dict(model=model.state_dict(), optimizer=optimizer.state_dict(),
                         data=dataset.state_dict(), digests=digests)
            torch.save(saved, checkpoint + ".new")
            os.replace(checkpoint + ".new", checkpoint)
        if len(digests) == kill_after:
            print("killed", flush=True)
            os.kill(os.getpid(), 9)
right = total = 0
with torch.no_grad():
    for batch in batchmill.torch.Dataset(target, "test", 64):
        right += (model(batch["pixels"]).argmax(1) == batch["label"]).sum().item()
        total += len(batch["label"])
digest = hashlib.sha1("".join(digests).encode()).hexdigest()
print(json.dumps([right / total, digest, len(digests)]))
"""
EPOCHS = 15


def train(target, checkpoint, kill_after=0):
    arguments = [str(target), str(checkpoint), str(EPOCHS), str(kill_after)]
    child = python(TRAINER, *arguments, stdout=subprocess.PIPE)
    out, _ = child.communicate(timeout=120)
    return child.returncode, out.split("\n")[0]


def test_a_training_learns_the_digits_through_kills_of_trainer_and_server(tmp_path, configuration):
    with serving(tmp_path) as server:
        undisturbed = train(server.url, tmp_path / "a")
        assert undisturbed[0] == 0
        accuracy, _, batches = json.loads(undisturbed[1])
        assert accuracy >= 0.95 and batches == EPOCHS * 45
        assert train(server.url, tmp_path / "b", 77) == (-9, "killed")
        server.kill()
        server.start()
        assert train(server.url, tmp_path / "b", 333) == (-9, "killed")
        assert train(server.url, tmp_path / "b") == undisturbed
        assert train(configuration, tmp_path / "c") == undisturbed


def of_all(dataset, **options):
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, **options)
    return [batch["label"].tolist() for batch in loader]


@pytest.fixture
def dataset(server):
    return batchmill.torch.Dataset(server.url, "digits", 64, shuffle=3)


@pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])
def test_workers_of_a_loader_give_the_same_batches_in_the_same_order(server, start):
    # In a process of its own: forks of this one, which has opened mills, are refused.
    code = (
        "import sys, torch, batchmill.torch\n"
        "def labels(n, **options):\n"
        "    dataset = batchmill.torch.Dataset(sys.argv[1], 'digits', 64, shuffle=3)\n"
        "    options.update(batch_size=None, num_workers=n)\n"
        "    loader = torch.utils.data.DataLoader(dataset, **options)\n"
        "    return [batch['label'].tolist() for batch in loader]\n"
        "if __name__ == '__main__':\n"
        "    two = labels(2, multiprocessing_context=sys.argv[2])\n"
        "    print(two == labels(0), len(two))\n"
    )
    path = pathlib.Path(server.log).with_name(f"loader_{start}.py")
    path.write_text(code)
    done = subprocess.run(
        [sys.executable, str(path), server.url, start],
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == ["True", "29"]


def test_epochs_have_permutations_of_their_own(dataset, mill):
    whole = [b["label"].tolist() for b in mill.gen_batch("digits", 64, shuffle=3, n_epochs=3)]
    assert len(dataset) == 29
    for epoch in (2, 0, 1):
        dataset.set_epoch(epoch)
        assert of_all(dataset) == whole[29 * epoch : 29 * (epoch + 1)]


def test_a_state_goes_on_behind_the_last_batch(dataset):
    dataset.set_epoch(1)
    whole = of_all(dataset)
    iterator = iter(dataset)
    begin = [next(iterator)["label"].tolist() for _ in range(11)]
    state = pickle.loads(pickle.dumps(dataset.state_dict()))
    again = pickle.loads(pickle.dumps(dataset))
    again.load_state_dict(state)
    assert begin + of_all(again) == whole


def test_shards_share_the_items_and_are_equally_many(server, monkeypatch):
    seen = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        shard = batchmill.torch.Dataset(server.url, "numbers", 50, shuffle=1)
        batches = [batch["value"].tolist() for batch in shard]
        assert len(batches) == len(shard) == 7
        seen += sum(batches, [])
    assert set(seen) == set(range(1000)) and len(seen) <= 1002


def test_tensors_share_memory_with_the_batch(mill):
    batch = next(mill.gen_batch("digits", 8))
    made = batchmill.torch.tensors(batch)
    assert made["pixels"].data_ptr() == batch["pixels"].ctypes.data
    assert torch.from_dlpack(batch["pixels"]).data_ptr() == batch["pixels"].ctypes.data
    made["pixels"].fill_(5)
    assert (batch["pixels"] == 5).all()
    kept = made["pixels"][3:]
    del batch, made
    assert kept.sum().item() == 5 * 64 * 5
    assert batchmill.torch.tensors(next(mill.gen_batch("lines", 2)))["text"][0].startswith("line 0")


def test_senseless_arguments_are_named():
    with pytest.raises(ValueError, match="shuffle"):
        batchmill.torch.Dataset("tcp://127.0.0.1:1", "digits", 64, shuffle=True)
    with pytest.raises(ValueError, match="n_epochs"):
        batchmill.torch.Dataset("tcp://127.0.0.1:1", "digits", 64, n_epochs=3)
