"""Does the action `brighten` for a server's pipelines. See pipelines.yaml beside this file."""

import sys

import batchmill


@batchmill.action("brighten")
def brighten(batch, ctx):
    out = ctx.empty("pixels", batch["pixels"].shape, "float32")
    out[:] = batch["pixels"] + ctx.params["amount"]
    return {"pixels": out}


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:7310"
    batchmill.worker(url, actions=[brighten], processes=2).run()
