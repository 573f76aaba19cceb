"""Trains a linear model on the digits with JAX, whose arrays take over the batches' memory.

python3 jax_digits.py [URL]
"""

import pathlib
import sys

import jax
import jax.numpy as jnp

import batchmill

TARGET = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("pipelines.yaml")


def loss(weights, pixels, labels):
    scores = jax.nn.log_softmax(pixels @ weights["w"] + weights["b"])
    return -jnp.take_along_axis(scores, labels[:, None], 1).mean()


@jax.jit
def step(weights, pixels, labels):
    gradients = jax.grad(loss)(weights, pixels, labels)
    return jax.tree_util.tree_map(lambda w, g: w - 0.5 * g, weights, gradients)


weights = {"w": jnp.zeros((64, 10)), "b": jnp.zeros(10)}
with batchmill.open(TARGET) as mill:
    for batch in mill.gen_batch("train", batch_size=32, shuffle=7, n_epochs=15, drop_last=True):
        weights = step(weights, jnp.from_dlpack(batch["pixels"]), jnp.asarray(batch["label"]))
    right = total = 0
    for batch in mill.gen_batch("test", batch_size=64):
        guess = (jnp.asarray(batch["pixels"]) @ weights["w"] + weights["b"]).argmax(1)
        right, total = right + int((guess == batch["label"]).sum()), total + len(batch)
print(f"test accuracy {right / total:.1%}")
