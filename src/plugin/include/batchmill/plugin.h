// plugin.h -- users' own actions and sources for Batchmill, in one file of C, C++ or any language
// that speaks C. Layer: public ABI (stands alone).
//
// A plug-in is a shared object that exports one function:
//
//     cc -shared -fPIC -O2 my.c -o my.so         (with -I where batchmill/plugin.h lies)
//     batchmill plugin check my.so               tries what it promises
//     batchmill serve --plugins my.so FILE       or `plugins: [my.so]` in the configuration
//
//     struct invert { int component; };
//
//     static bool invert_open(struct batchmill_setup *setup, void **ret_self)
//     {
//         int from = batchmill_require(setup, "component", 0);
//         struct batchmill_component component;
//         struct invert *invert = malloc(sizeof *invert);
//         if (invert == NULL)
//             return batchmill_refuse(setup, "out of memory");
//         batchmill_component(setup, from, &component);
//         batchmill_keep_all(setup);
//         invert->component = batchmill_write(setup, &component, from);
//         *ret_self = invert;
//         return true;                           // what failed above is remembered
//     }
//     static enum batchmill_result invert_run(struct batchmill_call *call) ...
//
//     static const struct batchmill_param invert_params[] = {
//         {.name = "component", .doc = "to change", .kind = BATCHMILL_PARAM_NAME,
//          .required = true},
//     };
//     static const struct batchmill_action_type invert = {
//         .size = sizeof invert, .name = "invert", .doc = "1 - x.", .params = invert_params,
//         .nparams = 1, .open = invert_open, .close = free, .run = invert_run,
//     };
//     static const struct batchmill_action_type *const actions[] = {&invert, NULL};
//     static const struct batchmill_plugin plugin = {
//         BATCHMILL_PLUGIN_HEAD, .name = "my", .version = "1.0", .actions = actions,
//     };
//     const struct batchmill_plugin *batchmill_plugin(unsigned abi)
//     {
//         return abi >= BATCHMILL_PLUGIN_ABI ? &plugin : NULL;
//     }
//
// A plug-in links to nothing of Batchmill: what it calls comes in a table, through the inline
// functions below. It is loaded when the server starts, only from places that the server's
// configuration or command line names, from a file that nobody but root and the server's user can
// write. A hash of the file is part of the fingerprint of every pipeline that uses it, so that
// streams do not go on where they were with other code.
//
// What a plug-in promises: equal inputs give equal bytes, whatever came before, on which thread, in
// which batch (unless it is BATCHMILL_STATEFUL); nothing is thrown or longjmped across a function
// of this header; pointers that are lent are not used for longer than is said.
//
// Versions: a server takes plug-ins of its own ABI number and of earlier ones. Structs that a
// plug-in gives begin with their size, those that it gets only grow at their end, and so does
// struct batchmill_host.
//
// Trust: parameters come from the configuration, and from clients that may register pipelines. What
// is done with them, such as opening a file of that name, is done for those clients.
//
// Threads: batchmill_plugin() is called once, at start; open() on any thread. run() and read() may
// be called on any thread, for several batches at once, and a per-item run() for several parts of
// one batch: what open() made is not to be changed by them without a lock. close() is called once,
// when no call is under way any more, on any thread. A struct batchmill_call belongs to the thread
// that was called with it; one from batchmill_defer() to one thread at a time.
#ifndef BATCHMILL_PLUGIN_H
#define BATCHMILL_PLUGIN_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BATCHMILL_PLUGIN_ABI 1u

#if defined(__GNUC__)
#define BATCHMILL_PLUGIN_EXPORT __attribute__((visibility("default")))
#define BATCHMILL_PLUGIN_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define BATCHMILL_PLUGIN_EXPORT
#define BATCHMILL_PLUGIN_PRINTF(text, first)
#endif

// ---- Components ----

// A batch is a set of components, each with an array of numbers or texts for all its items. A
// *dense* one gives every item the same shape; its array is [items, shape...] in C order. A
// *ragged* one gives each item rows of its own number, shape[0] is 0, and the array is [rows of all
// items, shape[1]...]. bytes and string are ragged without a shape, and a row is a byte.
#ifndef BATCHMILL_COMPONENT
#define BATCHMILL_COMPONENT // also in batchmill/client.h
enum batchmill_dtype {      // numbers of the wire
    BATCHMILL_BOOL = 1,
    BATCHMILL_INT8,
    BATCHMILL_INT16,
    BATCHMILL_INT32,
    BATCHMILL_INT64,
    BATCHMILL_UINT8,
    BATCHMILL_UINT16,
    BATCHMILL_UINT32,
    BATCHMILL_UINT64,
    BATCHMILL_FLOAT16,
    BATCHMILL_BFLOAT16,
    BATCHMILL_FLOAT32,
    BATCHMILL_FLOAT64,
    BATCHMILL_BYTES, // one run of bytes per item
    BATCHMILL_STRING // one UTF-8 text per item
};

