"""Builds the package: scikit-build-core, and what a source distribution needs beside it.

In the repository the C sources are two folders up. A source distribution has them in `project/`,
which is where they are copied while one is made.
"""

import contextlib
import pathlib
import re
import shutil

from scikit_build_core.build import *  # noqa: F401,F403 -- the hooks
from scikit_build_core.build import build_sdist as _build_sdist

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
INSIDE = HERE / "project"
PARTS = [
    "CMakeLists.txt",
    "LICENSE",
    "cmake",
    "proto/batchmill",
    "src",
    "server",
    "client/c",
    "client/python/native",
]


def dynamic_metadata(field, settings=None):
    """The version, from the one place that has it."""
    cmake = INSIDE if INSIDE.exists() else REPOSITORY
    text = (cmake / "CMakeLists.txt").read_text()
    return re.search(r"project\(batchmill VERSION ([0-9.]+)", text).group(1)


@contextlib.contextmanager
def _sources():
    if INSIDE.exists():  # in a source distribution
        yield
        return
    try:
        for part in PARTS:
            there, here = REPOSITORY / part, INSIDE / part
            here.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if there.is_dir() else shutil.copy)(there, here)
        yield
    finally:
        shutil.rmtree(INSIDE, ignore_errors=True)


def build_sdist(sdist_directory, config_settings=None):
    with _sources():
        return _build_sdist(sdist_directory, config_settings)
