"""That the judge of ./dev faults sees what it is there to see."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from mill import END, RECORD, Judgement, read_records  # pylint: disable=wrong-import-position

EXPECTED = [100, 101, 102, 103]


def judged(*batches):
    """`batches`: (seq, digest) or (seq, digest, code); the end follows."""
    with tempfile.NamedTemporaryFile() as file:
        for seq, digest, *code in batches:
            file.write(RECORD.pack(seq, digest, 0, code[0] if code else 0, 0, b""))
        file.write(RECORD.pack(4, 0, 0, END, 0, b"") + b"cut off")
        file.flush()
        judgement = Judgement()
        judgement.add(pathlib.Path(file.name), "p", EXPECTED)
        return judgement


class Judge(unittest.TestCase):
    def expect(self, judgement, **counts):
        for name in ("lost", "repeated", "disordered", "wrong"):
            self.assertEqual(getattr(judgement, name), counts.get(name, 0), name)
        self.assertEqual(judgement.perfect(), not counts and not judgement.failed)

    def test_all_in_order_is_perfect(self):
        self.expect(judged((0, 100), (1, 101), (2, 102), (3, 103)))

    def test_a_batch_that_is_not_there_is_lost(self):
        self.expect(judged((0, 100), (1, 101), (3, 103)), lost=1)
        self.expect(judged((0, 100), (1, 101), (2, 102)), lost=1)

    def test_a_batch_that_comes_twice_is_repeated(self):
        self.expect(judged((0, 100), (1, 101), (1, 101), (2, 102), (3, 103)), repeated=1)

    def test_a_batch_that_comes_late_is_out_of_order(self):
        self.expect(judged((0, 100), (2, 102), (1, 101), (3, 103)), disordered=1)

    def test_other_bytes_are_wrong_also_beyond_the_end(self):
        self.expect(judged((0, 100), (1, 7), (2, 102), (3, 103)), wrong=1)
        self.expect(judged((0, 100), (1, 101), (2, 102), (3, 103), (4, 104)), wrong=1)

    def test_a_failed_batch_is_neither_lost_nor_good(self):
        judgement = judged((0, 100), (1, 0, 15), (2, 102), (3, 103))
        self.expect(judgement)
        self.assertEqual(judgement.failed, [("p", 1, 15)])
        self.assertFalse(judgement.perfect())

    def test_a_record_that_is_cut_off_does_not_count(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(RECORD.pack(0, 100, 5, 0, 0, b"") + RECORD.pack(1, 101, 6, 0, 0, b"")[:-1])
            file.flush()
            self.assertEqual(read_records(pathlib.Path(file.name)), [(0, 100, 5, 0)])


if __name__ == "__main__":
    unittest.main()
