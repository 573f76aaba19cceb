"""Real servers for the tests of the Python package: processes, on sockets in a temporary folder."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("BATCHMILL", str(ROOT / "build" / "dev" / "batchmill"))

CONFIGURATION = """
sources:
  digits:
    csv:
      path: {root}/examples/digits/digits.csv.gz
      header: false
      components:
        pixels: {{columns: 0-63, dtype: uint8}}
        label: {{columns: 64, dtype: int64}}
  train: {{split: {{source: digits, seed: 3, parts: {{train: 0.8, test: 0.2}}, part: train}}}}
  test: {{split: {{source: digits, seed: 3, parts: {{train: 0.8, test: 0.2}}, part: test}}}}
  numbers: {{range: {{n: 1000, component: value}}}}
  large: {{npy: {{components: {{value: {folder}/large.npy}}}}}}
  lines: {{text: {{path: {folder}/lines.txt}}}}

remote_actions:
  brighten:
    writes: {{pixels: {{like: pixels}}}}
    params: {{amount: 1.0, sleep: 0.0, fail_at: -1}}
  noisy:
    random: true
    writes: {{noise: {{dtype: float64, shape: [2]}}}}
  words:
    writes:
      word: {{dtype: string}}
      runs: {{dtype: int32, ragged: true}}
  doubled:
    writes: {{x: {{like: value}}}}
    version: "2"
  late:
    writes: {{z: {{dtype: float32}}}}
    deadline: 0.3
  deadly:
    writes: {{z: {{dtype: float32}}}}
    attempts: 3

pipelines:
  digits:
    source: digits
    actions:
      - accumulate: {{component: pixels}}
      - cast: {{components: pixels, dtype: float32}}
      - scale: {{components: pixels, factor: 0.0625}}
  train:
    source: train
    actions:
      - cast: {{components: pixels, dtype: float32}}
      - scale: {{components: pixels, factor: 0.0625}}
  test:
    source: test
    actions:
      - cast: {{components: pixels, dtype: float32}}
      - scale: {{components: pixels, factor: 0.0625}}
  bright:
    source: digits
    actions:
      - cast: {{components: pixels, dtype: float32}}
      - brighten: {{amount: 0.5}}
  slow:
    source: digits
    actions: [{{cast: {{components: pixels, dtype: float32}}}}, {{brighten: {{sleep: 0.02}}}}]
  failing:
    source: digits
    actions: [{{cast: {{components: pixels, dtype: float32}}}}, {{brighten: {{fail_at: 3}}}}]
  locked:
    source: digits
    actions:
      - cast: {{components: pixels, dtype: float32}}
      - brighten: {{sleep: 0.002}}
        use_lock: gpu0
  noisy: {{source: numbers, actions: [noisy]}}
  words: {{source: numbers, actions: [words]}}
  late: {{source: numbers, actions: [late]}}
  deadly: {{source: numbers, actions: [deadly]}}
  doubled: {{source: large, actions: [doubled]}}
  large: {{source: large}}
  lines: {{source: lines}}
  numbers: {{source: numbers}}
"""


def write_configuration(folder: pathlib.Path) -> pathlib.Path:
    (folder / "lines.txt").write_text("".join(f"line {i} — é{'x' * (i % 5)}\n" for i in range(50)))
    np.save(folder / "large.npy", np.arange(64 * 16384, dtype=np.float64).reshape(64, 16384))
    path = folder / "pipelines.yaml"
    path.write_text(CONFIGURATION.format(root=ROOT, folder=folder))
    return path


class Server:
    """`batchmill serve` at a Unix socket; it can be killed and started again there."""

    def __init__(self, folder: pathlib.Path, *options: str) -> None:
        self.url = f"ipc://{folder}/server.sock"
        self.configuration = write_configuration(folder)
        self.log = folder / "server.log"
        self.options = options
        self.start()

    def start(self) -> None:
        command = [PROGRAM, "serve", str(self.configuration), "--listen", self.url, *self.options]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)
        self.wait_for("event=listening", self.log.read_text().count("event=listening") + 1)

    def wait_for(self, text: str, count: int = 1, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while self.log.read_text().count(text) < count:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, f"{text} is not in {self.log.read_text()}"
            time.sleep(0.01)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(40) == 0, self.log.read_text()


@contextlib.contextmanager
def serving(folder: pathlib.Path, *options: str):
    server = Server(folder, *options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server"), "--allow-register") as running:
        yield running


@pytest.fixture(scope="session")
def configuration(tmp_path_factory):
    return write_configuration(tmp_path_factory.mktemp("embedded"))


@pytest.fixture
def mill(server):
    import batchmill

    with batchmill.open(server.url) as opened:
        yield opened


def python(code: str, *args: str, **options) -> subprocess.Popen:
    """A Python of its own, with the package."""
    return subprocess.Popen([sys.executable, "-c", code, *args], text=True, **options)
