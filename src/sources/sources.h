// sources.h -- the built-in sources. Layer: sources (may include base, data, pipeline).
// Threads: at start, by the thread that fills the registry.
#pragma once
#include "pipeline/registry.h"

enum bm_status bm_sources_register(struct bm_registry *registry, struct bm_error *err);
