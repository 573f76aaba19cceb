// source_fixture.h -- opens a source from YAML in a temporary folder and reads items.
// Layer: tests. Threads: one thread; its asserts are cmocka's.
#pragma once
#include "pipeline/pipeline.h"

struct source_fixture {
    char directory[64];
    struct bm_registry *registry;
    struct bm_source_ref *ref;
    const struct bm_source *source; // of the last successful open
    struct bm_error error;          // of the last failure
    int64_t failed_row;             // of the last read, -1: none
    struct bm_batch batch;          // of the last read
    uint64_t *items;                // of the last read
};

void source_fixture_init(struct source_fixture *fixture);
void source_fixture_fini(struct source_fixture *fixture); // removes the folder with all in it
// `path` of a file in the folder, in a static buffer.
const char *source_fixture_path(const struct source_fixture *fixture, const char *name);
void source_fixture_write(struct source_fixture *fixture, const char *name, const void *data,
                          size_t size);
// Closes what is open, then opens `yaml`, e.g. "csv: {path: a.csv}", as source "t" at "t.yaml".
enum bm_status source_fixture_open(struct source_fixture *fixture, const char *yaml);
// The same from another folder than the temporary one.
enum bm_status source_fixture_open_in(struct source_fixture *fixture, const char *directory,
                                      const char *yaml);
// Lets every allocation of opening `yaml` fail once: each must come back as an error. Opens it.
void source_fixture_starves(struct source_fixture *fixture, const char *yaml);
enum bm_status source_fixture_read(struct source_fixture *fixture, const uint64_t *items,
                                   uint64_t nitems);
enum bm_status source_fixture_read_all(struct source_fixture *fixture);
// The values of component `name` in the last batch.
const void *source_fixture_values(const struct source_fixture *fixture, const char *name);
