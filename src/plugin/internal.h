// internal.h -- the types that plug-ins became, and what goes on in their calls.
// Layer: plugin (private).
//
// Threads: a type and an instance are immutable once made.
#pragma once
#include <batchmill/plugin.h>

#include "plugin/plugin.h"

// Every kind of parameter has room in one of these; that of parameter i lies at index i.
union plugin_field {
    bool boolean;
    int64_t integer;
    uint64_t bytes;
    double real;
    char *text;
    enum bm_dtype dtype;
    int choice;
    struct bm_integers integers;
    struct bm_floats floats;
    struct bm_texts texts;
};

struct plugin_action {
    struct bm_action_type type; // first: the engine's pointer to it is one to this
    struct batchmill_action_type given;
};
struct plugin_source {
    struct bm_source_type type; // first, likewise
    struct batchmill_source_type given;
};

struct plugin_instance { // an action in a pipeline: its plan
    const struct plugin_action *action;
    void *self;
    struct bm_variable_type variable;
    bool writes[BM_COMPONENTS_MAX]; // which components of the output run() may write
};
struct plugin_data {         // an open source
    struct bm_source source; // first
    const struct plugin_source *type;
    void *self;
};

extern const struct batchmill_host plugin_host;

// ---- text.c ----

// A copy that is UTF-8 without control characters: "?" stands for each byte of something else. As
// much as fits; NULL is an empty one.
void plugin_text_copy(const char *from, char *to, size_t size);
bool plugin_text_clean(const char *text); // it is that already

// ---- setup.c ----

enum bm_status plugin_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                            struct bm_error *err);
void plugin_plan_free(void *plan);
enum bm_status plugin_source_open(const struct bm_source_type *type, const void *config,
                                  const char *directory, const char *where,
                                  struct bm_source **ret_source, struct bm_error *err);
void plugin_source_close(struct bm_source *source);

size_t setup_param_count(struct batchmill_setup *given, const char *name);
int64_t setup_param_integer(struct batchmill_setup *given, const char *name, size_t i);
double setup_param_number(struct batchmill_setup *given, const char *name, size_t i);
const char *setup_param_text(struct batchmill_setup *given, const char *name, size_t i);
bool setup_refuse(struct batchmill_setup *given, const char *text);
int setup_find(struct batchmill_setup *given, const char *name);
int setup_require(struct batchmill_setup *given, const char *parameter, size_t i);
bool setup_component(struct batchmill_setup *given, int index,
                     struct batchmill_component *ret_component);
bool setup_keep(struct batchmill_setup *given, int from, const struct batchmill_component *as);
bool setup_keep_all(struct batchmill_setup *given);
int setup_write(struct batchmill_setup *given, const struct batchmill_component *component,
                int from);
bool setup_names(struct batchmill_setup *given, int written, const char *const *names, size_t n);
const char *setup_name(struct batchmill_setup *given, int index, uint64_t value);
bool setup_items(struct batchmill_setup *given, uint64_t nitems, const void *identity, size_t size);

// ---- call.c ----

enum bm_result plugin_run(struct bm_call *call);
enum bm_status plugin_read(const struct bm_source *source, struct bm_batch *batch, int64_t *ret_row,
                           struct bm_error *err);
