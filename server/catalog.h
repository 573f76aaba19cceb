// catalog.h -- the pipelines a server hosts, by name. Layer: server (may include src/).
//
// Threads: filled at start by one thread; while a session uses it, with its executor's mutex held.
#pragma once
#include "pipeline/pipeline.h"

struct bm_catalog;

enum bm_status bm_catalog_new(struct bm_catalog **ret_catalog, struct bm_error *err);
void bm_catalog_free(struct bm_catalog *catalog);
// Takes the reference on success.
enum bm_status bm_catalog_add(struct bm_catalog *catalog, struct bm_pipeline *pipeline,
                              struct bm_error *err);
// Gives the catalog's reference back; the name must be there.
void bm_catalog_remove(struct bm_catalog *catalog, const char *name);
// Borrowed; the error lists the names there are.
enum bm_status bm_catalog_find(const struct bm_catalog *catalog, const char *name,
                               struct bm_pipeline **ret_pipeline, struct bm_error *err);
unsigned bm_catalog_count(const struct bm_catalog *catalog);
struct bm_pipeline *bm_catalog_at(const struct bm_catalog *catalog, unsigned i); // by name
