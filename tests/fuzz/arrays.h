// arrays.h -- what the targets npy and idx have in common. Layer: tests.
// Threads: one thread.
#pragma once
#include "fuzz/fuzz.h"

// Opens the bytes as a file of the source `type`. When that works: the rows are the bytes at the
// end of the file (each element reversed where `big_endian` holds), in whatever order they
// are asked for; and the same file in gzip has the same identity and the same rows.
void fuzz_array(const char *type, bool big_endian, const uint8_t *data, size_t size);
