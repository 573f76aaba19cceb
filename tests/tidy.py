#!/usr/bin/env python3
"""tidy.py -- keeps true what no compiler checks: who may include whom, and how a file looks.

Run by ctest as `lint.layers`; by hand: python3 tests/tidy.py [root]. tests/test_tidy.py shows
that each rule can fail.
"""

import pathlib
import re
import sys

LINES_MAX, COLUMNS_MAX = 800, 100

# Folder -> what a file there may include in quotes, besides its own folder.
SRC = (
    "base/",
    "net/",
    "image/",
    "data/",
    "pipeline/",
    "actions/",
    "sources/",
    "plugin/",
    "remote/",
    "run/",
)
MAY_INCLUDE = {
    "src/base": (),
    "src/net": ("base/",),
    "src/image": ("base/",),
    "src/data": ("base/",),
    "src/pipeline": ("base/", "data/"),
    "src/actions": ("base/", "image/", "data/", "pipeline/"),
    "src/sources": ("base/", "data/", "pipeline/"),
    "src/run": ("base/", "data/", "pipeline/"),
    "src/plugin": ("base/", "data/", "pipeline/"),
    "src/remote": ("base/", "data/", "pipeline/", "run/executor.h"),
    "server": SRC + ("batchmill/v1/",),
    "client/c": (
        "base/",
        "net/",
        "data/dtype.h",
        "data/shared.h",
        "data/mapped.h",
        "batchmill/client.h",
        "batchmill/lend.h",
        "batchmill/v1/",
    ),
    "client/cli": SRC + ("server/", "batchmill/client.h"),
    "client/python": ("server/embedded.h", "batchmill/client.h", "batchmill/lend.h"),
    "examples/c": ("batchmill/client.h", "batchmill/lend.h"),
}

# Header of an outside library or of one of our own -> the only files that may include it.
ONLY_IN = {
    r"<nng/.*>": r"server/transport\w*\.[ch]|client/c/transport\w*\.[ch]|server/http\.c|tests/.*",
    r"<pthread\.h>": r"src/base/(mutex|thread)\.[ch]|src/run/pool\.c|tests/.*",
    r"<threads\.h>": r"",
    r"<dlfcn\.h>": r"src/plugin/load\.c",
    r".*\.pb-c\.h.": r"server/codec\w*\.[ch]|server/position\.c|client/c/codec\w*\.[ch]|tests/.*",
    r"<protobuf-c/.*>": r"server/codec\w*\.[ch]|client/c/codec\w*\.[ch]|tests/.*",
    r"<yaml\.h>": r"server/config_yaml\.c",
    r"<jansson\.h>": r"client/cli/(json|list|spans|status|types)\.c|src/sources/jsonl\.c",
    r"<zlib\.h>": r"src/sources/(gzip|csv|zip)\.c",
    r"<zstd\.h>": r"src/sources/zstd\.c|tests/.*",
    r"<lmdb\.h>": r"src/sources/lmdb\.c|tests/.*",
    r"<sqlite3\.h>": r"src/sources/sqlite\w*\.[ch]|tests/.*",
    r"<lz4frame\.h>": r"src/sources/lz4\.c",
    r"<(jpeglib|jerror|setjmp)\.h>": r"src/image/jpeg\.c|tests/.*",
    r"<spng\.h>": r"src/image/png\.c|tests/.*",
    r"<immintrin\.h>": r"src/image/kernels_x86\.c",
    r"<openssl/.*>": r"src/net/tls\.c|tests/.*",
    r"<xxhash\.h>": r"src/base/hash\.c",
    r"<uthash\.h>": r"server/.*|.*\.c",
    r"<cmocka\.h>": r"tests/support\.h",
    # The engine tells its caller; only programs and servers write a log.
    r'"base/log\.h"': r"src/base/log\.c|server/.*|client/cli/.*|tests/.*",
}

