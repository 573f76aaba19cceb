// plugin.h -- loads users' own actions and sources into a registry. Layer: plugin (may include
// base, data, pipeline and its own public header).
//
// The public header is batchmill/plugin.h: what a plug-in sees, and what is promised to it. Here
// its tables become types like those of the product, whose callbacks give the plug-in's functions
// what they may see of a batch. What a plug-in does wrong in a way that can be told is an error of
// its batch or of its pipeline, never a crash.
//
// Threads: loading, one thread, at start. The types may be used from any thread.
#pragma once
#include <stdint.h>

#include "pipeline/registry.h"

struct batchmill_plugin;

struct bm_plugin { // what was loaded; the texts are the plug-in's
    const char *name, *version;
    unsigned nactions, nsources;
    uint64_t code; // hash of the file
};

// Adds the types of the tables, which must live as long as the process. `where` is the file, for
// the errors, and `code` tells its contents from others.
enum bm_status bm_plugin_register(struct bm_registry *registry,
                                  const struct batchmill_plugin *tables, uint64_t code,
                                  const char *where, struct bm_plugin *ret_plugin,
                                  struct bm_error *err);

// Loads a shared object, and never unloads it. Refuses one that others than root and this user can
// write or replace.
enum bm_status bm_plugin_load(struct bm_registry *registry, const char *path,
                              struct bm_plugin *ret_plugin, struct bm_error *err);
// A file, or a folder with all its files *.so in the order of their names; none is an error.
enum bm_status bm_plugins_load(struct bm_registry *registry, const char *path,
                               struct bm_error *err);
