// actions.h -- the built-in actions. Layer: actions (may include base, data, pipeline).
// Threads: at start, by the thread that fills the registry.
#pragma once
#include "pipeline/registry.h"

enum bm_status bm_actions_register(struct bm_registry *registry, struct bm_error *err);
// The ones that skip, end or fail at a given item, for tests of a consumer's error handling.
// They are built in too: a user tests a trainer against them.
