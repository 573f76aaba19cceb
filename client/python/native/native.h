// native.h -- what the Python package calls beside the C client: a server in the process, and calls
// that do much at once, as each costs Python about a microsecond.
// Layer: client/python (may include batchmill/ and server/embedded.h).
// Threads: as batchmill/client.h.
#pragma once
#include "batchmill/client.h"
#include "batchmill/lend.h"

// ---- A server in this process ----

struct batchmill_embedded_options {
    const char *listen;    // one more URL, or NULL
    uint64_t workers;      // BATCHMILL_UNSET: as the file says
    uint64_t memory_bytes; // likewise
};
struct batchmill_embedded;
BATCHMILL_API enum batchmill_code
batchmill_embedded_start(const char *path, const struct batchmill_embedded_options *options,
                         struct batchmill_embedded **ret_embedded, struct batchmill_error *error);
BATCHMILL_API const char *batchmill_embedded_url(const struct batchmill_embedded *embedded);
// NULL: it listens nowhere else.
BATCHMILL_API const char *batchmill_embedded_listen(const struct batchmill_embedded *embedded);
// Clients were disconnected before. In a fork of the process that started it: does nothing.
BATCHMILL_API void batchmill_embedded_stop(struct batchmill_embedded *embedded);

// ---- Batches ----

struct batchmill_view { // all of a batch
    struct batchmill_batch *batch;
    uint64_t seq, epoch, nitems;
    const uint64_t *items;
    uint64_t ntensors;
    const struct batchmill_tensor *tensors; // [ntensors]
    uint64_t nspans;
    const struct batchmill_span *spans; // [nspans]
};
BATCHMILL_API void batchmill_batch_view(struct batchmill_batch *batch,
                                        struct batchmill_view *ret_view);
BATCHMILL_API enum batchmill_code batchmill_next_view(struct batchmill_stream *stream,
                                                      uint32_t timeout_ms,
                                                      struct batchmill_view *ret_view,
                                                      struct batchmill_error *error);

// ---- What both sides must agree on ----

// Sizes of the structs of both headers, in the order of the names; ends with 0.
struct batchmill_layout {
    const char *name;
    size_t size;
};
BATCHMILL_API const struct batchmill_layout *batchmill_layouts(void);
