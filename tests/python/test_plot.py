"""Progress and pictures."""

import io
import json
import subprocess

import pytest
from conftest import PROGRAM, ROOT

import batchmill


def test_a_bar_says_how_far_it_is_and_for_whom_it_waits(mill, monkeypatch, capsys):
    tqdm = pytest.importorskip("tqdm.auto")
    assert len(list(mill.gen_batch("digits", 64, progress=True))) == 29
    shown = capsys.readouterr().err
    assert "29/29" in shown and "batch" in shown and "waiting for" in shown
    assert mill.run("digits", 64, progress=True).batches == 29
    assert "29" in capsys.readouterr().err
    assert tqdm is not None


def test_a_timeline_shows_batches_steps_and_waits(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import batchmill.plot

    config = ROOT / "examples/digits/pipelines.yaml"
    with batchmill.open(config) as mill:
        with mill.gen_batch("digits-locked", 64, n_iters=9, prefetch=7, traced=True) as stream:
            axes = batchmill.plot.timeline(stream)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "read" in labels[0] and "waits for its lock" in labels
    assert [text.get_text() for text in axes.get_yticklabels()] == [str(i) for i in range(9)]
    picture = io.BytesIO()
    axes.figure.savefig(picture, dpi=110)
    assert len(picture.getvalue()) > 10_000
    command = [PROGRAM, "trace", "digits-locked", "--config", str(config), "--batch-size", "64"]
    trace = tmp_path / "trace.json"
    subprocess.run([*command, "--prefetch", "7"], cwd=tmp_path, check=True)
    json.loads(trace.read_text())
    assert batchmill.plot.timeline(trace).get_legend() is not None
    with pytest.raises(batchmill.InvalidArgument, match="traced=True"):
        batchmill.plot.timeline([1])
