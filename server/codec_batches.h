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

// Batches in the reply of some call.
struct bm_parcel {
    const struct bm_batches *batches;  // of a stream; or
    const struct bm_given_task *given; // that of a task, as it is before its action
    const ProtobufCMessage *head;      // the reply's small fields
    unsigned field;                    // of the reply in the Response; 1 to 15
    unsigned n;
    bool by_reference, checked;
};
enum bm_status bm_parcel_encode(const struct bm_parcel *parcel,
                                void *(*alloc)(void *context, size_t size), void *context,
                                struct bm_error *err);
enum bm_status bm_parcel_gather(const struct bm_parcel *parcel, size_t spare,
                                struct bm_reply_pieces *ret_pieces, struct bm_error *err);

// ---- codec_task.c ----

// Response.take_task.
enum bm_status bm_given_encode(const struct bm_given_task *given,
                               void *(*alloc)(void *context, size_t size), void *context,
                               struct bm_error *err);
enum bm_status bm_given_gather(const struct bm_given_task *given, size_t spare,
                               struct bm_reply_pieces *ret_pieces, struct bm_error *err);
// Request.take_task, which may be long and is walked over; the result looks at `bytes`.
bool bm_task_request_is(const void *bytes, size_t size);
enum bm_status bm_task_request_decode(const void *bytes, size_t size,
                                      struct bm_request *ret_request, struct bm_error *err);

struct bm_batch_error { // lends its names from the pipeline
    Batchmill__V1__BatchError message;
    char text[BM_ERROR_WHERE_MAX + BM_ERROR_TEXT_MAX + 4];
};
void bm_batch_error_init(struct bm_batch_error *error, const struct bm_outcome *outcome,
                         const struct bm_pipeline *pipeline);
