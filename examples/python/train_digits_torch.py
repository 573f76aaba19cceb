"""Trains on the digits with PyTorch; killed at any moment, it goes on where its checkpoint is.

python3 train_digits_torch.py                          # pipelines in this process
python3 train_digits_torch.py tcp://127.0.0.1:7310     # of `batchmill serve pipelines.yaml`
"""

import os
import pathlib
import sys

import torch

import batchmill.torch

TARGET = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("pipelines.yaml")
CHECKPOINT, EPOCHS = "checkpoint.pt", 15

torch.manual_seed(1)
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
dataset = batchmill.torch.Dataset(TARGET, "train", batch_size=32, shuffle=7)
loader = torch.utils.data.DataLoader(dataset, batch_size=None)
begin = 0

if os.path.exists(CHECKPOINT):
    saved = torch.load(CHECKPOINT)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    dataset.load_state_dict(saved["data"])
    begin = saved["data"]["epoch"]

for epoch in range(begin, EPOCHS):
    if dataset.state_dict()["epoch"] != epoch:
        dataset.set_epoch(epoch)
    for number, batch in enumerate(loader):
        loss = torch.nn.functional.cross_entropy(model(batch["pixels"]), batch["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if number % 10 == 9:  # model and position in one file, replaced in one piece
            saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**saved, "data": dataset.state_dict()}, CHECKPOINT + ".new")
            os.replace(CHECKPOINT + ".new", CHECKPOINT)
    print(f"epoch {epoch}: loss {loss.item():.3f}")

right = total = 0
with torch.no_grad():
    for batch in batchmill.torch.Dataset(TARGET, "test", batch_size=64):
        right += (model(batch["pixels"]).argmax(1) == batch["label"]).sum().item()
        total += len(batch["label"])
print(f"test accuracy {right / total:.1%}")
