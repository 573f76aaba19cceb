// embedded.h -- a server in somebody else's process: from a configuration file, over inproc://.
// Layer: server (may include src/).
//
// What the configuration says about listening, tokens and TLS is for `batchmill serve`; here it
// listens within the process, and where it is told to.
// Threads: _start and _stop on one thread; the rest from any.
#pragma once
#include "server/server.h"

// A registry of all the types there are. The caller frees it.
enum bm_status bm_registry_of_all(struct bm_registry **ret_registry, struct bm_error *err);

struct bm_embedded_config {
    const char *path;   // of the YAML file
    const char *listen; // one more URL, NULL: none; loopback only
    bool has_workers, has_memory;
    unsigned workers;      // instead of the file's; 0 = one per CPU
    uint64_t memory_bytes; // instead of the file's; 0 = unlimited
};
struct bm_embedded;
enum bm_status bm_embedded_start(const struct bm_embedded_config *config,
                                 struct bm_embedded **ret_embedded, struct bm_error *err);
const char *bm_embedded_url(const struct bm_embedded *embedded);    // inproc://...
const char *bm_embedded_listen(const struct bm_embedded *embedded); // as bound; NULL: nowhere else
void bm_embedded_stop(struct bm_embedded *embedded);                // NULL is fine
