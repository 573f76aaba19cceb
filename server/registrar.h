// registrar.h -- makes pipelines of the definitions that clients send. Layer: server (may include
// src/).
//
// A definition is what stands under a pipeline's name in the configuration, and is checked in the
// same way: a source by its name, and actions. A client names sources, never paths, and takes no
// memory or disk that the configuration did not give: `cache` is refused.
//
// Threads: filled at start by one thread, then immutable.
#pragma once
#include "pipeline/pipeline.h"

struct bm_registrar;

// The registry is borrowed.
enum bm_status bm_registrar_new(const struct bm_registry *registry,
                                struct bm_registrar **ret_registrar, struct bm_error *err);
void bm_registrar_free(struct bm_registrar *registrar); // NULL is fine
// Takes a reference of its own.
enum bm_status bm_registrar_add_source(struct bm_registrar *registrar, struct bm_source_ref *source,
                                       struct bm_error *err);
// A new reference. `text` is YAML, of which JSON is a part; errors say where in it.
enum bm_status bm_registrar_build(const struct bm_registrar *registrar, const char *name,
                                  const char *text, struct bm_pipeline **ret_pipeline,
                                  struct bm_error *err);

// What the configuration and clients have in common: {source: name, actions: [...]}. A source that
// the finder does not know is its error.
enum bm_status bm_pipeline_define(const struct bm_registry *registry,
                                  const struct bm_source_finder *finder, const char *name,
                                  const struct bm_value *definition,
                                  struct bm_pipeline **ret_pipeline, struct bm_error *err);
// "expected one of `sources` (a, b), got ..."
enum bm_status bm_no_source(char *const *names, unsigned nnames, const char *where,
                            const char *name, struct bm_error *err);