struct batchmill_component { // one named column of a pipeline's batches
    const char *name;
    enum batchmill_dtype dtype;
    bool ragged;           // items differ in length along their first axis
    unsigned ndim;         // of one item
    const uint64_t *shape; // of one item; shape[0] is 0 when ragged
};
#endif

// ---- Parameters: one table declares, checks and documents them ----

enum batchmill_param_kind {   // asked for as
    BATCHMILL_PARAM_BOOL,     // integer: 0 or 1
    BATCHMILL_PARAM_INTEGER,  // integer or number
    BATCHMILL_PARAM_FLOAT,    // number; always finite
    BATCHMILL_PARAM_TEXT,     // text
    BATCHMILL_PARAM_NAME,     // text of 1 to 128 of A-Z a-z 0-9 . _ -
    BATCHMILL_PARAM_DTYPE,    // integer: enum batchmill_dtype, 0 if not given; or text
    BATCHMILL_PARAM_CHOICE,   // integer: index into `choices`; or text
    BATCHMILL_PARAM_BYTES,    // integer: a size, written 1048576, 512MiB or 4GiB
    BATCHMILL_PARAM_INTEGERS, // a list; a single one is a list of one
    BATCHMILL_PARAM_FLOATS,
    BATCHMILL_PARAM_NAMES,
    BATCHMILL_PARAM_TEXTS
};

struct batchmill_param {
    const char *name;
    const char *doc; // one sentence; shown by `batchmill actions`
    enum batchmill_param_kind kind;
    bool required;
    const char *fallback;       // what it is when not given, as in YAML: "0.5"; not for lists.
                                // NULL: 0, false, the first choice, no text, no element
    double min, max;            // of numbers; both 0: any
    const char *const *choices; // at most 12, then NULL; of a CHOICE
};

// ---- What a plug-in gets ----

struct batchmill_host; // below

enum batchmill_result {
    BATCHMILL_RESULT_OK,
    BATCHMILL_RESULT_SKIP,   // leave this batch out of the stream, and count it
    BATCHMILL_RESULT_END,    // the stream ends before this batch
    BATCHMILL_RESULT_FAIL,   // batchmill_fail() said why
    BATCHMILL_RESULT_PENDING // not done yet: of batchmill_sleep() and after batchmill_defer()
};

struct batchmill_setup { // in open(), and no longer
    const struct batchmill_host *host;
    const char *type;      // name of the action or source
    const char *where;     // it was written: "pipelines.yaml:14: pipelines.train.actions[2]"
    const char *directory; // of the configuration, from which relative paths are meant: for
                           // sources; NULL for actions
    unsigned ncomponents;  // that come in, numbered from 0; none in sources
};

struct batchmill_call { // in run() and read()
    const struct batchmill_host *host;
    void *self;             // what open() made
    uint64_t first, count;  // the items to work on; all of them in read() and per batch
    uint64_t nitems;        // in the batch
    const uint64_t *items;  // [nitems] index of each in the source
    const uint64_t *epochs; // [nitems] epoch of each
    void *update;           // of the variable; zeroed when the batch begins. NULL: none
    const char *stream;     // for side effects that must be fenced: (stream, seq, attempt)
    uint64_t seq, attempt;  //   names this execution; attempt counts from 1. In read():
                            //   NULL and 0
    uint64_t epoch;         // of the batch's first item
    uint64_t seed;          // of the stream; 0 in read()
    unsigned position;      // of the action in the pipeline, from 0; 0 in read()
};

struct batchmill_random { // on the stack; see batchmill_random()
    const struct batchmill_host *host;
    uint64_t state[8];
};

struct batchmill_number { // of report()
    char name[128];       // "pixels.mean"
    bool real;            // it is `number`, else `integer`
    int64_t integer;
    double number;
};

// ---- What a plug-in gives ----

enum batchmill_flag {
    BATCHMILL_PER_BATCH = 1, // run() is called once with all items; else for any parts of a batch
    BATCHMILL_RANDOM = 2,    // it calls batchmill_random()
    BATCHMILL_STATEFUL = 4,  // what happened before reaches its output
    BATCHMILL_WAITS = 8,     // it calls batchmill_sleep() or batchmill_defer(); only per batch
    BATCHMILL_IN_PLACE = 16, // its output may lie on its input, element on element: faster, for
                             // what has read an element before it writes it, and reads it no more
    BATCHMILL_ALONE = 32,    // per batch, but what becomes of an item depends on no other item:
                             // what it gave may be cached
    BATCHMILL_DROPS = 64     // it calls batchmill_drop()
};

