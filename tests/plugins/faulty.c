// faulty.c -- a plug-in of which each action breaks one promise, for `batchmill plugin check` to
// find. Built by tests/integration/plugin.sh.
#include <batchmill/plugin.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// y is like the float32 component number.
static bool open_number(struct batchmill_setup *setup, void **ret_self)
{
    struct batchmill_component y = {.name = "y", .dtype = BATCHMILL_FLOAT32};
    int *self = malloc(sizeof *self);
    batchmill_keep_all(setup);
    if (batchmill_find(setup, "number") < 0)
        batchmill_refuse(setup, "expected a component number");
    *self = batchmill_write(setup, &y, batchmill_find(setup, "number"));
    *ret_self = self;
    return true;
}

static const float *input(struct batchmill_call *call, uint64_t item)
{
    uint64_t n;
    return batchmill_input(call, 1, item, 1, &n); // number is the sample's second component
}

static float *output(struct batchmill_call *call, uint64_t item)
{
    uint64_t n;
    return batchmill_output(call, *(int *)call->self, item, 1, &n);
}

static void copy(struct batchmill_call *call)
{
    for (uint64_t item = call->first; item < call->first + call->count; item++)
        *output(call, item) = *input(call, item);
}

static enum batchmill_result run_crash(struct batchmill_call *call)
{
    copy(call);
    raise(SIGSEGV);
    return BATCHMILL_RESULT_OK;
}

static enum batchmill_result run_exit(struct batchmill_call *call)
{
    (void)call;
    _exit(3);
}

static enum batchmill_result run_hang(struct batchmill_call *call)
{
    (void)call;
    while (pause() < 0)
        ; // a signal may wake it, but does not end it
    return BATCHMILL_RESULT_OK;
}

static enum batchmill_result run_forget(struct batchmill_call *call)
{
    for (uint64_t item = call->first; item < call->first + call->count; item++) {
        if (*input(call, item) > 0)
            *output(call, item) = 1; // else nobody writes it
    }
    return BATCHMILL_RESULT_OK;
}

static enum batchmill_result run_count(struct batchmill_call *call)
{
    static unsigned count;
    for (uint64_t item = call->first; item < call->first + call->count; item++)
        *output(call, item) = (float)__atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
    return BATCHMILL_RESULT_OK;
}

static enum batchmill_result run_neighbour(struct batchmill_call *call)
{
    copy(call);
    *output(call, call->first) = (float)call->seq; // where in a batch it is, reaches its bytes
    return BATCHMILL_RESULT_OK;
}

static enum batchmill_result run_mute(struct batchmill_call *call)
{
    copy(call);
    return call->seq == 2 ? BATCHMILL_RESULT_FAIL : BATCHMILL_RESULT_OK;
}

static enum batchmill_result run_beyond(struct batchmill_call *call)
{
    uint64_t n;
    copy(call);
    batchmill_output(call, *(int *)call->self, call->first, call->count + 1, &n);
    return BATCHMILL_RESULT_OK;
}

static enum batchmill_result run_leak(struct batchmill_call *call)
{
    char *volatile lost = malloc(100);
    copy(call);
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): that is what it does wrong
    return lost == NULL ? BATCHMILL_RESULT_FAIL : BATCHMILL_RESULT_OK;
}

static bool open_anything(struct batchmill_setup *setup, void **ret_self)
{
    *ret_self = NULL;
    if (batchmill_find(setup, "number") < 0)
        return false; // without saying why
    return batchmill_keep_all(setup);
}

static enum batchmill_result run_nothing(struct batchmill_call *call)
{
    (void)call;
    return BATCHMILL_RESULT_OK;
}

#define ACTION(called, opens, runs)                                                                \
    static const struct batchmill_action_type called = {.size = sizeof called,                     \
                                                        .name = #called,                           \
                                                        .doc = "Breaks a promise.",                \
                                                        .open = opens,                             \
                                                        .close = free,                             \
                                                        .run = runs}
ACTION(crash, open_number, run_crash);
ACTION(end, open_number, run_exit);
ACTION(hang, open_number, run_hang);
ACTION(forget, open_number, run_forget);
ACTION(counts, open_number, run_count);
ACTION(neighbour, open_number, run_neighbour);
ACTION(mute, open_number, run_mute);
ACTION(beyond, open_number, run_beyond);
ACTION(leak, open_number, run_leak);
ACTION(silent, open_anything, run_nothing);

static const struct batchmill_action_type *const actions[] = {
    &crash, &end, &hang, &forget, &counts, &neighbour, &mute, &beyond, &leak, &silent, NULL};
static const struct batchmill_plugin plugin = {BATCHMILL_PLUGIN_HEAD, .name = "faulty",
                                               .version = "0", .actions = actions};

const struct batchmill_plugin *batchmill_plugin(unsigned abi)
{
#ifdef FUTURE
    return abi > BATCHMILL_PLUGIN_ABI ? &plugin : NULL;
#else
    (void)abi;
    return &plugin;
#endif
}
