#!/usr/bin/env python3
"""flight.py -- batches as Arrow Flight gives them: do_get of record batches, from a server process.

Python only sets the work up: numbers are shuffled, cut, sent, received and counted in C++; large
batches are gathered in C++, with a few calls of Python for each 8 MiB.
"""

import dataclasses
import json
import multiprocessing
import time

import peer


def shuffled_numbers(work):
    """A table of as many epochs as hold the batches, each shuffled anew."""
    import numpy
    import pyarrow

    random = numpy.random.default_rng(7)
    table = pyarrow.table({"x": pyarrow.array(range(work.items), pyarrow.int64())})
    epochs = [table.take(random.permutation(work.items)) for _ in range(work.epochs)]
    whole = pyarrow.concat_tables(epochs).combine_chunks()
    return whole.slice(0, work.batches * work.batch_items)


def noop(batch):
    return batch


def prepared(work, batches):
    """Each batch goes through the actions when its turn comes."""
    for batch in batches:
        for action in (noop,) * work.actions:
            batch = action(batch)
        yield batch


def blocks(work, data):
    """Gathers each batch from shuffled items."""
    import numpy
    import pyarrow

    random = numpy.random.default_rng(7)
    order, at = random.permutation(work.items), 0
    for _ in range(work.batches):
        if at + work.batch_items > work.items:
            order, at = random.permutation(work.items), 0
        yield data.take(pyarrow.array(order[at : at + work.batch_items]))
        at += work.batch_items


def run_server(told):
    import numpy
    import pyarrow
    from pyarrow import flight

    class Server(flight.FlightServerBase):
        data = None

        def blocks_of(self, work):
            if self.data is None or len(self.data) != work.items:
                random = numpy.random.default_rng(1)
                buffer = pyarrow.py_buffer(random.bytes(work.items * work.item_bytes))
                item = pyarrow.binary(work.item_bytes)
                array = pyarrow.FixedSizeBinaryArray.from_buffers(item, work.items, [None, buffer])
                self.data = pyarrow.record_batch({"x": array})
            return self.data

        def do_get(self, context, ticket):
            work = peer.Work(**json.loads(ticket.ticket))
            if work.item_bytes == 8:
                reader = shuffled_numbers(work).to_reader(work.batch_items)
                if work.variant == "table":
                    return flight.RecordBatchStream(reader)
                return flight.GeneratorStream(reader.schema, prepared(work, reader))
            data = self.blocks_of(work)
            return flight.GeneratorStream(data.schema, blocks(work, data))

    server = Server("grpc://127.0.0.1:0")
    told.send(server.port)
    server.serve()


def measure(client, work):
    from pyarrow import flight

    ticket = flight.Ticket(json.dumps(dataclasses.asdict(work)).encode())
    reader = client.do_get(ticket)
    first = reader.read_chunk().data
    start = time.perf_counter()
    rows = first.num_rows
    for chunk in reader:  # read_all(), without a step in Python for each batch, is slower
        rows += chunk.data.num_rows
    seconds = time.perf_counter() - start
    peer.expect(rows / work.batch_items, work)
    return (work.batches - 1) / seconds


def main():
    try:
        import pyarrow
        from pyarrow import flight
    except ImportError as error:
        peer.unavailable(error)
        return
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=run_server, args=(theirs,), daemon=True).start()
    client = flight.connect(f"grpc://127.0.0.1:{ours.recv()}")
    peer.serve(
        f"pyarrow {pyarrow.__version__}: do_get; small batches: a "
        "table shuffled beforehand and cut in C++, with actions a generator in Python; "
        "large batches gathered by RecordBatch.take; IPC without compression, no TLS",
        lambda work: measure(client, work),
    )


if __name__ == "__main__":
    main()