struct batchmill_action_type {
    size_t size; // sizeof(struct batchmill_action_type)
    const char *name;
    const char *doc; // one or two sentences; shown by `batchmill actions`
    unsigned flags;  // of enum batchmill_flag
    unsigned nparams;
    const struct batchmill_param *params;
    // Called for each use of the action in a pipeline. Says which components there are behind it,
    // with batchmill_keep() and batchmill_write(), and makes what run() needs. False, or anything
    // that failed meanwhile, refuses the pipeline; then *ret_self is closed if true was returned.
    bool (*open)(struct batchmill_setup *setup, void **ret_self);
    void (*close)(void *self); // may be NULL
    enum batchmill_result (*run)(struct batchmill_call *call);

    // A variable, if variable_size is not 0: run() fills an update that belongs to its batch, and
    // when the batch takes its place in the order, merge() adds it to the stream's state. So it
    // counts once, in order, whatever was tried again; batches that failed do not. `batchmill run`
    // shows what report() says. Both start as zero bytes.
    size_t variable_size; // bytes, of the update and of the state
    void (*merge)(const void *self, void *state, const void *update);
    unsigned nnumbers; // that report() writes, all of them always; at most 64
    void (*report)(const void *self, const void *state, struct batchmill_number *ret_numbers);
};

struct batchmill_source_type {
    size_t size; // sizeof(struct batchmill_source_type)
    const char *name;
    const char *doc;
    unsigned flags; // 0
    unsigned nparams;
    const struct batchmill_param *params;
    // Says which components its items have, with batchmill_write(), and how many items there are,
    // with batchmill_items().
    bool (*open)(struct batchmill_setup *setup, void **ret_self);
    void (*close)(void *self); // may be NULL
    // Writes every component for items[0 .. nitems - 1] of the call, which come in any order.
    // Either BATCHMILL_RESULT_OK or what batchmill_fail() returns.
    enum batchmill_result (*read)(struct batchmill_call *call);
};

struct batchmill_plugin {
    size_t size;       // sizeof(struct batchmill_plugin)
    unsigned abi;      // BATCHMILL_PLUGIN_ABI
    size_t param_size; // sizeof(struct batchmill_param)
    const char *name, *version;
    const struct batchmill_action_type *const *actions; // then NULL; or NULL
    const struct batchmill_source_type *const *sources; // then NULL; or NULL
};
#define BATCHMILL_PLUGIN_HEAD                                                                      \
    sizeof(struct batchmill_plugin), BATCHMILL_PLUGIN_ABI, sizeof(struct batchmill_param)

// What the plug-in exports. `abi` is the server's; NULL if that is too old for this plug-in. The
// tables must live as long as the process.
BATCHMILL_PLUGIN_EXPORT const struct batchmill_plugin *batchmill_plugin(unsigned abi);

// ---- What the server does for it: the inline functions below are how to call it ----

struct batchmill_host {
    size_t size;
    unsigned abi;
    const char *version; // of Batchmill

    size_t (*param_count)(struct batchmill_setup *setup, const char *name);
    int64_t (*param_integer)(struct batchmill_setup *setup, const char *name, size_t i);
    double (*param_number)(struct batchmill_setup *setup, const char *name, size_t i);
    const char *(*param_text)(struct batchmill_setup *setup, const char *name, size_t i);
    bool (*refuse)(struct batchmill_setup *setup, const char *text);
    int (*find)(struct batchmill_setup *setup, const char *name);
    int (*require)(struct batchmill_setup *setup, const char *parameter, size_t i);
    bool (*component)(struct batchmill_setup *setup, int index,
                      struct batchmill_component *ret_component);
    bool (*keep)(struct batchmill_setup *setup, int from, const struct batchmill_component *as);
    bool (*keep_all)(struct batchmill_setup *setup);
    int (*write)(struct batchmill_setup *setup, const struct batchmill_component *component,
                 int from);
    bool (*names)(struct batchmill_setup *setup, int written, const char *const *names, size_t n);
    const char *(*name)(struct batchmill_setup *setup, int index, uint64_t value);
    bool (*items)(struct batchmill_setup *setup, uint64_t nitems, const void *identity,
                  size_t size);

