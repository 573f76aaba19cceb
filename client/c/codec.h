// codec.h -- requests to bytes, and the bytes of replies to the public structs.
// Layer: client/c (may include base, data/dtype.h and the messages).
//
// A reply may come from a hostile server: every length, number and name is checked before it is
// used, and what does not hold is BATCHMILL_DATA_LOSS with a text that says what. What a decoder
// returns is one allocation, freed with free(). Tensors are views into the reply's bytes, which
// therefore have to outlive the batch.
// Threads: any thread.
#pragma once
#include "base/buffer.h"
#include "base/shared_head.h"
#include "batchmill/client.h"

enum {
    BM_CLIENT_REQUEST_BYTES_MAX = 64 * 1024, // a server drops what is longer
    BM_CLIENT_ID_MAX = 40,                   // of a stream or a run
    BM_CLIENT_TENSORS_MAX = 256,             // of a batch
    BM_CLIENT_SPANS_MAX = 256,               // of a batch
    BM_CLIENT_SMALL_REPLY_MAX = 4 << 20,     // bytes of a reply that holds no batches
    BM_CLIENT_ALIGNMENT = 16,                // of what a tensor points to
};

// ---- Requests ----
//
// Each replaces what `out` held by the bytes of one Request. BATCHMILL_INVALID_ARGUMENT: a
// parameter that the wire cannot say, or a request that is too long.

// The last step of every request: adds the token, where there is one (NULL: none), and a check.
enum batchmill_code bm_client_request_seal(struct bm_buffer *request, const char *token,
                                           struct batchmill_error *error);

// The same, however long it is.
enum batchmill_code bm_client_request_close(struct bm_buffer *request, const char *token,
                                            struct batchmill_error *error);

// Whether the reply was altered on its way, or says that its request was: ask again. A message
// without a check is taken as it is.
bool bm_client_reply_altered(const void *bytes, size_t size);

struct bm_client_open {
    const char *pipeline;
    const char *cursor; // NULL: a stream of its own
    const struct batchmill_order *order;
    uint64_t nonce; // 0: a repeated open would be a second stream
    bool same_host; // the server's memory could be mapped
};
enum batchmill_code bm_client_encode_open(const struct bm_client_open *open, struct bm_buffer *out,
                                          struct batchmill_error *error);
struct bm_client_next {
    const char *stream;
    uint64_t first, max_bytes, ack;
    uint32_t max_batches, wait_ms;
    bool waits;           // the consumer, for batch `ack`
    bool same_host;       // large tensors may come as places in the server's memory
    size_t nheld;         // batches before `ack` that came so, and are still looked at
    const uint64_t *held; // [nheld], rising
};
enum batchmill_code bm_client_encode_next(const struct bm_client_next *next, struct bm_buffer *out,
                                          struct batchmill_error *error);
// `held_none`: nothing of the server's memory is looked at any more.
enum batchmill_code bm_client_encode_close(const char *stream, uint64_t ack, bool held_none,
                                           struct bm_buffer *out, struct batchmill_error *error);
// order->position and order->traced must not be set.
enum batchmill_code bm_client_encode_run(const char *pipeline, const struct batchmill_order *order,
                                         uint64_t nonce, struct bm_buffer *out,
                                         struct batchmill_error *error);
enum batchmill_code bm_client_encode_get_run(const char *run, uint32_t wait_ms,
                                             struct bm_buffer *out, struct batchmill_error *error);
enum batchmill_code bm_client_encode_cancel_run(const char *run, struct bm_buffer *out,
                                                struct batchmill_error *error);
enum batchmill_code bm_client_encode_list(struct bm_buffer *out, struct batchmill_error *error);
enum batchmill_code bm_client_encode_describe(const char *pipeline, struct bm_buffer *out,
                                              struct batchmill_error *error);
enum batchmill_code bm_client_encode_register(const char *name, const char *definition,
                                              uint32_t lease_ms, struct bm_buffer *out,
                                              struct batchmill_error *error);
enum batchmill_code bm_client_encode_unregister(const char *name, const char *registration,
                                                struct bm_buffer *out,
                                                struct batchmill_error *error);
enum batchmill_code bm_client_encode_status(struct bm_buffer *out, struct batchmill_error *error);

// ---- Replies ----
//
// Each returns the server's own code and text when the call failed there.

struct bm_client_same_host { // where the server's probe is
    uint32_t pid, fd;
    unsigned char nonce[BM_SHARED_NONCE_BYTES];
};
struct bm_client_opened { // free() frees all of it
    char stream[BM_CLIENT_ID_MAX + 1];
    const char *position_stem; // "" for a cursor
    uint64_t first_seq;
    uint64_t batches; // BATCHMILL_UNSET when endless
    uint64_t seed, items, epoch_batches, fingerprint;
    uint32_t lease_ms, prefetch;
    bool stateful;
    bool has_same_host; // the server offers to be mapped
    struct bm_client_same_host same_host;
    size_t ncomponents, nsteps;
    const struct batchmill_component *components;
    const char *const *steps;
};
enum batchmill_code bm_client_decode_open(const void *bytes, size_t size,
                                          struct bm_client_opened **ret_opened,
                                          struct batchmill_error *error);

