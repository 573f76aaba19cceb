#!/usr/bin/env python3
"""dataloader.py -- batches of PyTorch's DataLoader: worker processes on this machine, shared memory
instead of a network.

The sampler draws whole batches, so that a worker gathers a batch with one indexing instead of one
call for each item.
"""

import glob
import itertools
import os
import sys
import time

import peer

WORKERS, PREFETCH_FACTOR = 2, 8
# What pip has for this machine brings the CUDA libraries, over 2 GB; Debian has a build for CPUs,
# for its own Python.
DEBIAN_PYTHON = "/usr/bin/python3"


def make(torch, work):
    class Items(torch.utils.data.Dataset):
        def __init__(self):
            if work.item_bytes == 8:
                self.data = torch.arange(work.items)
            else:  # random bits but the highest of the exponent
                shape = (work.items, work.item_bytes // 4)
                bits = torch.randint(-(2**31), 2**31, shape, dtype=torch.int32)
                self.data = (bits & ~(1 << 30)).view(torch.float32)

        def __getitem__(self, indices):
            batch = self.data[indices]
            for _ in range(work.actions):
                batch = noop(batch)
            return batch

        def __len__(self):
            return work.items

    class Shuffled(torch.utils.data.Sampler):
        def __init__(self):
            pass

        def __iter__(self):
            for _ in range(work.epochs):
                order = torch.randperm(work.items).tolist()
                for at in range(0, work.items, work.batch_items):
                    yield order[at : at + work.batch_items]

    return torch.utils.data.DataLoader(
        Items(),
        sampler=Shuffled(),
        batch_size=None,
        num_workers=WORKERS,
        prefetch_factor=PREFETCH_FACTOR,
    )


def make_pictures(torch, work):
    """A picture for each item: decoded whole by torchvision, which cannot decode a part."""
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms import RandomResizedCrop
    from torchvision.transforms.functional import hflip, normalize, resize

    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

    class Pictures(torch.utils.data.Dataset):
        def __init__(self):
            self.paths = sorted(glob.glob(peer.pictures() + "/*/*.jpg"))

        def __getitem__(self, index):
            image = decode_jpeg(read_file(self.paths[index]), mode=ImageReadMode.RGB)
            top, left, height, width = RandomResizedCrop.get_params(
                image, (0.08, 1), (3 / 4, 4 / 3)
            )
            image = image[:, top : top + height, left : left + width]
            image = resize(image, [224, 224], antialias=True)
            if torch.rand(1) < 0.5:
                image = hflip(image)
            if work.variant == "f32":
                image = normalize(image.float().div_(255), mean, deviation, inplace=True)
            return image

        def __len__(self):
            return work.items

    sampler = torch.utils.data.RandomSampler(
        range(work.items), num_samples=work.batches * work.batch_items, replacement=True
    )
    return torch.utils.data.DataLoader(
        Pictures(),
        batch_size=work.batch_items,
        sampler=sampler,
        num_workers=WORKERS,
        prefetch_factor=2,
    )


def noop(batch):
    return batch


def measure(torch, work):
    batches = 0
    batches_made = make_pictures(torch, work) if work.name == "images" else make(torch, work)
    for _ in itertools.islice(batches_made, work.batches):
        if batches == 0:
            start = time.perf_counter()
        batches += 1
    seconds = time.perf_counter() - start
    peer.expect(batches, work)
    return (batches - 1) / seconds


def main():
    try:
        import torch
    except ImportError as error:
        if sys.executable != DEBIAN_PYTHON and os.access(DEBIAN_PYTHON, os.X_OK):
            os.execv(DEBIAN_PYTHON, [DEBIAN_PYTHON, *sys.argv])
        peer.unavailable(error)
        return
    torch.set_num_threads(1)
    peer.serve(
        f"torch {torch.__version__}: DataLoader, {WORKERS} workers, prefetch_factor "
        f"{PREFETCH_FACTOR}, whole batches sampled and gathered at once; local, no network",
        lambda work: measure(torch, work),
    )


if __name__ == "__main__":
    main()