    const void *(*input)(struct batchmill_call *call, int component, uint64_t first, uint64_t count,
                         uint64_t *ret_elements);
    void *(*output)(struct batchmill_call *call, int component, uint64_t first, uint64_t count,
                    uint64_t *ret_elements);
    const uint64_t *(*offsets)(struct batchmill_call *call, int component);
    bool (*lengths)(struct batchmill_call *call, int component, const uint64_t *lengths);
    enum batchmill_result (*fail)(struct batchmill_call *call, int64_t item, const char *text);
    void (*drop)(struct batchmill_call *call, uint64_t item);
    enum batchmill_result (*sleep)(struct batchmill_call *call, uint64_t ns);
    struct batchmill_call *(*defer)(struct batchmill_call *call);
    void (*finish)(struct batchmill_call *call, enum batchmill_result result);

    void (*random)(struct batchmill_call *call, uint64_t item, struct batchmill_random *ret_random);
    uint64_t (*random_u64)(struct batchmill_random *random);
    uint64_t (*random_below)(struct batchmill_random *random, uint64_t bound);
    double (*random_uniform)(struct batchmill_random *random);
    double (*random_normal)(struct batchmill_random *random);
};

// ---- In open(). What fails is remembered, the first reason counts, and open() may as well go on
// and return true: it is refused anyway ----

// A parameter by its name: how many elements a list has; else 1, or 0 for no text and no dtype.
static inline size_t batchmill_param_count(struct batchmill_setup *setup, const char *name)
{
    return setup->host->param_count(setup, name);
}
// Element i of a list; i = 0 of what is none. Asking for what is not there, or is of another kind,
// refuses the pipeline and returns 0 or NULL. Texts are lent until open() returns.
static inline int64_t batchmill_param_integer(struct batchmill_setup *setup, const char *name,
                                              size_t i)
{
    return setup->host->param_integer(setup, name, i);
}
static inline double batchmill_param_number(struct batchmill_setup *setup, const char *name,
                                            size_t i)
{
    return setup->host->param_number(setup, name, i);
}
// NULL for a text that was not given, which is no failure.
static inline const char *batchmill_param_text(struct batchmill_setup *setup, const char *name,
                                               size_t i)
{
    return setup->host->param_text(setup, name, i);
}

// Refuses the pipeline with a sentence for whoever wrote it: "expected ..., got ...". False.
static inline bool batchmill_refuse(struct batchmill_setup *setup, const char *format, ...)
    BATCHMILL_PLUGIN_PRINTF(2, 3);
static inline bool batchmill_refuse(struct batchmill_setup *setup, const char *format, ...)
{
    char text[320];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return setup->host->refuse(setup, text);
}

// The number of the component of that name that comes in; -1: there is none, which is no failure.
static inline int batchmill_find(struct batchmill_setup *setup, const char *name)
{
    return setup->host->find(setup, name);
}
// The number of the component that element i of a parameter names. -1: there is none; the error
// says so where the parameter stands, and names those there are.
static inline int batchmill_require(struct batchmill_setup *setup, const char *parameter, size_t i)
{
    return setup->host->require(setup, parameter, i);
}
// What comes in as number `index`; lent until open() returns. False, and all zero: there is none.
static inline bool batchmill_component(struct batchmill_setup *setup, int index,
                                       struct batchmill_component *ret_component)
{
    return setup->host->component(setup, index, ret_component);
}

// Component `from` passes through as it is; with `as`, under its name and shape, which may differ
// if the dtype and the number of elements are the same. What is neither kept nor written is gone.
static inline bool batchmill_keep(struct batchmill_setup *setup, int from,
                                  const struct batchmill_component *as)
{
    return setup->host->keep(setup, from, as);
}
static inline bool batchmill_keep_all(struct batchmill_setup *setup)
{
    return setup->host->keep_all(setup);
}
// run() or read() writes `component`: in place of the one of that name if there is one already,
// else behind those there are. `from` is the component that comes in from which it is computed, or
// -1. A ragged one with a `from` has the row lengths of that; without, batchmill_lengths() gives
// them, which per-item actions cannot do. Returns its number in the output; -1: it failed.
static inline int batchmill_write(struct batchmill_setup *setup,
                                  const struct batchmill_component *component, int from)
{
    return setup->host->write(setup, component, from);
}

// What the values 0 .. n - 1 of a written integer component stand for, such as classes: UTF-8, no
// two alike. `written` is what batchmill_write() returned; the names are copied.
static inline bool batchmill_names(struct batchmill_setup *setup, int written,
                                   const char *const *names, size_t n)
{
    return setup->host->names(setup, written, names, n);
}
// What a value of component `index` that comes in stands for; lent until open() returns. NULL: it
// has no name.
static inline const char *batchmill_name(struct batchmill_setup *setup, int index, uint64_t value)
{
    return setup->host->name(setup, index, value);
}

