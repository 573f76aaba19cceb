#!/usr/bin/env python3
"""tfdata.py -- batches as the tf.data service gives them: a dispatcher, a worker and this consumer,
each a process.

The variant is the compression: `default` is what the service does when not told, else there is
none. For pictures it says how they are resized: antialiased, or `plain`, as TensorFlow does if not
told.
"""

import multiprocessing
import os
import time

import peer

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
OUTSTANDING = 16  # requests at a time: the default of 1 a worker gives a third of the small batches


def run_dispatcher(told):
    from tensorflow.data.experimental import service

    dispatcher = service.DispatchServer(service.DispatcherConfig(port=0))
    told.send(dispatcher.target)
    dispatcher.join()


def run_worker(target):
    from tensorflow.data.experimental import service

    address = target.split("://")[1]
    service.WorkerServer(service.WorkerConfig(dispatcher_address=address)).join()


def numbers(tf, work):
    batches = tf.data.Dataset.range(work.items).shuffle(work.items, seed=7).repeat()
    batches = batches.batch(work.batch_items, drop_remainder=True)
    for _ in range(work.actions):
        batches = batches.map(lambda batch: batch)
    return batches


def blocks(tf, work):
    """float32 items of random bits but the highest of the exponent, made once and kept."""

    def item(i):
        bits = tf.random.stateless_uniform(
            [work.item_bytes // 4], [1, tf.cast(i, tf.int32)], None, None, tf.int32
        )
        return tf.bitcast(tf.bitwise.bitwise_and(bits, ~(1 << 30)), tf.float32)

    items = tf.data.Dataset.range(work.items).map(item).cache()
    return items.shuffle(work.items, seed=7).repeat().batch(work.batch_items, drop_remainder=True)


def pictures(tf, work):
    """Random parts of JPEGs, of which only those are decoded, at 224 x 224, channels first."""
    mean = tf.constant([123.675, 116.28, 103.53])
    deviation = tf.constant([58.395, 57.12, 57.375])

    def picture(path):
        data = tf.io.read_file(path)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.io.extract_jpeg_shape(data),
            tf.zeros([1, 0, 4]),
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        window = tf.concat([begin[:2], size[:2]], 0)
        image = tf.io.decode_and_crop_jpeg(data, window, channels=3)
        image = tf.image.resize(image, [224, 224], antialias=not work.variant.endswith("plain"))
        image = tf.image.random_flip_left_right(image)
        if work.variant == "f32":
            image = (image - mean) / deviation
        else:
            image = tf.cast(tf.round(image), tf.uint8)
        return tf.transpose(image, [2, 0, 1])

    paths = tf.data.Dataset.list_files(peer.pictures() + "/*/*.jpg", shuffle=False)
    paths = paths.cache().shuffle(work.items, seed=7).repeat()
    images = paths.map(picture, num_parallel_calls=tf.data.AUTOTUNE)
    return images.batch(work.batch_items, drop_remainder=True)


def measure(tf, target, work):
    from tensorflow.data.experimental import service

    if work.name == "images":
        made = pictures(tf, work)
    else:
        made = numbers(tf, work) if work.item_bytes == 8 else blocks(tf, work)
    served = made.take(work.batches).prefetch(tf.data.AUTOTUNE)
    served = served.apply(
        service.distribute(
            processing_mode=service.ShardingPolicy.OFF,
            service=target,
            compression="AUTO" if work.variant == "default" else None,
            max_outstanding_requests=OUTSTANDING,
        )
    ).prefetch(tf.data.AUTOTUNE)
    batches = 0
    for _ in served:
        if batches == 0:
            start = time.perf_counter()
        batches += 1
    seconds = time.perf_counter() - start
    peer.expect(batches, work)
    return (batches - 1) / seconds


def main():
    try:
        import tensorflow as tf
    except ImportError as error:
        peer.unavailable(error)
        return
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=run_dispatcher, args=(theirs,), daemon=True).start()
    target = ours.recv()
    context.Process(target=run_worker, args=(target,), daemon=True).start()
    peer.serve(
        f"tensorflow {tf.__version__}: dispatcher, worker and consumer in a process each; shuffle "
        f"over all items, batch, map over batches, prefetch AUTOTUNE on both sides, "
        f"max_outstanding_requests {OUTSTANDING}, compression None (plain) or AUTO (default)",
        lambda work: measure(tf, target, work),
    )


if __name__ == "__main__":
    main()
