// codec_batches.h -- what the files of the codec share. Layer: server (private to codec_*.c).
// Threads: any thread.
#pragma once
#include "batchmill/v1/batchmill.pb-c.h"
#include "server/codec.h"

// Response.next_batches, as bm_reply_encode() does it.
enum bm_status bm_batches_encode(const struct bm_batches *batches,
                                 void *(*alloc)(void *context, size_t size), void *context,
                                 struct bm_error *err);

enum bm_status bm_batches_gather(const struct bm_batches *batches, size_t spare,
                                 struct bm_reply_pieces *ret_pieces, struct bm_error *err);

struct bm_batch_error { // lends its names from the pipeline
    Batchmill__V1__BatchError message;
    char text[BM_ERROR_WHERE_MAX + BM_ERROR_TEXT_MAX + 4];
};
void bm_batch_error_init(struct bm_batch_error *error, const struct bm_outcome *outcome,
                         const struct bm_pipeline *pipeline);