# The pure parts: no socket, no waiting for one.
PURE = r"src/(?!net/).*|server/session\w*\.[ch]"
IMPURE_HEADER = r"<(nng/.*|netdb|netinet/.*|arpa/.*|poll|sys/(socket|un|epoll|select))(\.h)?>"

# What a line may not hold: (files, pattern, what to do instead).
FORBIDDEN = [
    (r".*", r"\b(TODO|FIXME|XXX)\b", "finish it, or leave it out"),
    (r".*\.[ch]", r"(^|\s)/\*", "comments begin with //"),
    (r".*\.[ch]", r"^\s*typedef (struct|enum|union)\b", "write `struct name`, without a typedef"),
    (r"tests/unit/.*", r"\b(sleep|usleep|nanosleep)\(", "use the fake clock"),
]

FOLDERS = ("src", "server", "client", "tests", "examples", "proto", "cmake")
SUFFIXES = {".c", ".h", ".py", ".sh", ".proto", ".cmake"}
RULES_THEMSELVES = {"tests/tidy.py", "tests/test_tidy.py"}  # they spell what is forbidden


def include_problems(name, folder, target):
    """target is what stands after #include: <x.h> or "x.h"."""
    for header, files in ONLY_IN.items():
        if re.fullmatch(header, target) and not re.fullmatch(files, name):
            yield f"{target} belongs in {files or 'no file'}"
    if re.fullmatch(PURE, name) and re.fullmatch(IMPURE_HEADER, target):
        yield f"{target}: this part knows no socket"
    if folder not in MAY_INCLUDE or target[0] != '"':
        return
    path = target.strip('"')
    own = folder.removeprefix("src/") + "/"
    private = folder.startswith("client/") and "/" not in path
    if not private and not path.startswith((own,) + MAY_INCLUDE[folder]):
        allowed = ", ".join((own,) + MAY_INCLUDE[folder])
        yield f"{folder} may include {allowed}; got {target}"


def head_problems(path, name, lines):
    """A header's first comment says what it is, where it belongs and who may call it."""
    if not lines or not re.match(rf"// {re.escape(path.name)} -- \S", lines[0]):
        yield f"1: expected `// {path.name} -- one sentence.`"
    head = []
    for line in lines:
        if not line.startswith("//"):
            break
        head.append(line)
    for word in ("Layer:", "Threads:") if not name.startswith("tests/") else ():
        if word not in " ".join(head):
            yield f"1: expected `{word} ...` in the comment at the head"


def file_problems(path, name):
    lines = path.read_text(encoding="utf-8").splitlines()
    folder = str(pathlib.PurePosixPath(name).parent)
    if name.startswith("client/c/include/"):
        folder = "client/c/include"
    if len(lines) > LINES_MAX:
        yield f"{name}: {len(lines)} lines, at most {LINES_MAX}: split the file"
    if path.suffix == ".h":
        for problem in head_problems(path, name, lines):
            yield f"{name}:{problem}"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS_MAX:
            yield f"{name}:{number}: {len(line)} columns, at most {COLUMNS_MAX}"
        include = re.match(r'#\s*include\s*(<[^>]+>|"[^"]+")', line)
        if include and path.suffix in (".c", ".h"):
            for problem in include_problems(name, folder, include[1]):
                yield f"{name}:{number}: {problem}"
        for files, pattern, remedy in FORBIDDEN:
            if name in RULES_THEMSELVES or not re.fullmatch(files, name):
                continue
            if found := re.search(pattern, line):
                yield f"{name}:{number}: `{found[0].strip()}`: {remedy}"


def problems(root):
    paths = (path for folder in FOLDERS for path in (root / folder).rglob("*"))
    for path in sorted(path for path in paths if path.suffix in SUFFIXES and path.is_file()):
        yield from file_problems(path, path.relative_to(root).as_posix())


if __name__ == "__main__":
    default = pathlib.Path(__file__).resolve().parent.parent
    found = list(problems(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default))
    print("\n".join(found) or "tidy")
    sys.exit(bool(found))
