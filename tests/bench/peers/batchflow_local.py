#!/usr/bin/env python3
"""batchflow_local.py -- batches of BatchFlow's own prefetch: threads in the consumer's process, and
no network at all.
"""

import os
import time

import peer

PREFETCH = 8


def measure(batchflow, work):
    import numpy

    if work.item_bytes != 8:
        raise RuntimeError("only the row of small batches is compared")
    data = numpy.arange(work.items)

    class Numbers(batchflow.Batch):
        @batchflow.action
        def read(self):
            self.x = data[self.indices]
            return self

        @batchflow.action
        def noop(self):
            return self

    dataset = batchflow.Dataset(batchflow.DatasetIndex(work.items), batch_class=Numbers)
    pipeline = dataset.p.read()
    for _ in range(work.actions):
        pipeline = pipeline.noop()
    made = pipeline.gen_batch(work.batch_items, shuffle=7, n_iters=work.batches, prefetch=PREFETCH)
    batches = 0
    for _ in made:
        if batches == 0:
            start = time.perf_counter()
        batches += 1
    seconds = time.perf_counter() - start
    peer.expect(batches, work)
    return (batches - 1) / seconds


def main():
    try:
        import batchflow
    except ImportError as error:
        peer.unavailable(error)
        return
    peer.serve(
        f"batchflow {batchflow.__version__}: gen_batch with shuffle, prefetch {PREFETCH}, threads, "
        "in the consumer's process",
        lambda work: measure(batchflow, work),
    )
    os._exit(0)  # its threads do not end by themselves


if __name__ == "__main__":
    main()
