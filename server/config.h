// config.h -- the server's YAML file, checked. Layer: server (may include src/).
//
// Errors say file:line: path, what was expected and what came. Unknown and repeated keys are
// errors. Threads: one thread, at start.
#pragma once
#include "pipeline/registry.h"
#include "remote/remote.h"
#include "server/catalog.h"
#include "server/registrar.h"

enum { BM_LISTEN_MAX = 16 };

struct bm_config {
    unsigned nlisten;
    char *listen[BM_LISTEN_MAX]; // URLs
    unsigned workers;            // 0 = one per CPU
    uint64_t memory_bytes;       // 0 = unlimited
    char *token_file;            // NULL = none; not opened
    struct bm_config_tls {
        char *certificate, *key, *client_ca; // files; NULL = none; not opened
    } tls;
    bool allow_register;
    char *lender_token_file;  // NULL = none; not opened
    struct bm_remote *remote; // actions that others lend; NULL = none are declared
    struct bm_catalog *catalog;
    struct bm_registrar *registrar; // over the same sources, whether or not it is allowed
};

// Reads the file, loads its plug-ins into the registry, opens its sources and builds its pipelines.
// Relative paths are meant from the file's folder.
enum bm_status bm_config_load(const char *path, struct bm_registry *registry,
                              struct bm_config *ret_config, struct bm_error *err);
void bm_config_fini(struct bm_config *config); // an all-zero config is fine

// What `memory` is when it is not given: half of the machine's, or of what its control group
// allows.
uint64_t bm_config_default_memory(void);

// "1048576", "512MiB", "4GiB", with the units B kB KiB MB MiB GB GiB TB TiB.
enum bm_status bm_config_parse_size(const char *text, const char *where, uint64_t *ret_bytes,
                                    struct bm_error *err);

// A YAML text as values; `name` stands for the file in the errors. Anchors, aliases and tags are
// refused, depth and size are bounded. The caller frees with bm_value_free().
enum bm_status bm_yaml_parse(const char *text, size_t size, const char *name,
                             struct bm_value **ret_value, struct bm_error *err);
