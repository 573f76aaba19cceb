// calls.h -- requests for batches, one by one, as the C client sends them, without its reading
// ahead: for measurements of single requests, and of many streams at once. Layer: tests.
//
// Threads: a caller belongs to one thread at a time; its `done` comes on a thread of nng.
#pragma once
#include "base/buffer.h"
#include "base/list.h"
#include "base/mutex.h"
#include "client/c/codec.h"
#include "client/c/transport.h"

struct bench_taken { // a stream, and how far it was taken
    char id[BM_CLIENT_ID_MAX + 1];
    uint64_t next;
};

struct bench_caller { // has one request under way at most
    struct bm_client_transport *transport;
    struct bm_client_call *call;
    struct bm_buffer request;
    struct bench_taken *stream; // that is asked for
    // Called when the batch is here, and may start the next; NULL: bench_caller_take() waits.
    void (*done)(struct bench_caller *caller);
    bool failed;
    struct batchmill_error error;
    struct bm_client_opened *opened; // of an open
    struct bm_mutex mutex;           // of `answered`
    struct bm_cond cond;
    bool answered;
};

struct bm_client_transport *bench_connection(const char *url);
void bench_caller_init(struct bench_caller *caller, struct bm_client_transport *transport,
                       void (*done)(struct bench_caller *caller));

// An endless, shuffled stream. Waits.
void bench_caller_open(struct bench_caller *caller, struct bench_taken *ret_stream,
                       const char *pipeline, uint64_t batch_size, uint32_t prefetch);
// The next batch of the stream: asks for it, done with all before. Does not wait.
void bench_caller_start(struct bench_caller *caller, struct bench_taken *stream);
void bench_caller_take(struct bench_caller *caller, struct bench_taken *stream); // waits
