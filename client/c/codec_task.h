// codec_task.h -- the messages of lending: requests to bytes, and the bytes of replies.
// Layer: client/c (may include base, data/shared.h and the messages).
// Threads: any thread.
#pragma once
#include "batchmill/lend.h"
#include "client/c/codec.h"
#include "data/shared.h"

enum batchmill_code bm_client_encode_lend(const struct batchmill_lent_action *actions,
                                          size_t nactions, unsigned slots, uint64_t nonce,
                                          const struct bm_probe *probe, // NULL: lends no memory
                                          struct bm_buffer *out, struct batchmill_error *error);
struct bm_client_lent {
    char lender[BM_CLIENT_ID_MAX + 1];
    uint32_t lease_ms;
    bool seen;          // the server sees our memory
    bool has_same_host; // and offers its own
    struct bm_probe same_host;
};
enum batchmill_code bm_client_decode_lend(const void *bytes, size_t size,
                                          struct bm_client_lent *ret_lent,
                                          struct batchmill_error *error);

enum bm_client_ending { // numbers of the wire
    BM_CLIENT_TASK_NONE,
    BM_CLIENT_TASK_DONE,
    BM_CLIENT_TASK_FAILED,
    BM_CLIENT_TASK_SKIP,
    BM_CLIENT_TASK_STOP
};
struct bm_client_written { // a component that was made
    char name[129];
    enum batchmill_dtype dtype;
    unsigned ndim;
    uint64_t shape[BATCHMILL_NDIM_MAX];
    uint64_t *offsets; // owned; NULL: dense
    size_t noffsets;
    void *data; // owned, or in `shared`
    uint64_t size_bytes;
    struct bm_shared *shared; // owned; NULL: it is not
};
struct bm_client_take {
    const char *lender;
    uint32_t slot, wait_ms;
    uint64_t ticket;
    bool same_host;
    enum bm_client_ending ending; // of the task before
    enum batchmill_code code;
    const char *text;
    int64_t row;
    size_t nwritten;
    const struct bm_client_written *written;
};
// With the token and a check, as it is the last step, and may be long.
enum batchmill_code bm_client_encode_take(const struct bm_client_take *take, const char *token,
                                          struct bm_buffer *out, struct batchmill_error *error);

struct bm_client_told { // free with bm_client_told_free()
    void *message;      // what the texts and numbers lie in
    const char *action, *pipeline, *stream, *params;
    uint64_t attempt, seed;
    unsigned position;
    size_t nepochs, ncopies;
    const uint64_t *epochs;
    const uint32_t *copies;
};
void bm_client_told_free(struct bm_client_told *told);
struct bm_client_task_reply { // a reply to TakeTask
    uint32_t slot;
    uint64_t ticket, settled;
    bool given;                    // else: not yet
    struct bm_client_told told;    // the caller's to free, when given
    struct bm_client_batch *batch; // likewise, with free(); its tensors lie in the reply
};
enum batchmill_code bm_client_decode_take(const void *bytes, size_t size, bool same_host,
                                          struct bm_client_task_reply *ret_taken,
                                          struct batchmill_error *error);
enum batchmill_code bm_client_encode_end_lending(const char *lender, struct bm_buffer *out,
                                                 struct batchmill_error *error);
