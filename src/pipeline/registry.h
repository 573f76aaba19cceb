// registry.h -- the action and source types there are, by name. Layer: pipeline.
//
// Threads: filled at start by one thread, then immutable and readable from any thread.
#pragma once
#include "pipeline/action.h"
#include "pipeline/source.h"

struct bm_registry;

enum bm_status bm_registry_new(struct bm_registry **ret_registry, struct bm_error *err);
void bm_registry_free(struct bm_registry *registry);
// The types are borrowed and must outlive the registry: they are constants of the program, or lie
// in what the registry was given to keep.
enum bm_status bm_registry_add_action(struct bm_registry *registry,
                                      const struct bm_action_type *type, struct bm_error *err);
enum bm_status bm_registry_add_source(struct bm_registry *registry,
                                      const struct bm_source_type *type, struct bm_error *err);
// Takes `kept` on success; release(kept) is called when the registry is freed.
enum bm_status bm_registry_keep(struct bm_registry *registry, void *kept,
                                void (*release)(void *kept), struct bm_error *err);
const struct bm_action_type *bm_registry_action(const struct bm_registry *registry,
                                                const char *name); // or NULL
const struct bm_source_type *bm_registry_source(const struct bm_registry *registry,
                                                const char *name); // or NULL
struct bm_caches;
struct bm_caches *bm_registry_caches(const struct bm_registry *registry); // of its pipelines
// Sorted by name.
unsigned bm_registry_nactions(const struct bm_registry *registry);
const struct bm_action_type *bm_registry_action_at(const struct bm_registry *registry, unsigned i);
unsigned bm_registry_nsources(const struct bm_registry *registry);
const struct bm_source_type *bm_registry_source_at(const struct bm_registry *registry, unsigned i);

// What `batchmill actions` and `batchmill sources` print: name, form, doc and parameters.
void bm_registry_print_actions(const struct bm_registry *registry, struct bm_buffer *out);
void bm_registry_print_sources(const struct bm_registry *registry, struct bm_buffer *out);