// Of a source: how many items it has, and bytes that are equal where the data are equal, on any
// machine: the contents, a hash of them, or an id that the user gave; never a time or a path.
static inline bool batchmill_items(struct batchmill_setup *setup, uint64_t nitems,
                                   const void *identity, size_t size)
{
    return setup->host->items(setup, nitems, identity, size);
}

// ---- In run() and read() ----

// Where the elements of `count` items from `first` on lie, in the batch before the action; numbers
// of components are those of open(). *ret_elements is how many they are, of ragged ones too (bytes
// for text). Only items of the call: first >= call->first, and so on; else it fails the batch, and
// gives NULL and 0.
static inline const void *batchmill_input(struct batchmill_call *call, int component,
                                          uint64_t first, uint64_t count, uint64_t *ret_elements)
{
    return call->host->input(call, component, first, count, ret_elements);
}
// Where to write: the number is what batchmill_write() returned. Nothing is zeroed before.
static inline void *batchmill_output(struct batchmill_call *call, int component, uint64_t first,
                                     uint64_t count, uint64_t *ret_elements)
{
    return call->host->output(call, component, first, count, ret_elements);
}
// Of a ragged component of the batch before: where each item's rows begin, [nitems + 1]. Else NULL.
static inline const uint64_t *batchmill_offsets(struct batchmill_call *call, int component)
{
    return call->host->offsets(call, component);
}
// Gives a written ragged component its memory: lengths[nitems] are each item's rows (bytes for
// text). Once, before its batchmill_output(). False: the batch fails.
static inline bool batchmill_lengths(struct batchmill_call *call, int component,
                                     const uint64_t *lengths)
{
    return call->host->lengths(call, component, lengths);
}

// Fails the batch with a sentence for people. `item` is the place in the batch, from 0, of the item
// that is to blame, or -1. Returns BATCHMILL_RESULT_FAIL.
static inline enum batchmill_result batchmill_fail(struct batchmill_call *call, int64_t item,
                                                   const char *format, ...)
    BATCHMILL_PLUGIN_PRINTF(3, 4);
static inline enum batchmill_result batchmill_fail(struct batchmill_call *call, int64_t item,
                                                   const char *format, ...)
{
    char text[320];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return call->host->fail(call, item, text);
}

// Leaves an item of the call out of the batch, which is shorter from the next action on; one with
// no item left is skipped. What the action writes for it does not matter. Actions only.
static inline void batchmill_drop(struct batchmill_call *call, uint64_t item)
{
    call->host->drop(call, item);
}

// An action that waits holds no worker; a lock that it uses stays held. Per-batch actions only.
// Sleep: `return batchmill_sleep(call, ns)` ends it as OK after that time.
// Defer: gives a call that lasts until batchmill_finish(), which must come exactly once, from any
// thread, also when the stream was closed meanwhile. run() returns BATCHMILL_RESULT_PENDING, and
// does not touch its own call any more. NULL: it failed; return BATCHMILL_RESULT_FAIL.
static inline enum batchmill_result batchmill_sleep(struct batchmill_call *call, uint64_t ns)
{
    return call->host->sleep(call, ns);
}
static inline struct batchmill_call *batchmill_defer(struct batchmill_call *call)
{
    return call->host->defer(call);
}
// With any result but PENDING; `call` is gone then.
static inline void batchmill_finish(struct batchmill_call *call, enum batchmill_result result)
{
    call->host->finish(call, result);
}

// The generator of an item of the call: its numbers depend on the stream's seed, the item, its
// epoch and the action's place in the pipeline, and on nothing else. Actions only.
static inline struct batchmill_random batchmill_random(struct batchmill_call *call, uint64_t item)
{
    struct batchmill_random random;
    call->host->random(call, item, &random);
    return random;
}
static inline uint64_t batchmill_random_u64(struct batchmill_random *random)
{
    return random->host->random_u64(random);
}
// 0 .. bound - 1, unbiased; 0 if bound is 0.
static inline uint64_t batchmill_random_below(struct batchmill_random *random, uint64_t bound)
{
    return random->host->random_below(random, bound);
}
// [0, 1), 53 bits.
static inline double batchmill_random_uniform(struct batchmill_random *random)
{
    return random->host->random_uniform(random);
}
// Mean 0, deviation 1.
static inline double batchmill_random_normal(struct batchmill_random *random)
{
    return random->host->random_normal(random);
}

#ifdef __cplusplus
}
#endif
#endif
