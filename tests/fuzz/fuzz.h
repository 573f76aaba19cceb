// fuzz.h -- what every target in this folder defines, and what several use. Layer: tests.
//
// A target asserts what must hold whatever the input is, with BM_ASSERT: it stops the program, and
// both libFuzzer and replay.c then know the input. What an input may cost is bounded: `./dev fuzz`
// lets one take 5 s, and allocate 64 MiB at once.
// Threads: one thread.
#pragma once
#include "pipeline/pipeline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// ---- Bytes that give choices ----

struct fuzz_bytes {
    const uint8_t *at, *end;
};
uint64_t fuzz_take(struct fuzz_bytes *bytes, unsigned nbytes); // little-endian; 0s at the end

// ---- Files, in memory and without a name ----

struct fuzz_file {
    int fd;
    char path[32];
};
void fuzz_file_open(struct fuzz_file *file, const void *data, size_t size);
void fuzz_file_close(struct fuzz_file *file);
// A few bytes of zstd become gigabytes, which is no fault: targets leave such files alone.
bool fuzz_is_zstd(const uint8_t *data, size_t size);

// ---- Errors, values, sources ----

struct bm_registry *fuzz_registry(void);         // with all built-in types
void fuzz_refused(const struct bm_error *error); // asserts that it tells something

// Opens what `yaml` says, such as "{csv: {path: a.csv}}"; false: it was refused, with a reason.
bool fuzz_source_open(const char *yaml, struct bm_source_ref **ret_source, struct bm_error *err);

enum { FUZZ_ITEMS_MAX = 64 };
struct fuzz_rows { // items of a source, read
    struct bm_batch batch;
    uint64_t items[FUZZ_ITEMS_MAX], epochs[FUZZ_ITEMS_MAX];
};
// Reads these items and asserts that what came fits the schema. The caller calls
// bm_batch_fini(&rows->batch).
void fuzz_source_read(const struct bm_source *source, const uint64_t *items, uint64_t nitems,
                      struct fuzz_rows *rows);
// The same for sources that look at a row only when it is read: false, and nothing to free, if they
// refuse it.
bool fuzz_source_try_read(const struct bm_source *source, const uint64_t *items, uint64_t nitems,
                          struct fuzz_rows *rows);
void fuzz_batch_check(const struct bm_batch *batch); // sizes, offsets, texts
