// labelled.h -- files with labels as a source: what folder and list have in common. Layer: sources.
//
// Components: the bytes of the file, then `label` (int64) if there are labels, then `name`.
// Threads: built by one thread, then like every source (pipeline/source.h).
#pragma once
#include "pipeline/source.h"
#include "sources/files.h"

struct bm_labelled {
    struct bm_source base;
    struct bm_files files;
    int label, name; // components; label -1: there are none
    int64_t *labels; // [files.n], from malloc(), or NULL
};

// How `identity` may be given: by names and sizes, or by every byte.
enum { BM_LABELLED_NAMES, BM_LABELLED_CONTENTS };

// For the files of the folder `path`. `where` is the parameter that holds it.
enum bm_status bm_labelled_new(const struct bm_source_type *type, const char *directory,
                               const char *path, const char *where, struct bm_labelled **ret_source,
                               struct bm_error *err);
// All files are there, and `labels` if there are any: makes the schema and the identity.
enum bm_status bm_labelled_finish(struct bm_labelled *source, const char *component,
                                  struct bm_vocabulary *vocabulary, int identity,
                                  struct bm_error *err);
// Labels by the names of their classes become those in the order of the names.
enum bm_status bm_labelled_sort(struct bm_labelled *source, struct bm_vocabulary *vocabulary,
                                struct bm_error *err);

// Of every such source.
void bm_labelled_close(struct bm_source *source);
enum bm_status bm_labelled_read(const struct bm_source *source, struct bm_batch *batch,
                                int64_t *ret_row, struct bm_error *err);
enum bm_status bm_labelled_numbers(const struct bm_source *source, unsigned c, double *ret_numbers,
                                   struct bm_error *err);
