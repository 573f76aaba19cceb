#!/usr/bin/env python3
"""test_tidy.py -- each rule of tidy.py finds what it is for, and lets good files pass."""

import pathlib
import tempfile
import unittest

import tidy

HEAD = "// a.h -- what it is. Layer: x. Threads: any thread.\n"

GOOD = {
    "src/base/a.h": HEAD,
    "src/base/mutex.h": "// mutex.h -- x. Layer: base. Threads: any.\n#include <pthread.h>\n",
    "src/run/b.c": '#include "run/a.h"\n#include "base/a.h"\n#include <string.h>\n',
    "src/sources/gzip.c": "#include <zlib.h>\n",
    "server/codec.c": '#include "batchmill/v1/batchmill.pb-c.h"\n#include "run/a.h"\n',
    "server/transport_nng.c": "#include <nng/nng.h>\n",
    "client/c/tensor.c": '#include "data/dtype.h"\n#include "private.h"\n',
    "client/cli/json.c": '#include <jansson.h>\n#include "server/a.h"\n',
    "tests/support.h": "// support.h -- x.\n#include <cmocka.h>\n",
    "tests/unit/test_a.c": '#include "run/a.h"\n#include "server/a.h"\nx = 1; // a /b/ c\n',
}

# (file, its text, what the problem says)
BAD = [
    ("src/base/b.c", '#include "data/a.h"\n', 'src/base may include base/; got "data/a.h"'),
    ("src/data/b.c", '#include "pipeline/a.h"\n', "src/data may include"),
    ("src/pipeline/b.c", '#include "run/a.h"\n', "src/pipeline may include"),
    ("src/actions/b.c", '#include "sources/a.h"\n', "src/actions may include"),
    ("src/sources/b.c", '#include "run/a.h"\n', "src/sources may include"),
    ("src/run/b.c", '#include "actions/a.h"\n', "src/run may include"),
    ("src/run/b.c", '#include "../server/a.h"\n', "src/run may include"),
    ("src/run/b.c", '#include "a.h"\n', "src/run may include"),
    ("src/run/b.c", '#include "server/a.h"\n', "src/run may include"),
    ("server/b.c", '#include "client/c/a.h"\n', "server may include"),
    ("client/c/b.c", '#include "data/batch.h"\n', "client/c may include"),
    ("client/c/b.c", '#include "server/a.h"\n', "client/c may include"),
    ("client/cli/b.c", '#include "client/c/a.h"\n', "client/cli may include"),
    ("examples/c/b.c", '#include "base/a.h"\n', "examples/c may include"),
    ("server/b.c", "#include <nng/nng.h>\n", "<nng/nng.h> belongs in"),
    ("src/run/b.c", "#include <pthread.h>\n", "<pthread.h> belongs in"),
    ("src/run/b.c", "#include <threads.h>\n", "<threads.h> belongs in no file"),
    ("server/session.c", '#include "batchmill/v1/x.pb-c.h"\n', "belongs in"),
    ("server/session.c", "#include <protobuf-c/protobuf-c.h>\n", "belongs in"),
    ("server/config.c", "#include <yaml.h>\n", "<yaml.h> belongs in"),
    ("client/cli/b.c", "#include <jansson.h>\n", "<jansson.h> belongs in"),
    ("src/sources/npy.c", "#include <zlib.h>\n", "<zlib.h> belongs in"),
    ("src/data/b.c", "#include <xxhash.h>\n", "<xxhash.h> belongs in"),
    ("src/data/b.h", "// b.h -- x. Layer: x. Threads: x.\n#include <uthash.h>\n", "belongs in"),
    ("tests/unit/test_b.c", "#include <cmocka.h>\n", "<cmocka.h> belongs in"),
    ("src/run/b.c", '#include "base/log.h"\n', '"base/log.h" belongs in'),
    ("src/run/b.c", "#include <sys/socket.h>\n", "knows no socket"),
    ("server/session_run.c", "#include <poll.h>\n", "knows no socket"),
    ("server/b.c", "// TODO: later\n", "finish it"),
    ("server/b.c", "int a; /* one */\n", "comments begin with //"),
    ("server/b.c", "typedef struct b b;\n", "without a typedef"),
    ("tests/unit/test_b.c", "    usleep(10);\n", "use the fake clock"),
    ("server/b.c", "// " + "x" * 98 + "\n", "101 columns, at most 100"),
    ("server/b.c", "int a;\n" * 801, "801 lines, at most 800"),
    ("server/b.h", "// c.h -- x. Layer: x. Threads: x.\n", "expected `// b.h -- one sentence.`"),
    ("server/b.h", "// b.h -- x. Threads: any.\n", "expected `Layer: ...`"),
    ("server/b.h", "// b.h -- x. Layer: server.\n// y\n\n// Threads: any.\n", "`Threads: ...`"),
    ("tests/fakes/b.h", "#pragma once\n", "expected `// b.h -- one sentence.`"),
]


def found_in(files):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        return list(tidy.problems(root))


class TidyTest(unittest.TestCase):
    def test_good_files_pass(self):
        self.assertEqual(found_in(GOOD), [])

    def test_each_rule_finds_its_problem_and_says_where(self):
        for name, text, expected in BAD:
            with self.subTest(name=name, expected=expected):
                found = found_in(GOOD | {name: text})
                self.assertEqual(len(found), 1, found)
                self.assertIn(expected, found[0])
                self.assertTrue(found[0].startswith(name + ":"), found[0])


if __name__ == "__main__":
    unittest.main()