// A reply to NextBatches: its head, then its batches one after the other.
struct bm_client_batches {
    char stream[BM_CLIENT_ID_MAX + 1];
    uint64_t first;   // as asked for
    size_t nbatches;  // with 0 and no end: not yet
    bool end;         // there is no batch at end_seq or after it
    bool stopped;     // by a failed batch
    uint64_t end_seq; // with end
    uint64_t window;  // batches worked on right now; 0: 1 + prefetch
    // Where bm_client_next_of() goes on:
    const unsigned char *at, *stop;
    // The seq that has to come next. The caller sets BATCHMILL_UNSET for a cursor's batches: there
    // `first` is a ticket, and nobody knows which batch it gets.
    uint64_t seq;
    // Also the caller's to set: it asked for tensors in the server's memory.
    bool same_host;
};
// The bytes are borrowed by ret_batches and by every batch taken from it.
enum batchmill_code bm_client_decode_next(const void *bytes, size_t size,
                                          struct bm_client_batches *ret_batches,
                                          struct batchmill_error *error);

enum bm_client_outcome { BM_CLIENT_BATCH = 0, BM_CLIENT_SKIPPED = 1, BM_CLIENT_FAILED = 2 };
struct bm_client_place { // of a tensor in the server's memory
    bool given;          // false: its data are in the reply
    uint32_t fd;
    uint64_t offset, size_bytes, block;
};
struct bm_client_batch { // free() frees all of it but the bytes of the reply
    uint64_t seq, epoch;
    enum bm_client_outcome outcome;
    size_t nitems, nspans, ntensors;
    const uint64_t *items;
    const struct batchmill_span *spans;   // NULL when not traced
    struct batchmill_tensor *tensors;     // of a BATCH; the data of one with a place: NULL
    const struct bm_client_place *places; // [ntensors], or NULL: none has one
    // Of FAILED always; of SKIPPED when it was left out because it failed. Else NULL.
    const struct batchmill_error *error;
};
// The next one, `nbatches` times; their seqs are checked to be consecutive from `first`. Tensors
// that lie unaligned in the reply are copied into the batch's own memory, so that all are
// aligned to BM_CLIENT_ALIGNMENT.
enum batchmill_code bm_client_next_of(struct bm_client_batches *batches,
                                      struct bm_client_batch **ret_batch,
                                      struct batchmill_error *error);

struct bm_client_run {
    char run[BM_CLIENT_ID_MAX + 1];
    uint64_t batches; // BATCHMILL_UNSET when endless
    uint64_t seed;
    uint32_t lease_ms;
};
enum batchmill_code bm_client_decode_run(const void *bytes, size_t size,
                                         struct bm_client_run *ret_run,
                                         struct batchmill_error *error);

enum bm_client_run_state {
    BM_CLIENT_RUN_RUNNING = 0,
    BM_CLIENT_RUN_DONE = 1,
    BM_CLIENT_RUN_FAILED = 2,
    BM_CLIENT_RUN_CANCELLED = 3,
};
struct bm_client_run_report {
    enum bm_client_run_state state;
    bool has_failure;
    struct batchmill_error failure; // of the batch that ended the run, else the first that failed
    // One allocation; its seed and expected_batches are the caller's to fill.
    struct batchmill_run_result *result;
};
enum batchmill_code bm_client_decode_get_run(const void *bytes, size_t size,
                                             struct bm_client_run_report *ret_report,
                                             struct batchmill_error *error);
enum batchmill_code bm_client_decode_list(const void *bytes, size_t size,
                                          struct batchmill_list **ret_list,
                                          struct batchmill_error *error);
enum batchmill_code bm_client_decode_describe(const void *bytes, size_t size,
                                              struct batchmill_description **ret_description,
                                              struct batchmill_error *error);
enum batchmill_code bm_client_decode_register(const void *bytes, size_t size,
                                              struct batchmill_registration *ret_registration,
                                              struct batchmill_error *error);
enum batchmill_code bm_client_decode_unregister(const void *bytes, size_t size, bool *ret_removed,
                                                struct batchmill_error *error);
enum batchmill_code bm_client_decode_status(const void *bytes, size_t size,
                                            struct batchmill_status *ret_status,
                                            struct batchmill_error *error);
enum batchmill_code bm_client_decode_remotes(const void *bytes, size_t size, // a reply to GetStatus
                                             struct batchmill_remote_actions **ret_actions,
                                             struct batchmill_error *error);
// Of a call whose reply says nothing but that it was carried out: CloseStream, CancelRun.
enum batchmill_code bm_client_decode_done(const void *bytes, size_t size,
                                          struct batchmill_error *error);
