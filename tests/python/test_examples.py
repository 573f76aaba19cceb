"""The programs of examples/python, as a user runs them."""

import importlib.util
import re
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.parametrize("program, needs", [("train_digits_torch", "torch"), ("jax_digits", "jax")])
def test_an_example_learns_the_digits(program, needs, tmp_path):
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    path = ROOT / "examples" / "python" / f"{program}.py"
    done = subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert float(re.search(r"accuracy ([\d.]+)%", done.stdout).group(1)) >= 93
