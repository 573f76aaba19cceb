// order.c -- the order parameters as options; gen, next, run and trace take the same ones.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"

enum {
    KEY_BATCH_SIZE = 0x200,
    KEY_SHUFFLE,
    KEY_SEED,
    KEY_N_EPOCHS,
    KEY_N_ITERS,
    KEY_DROP_LAST,
    KEY_BORDER,
    KEY_SHARD,
    KEY_PREFETCH,
    KEY_ON_ERROR,
    KEY_CHECKED,
    KEY_POSITION
};

static const struct argp_option order_options[] = {
    {NULL, 0, NULL, 0, "Order:", 2},
    {"batch-size", KEY_BATCH_SIZE, "N", 0, "items in a batch (required)", 2},
    {"shuffle", KEY_SHUFFLE, "SEED|draw", 0,
     "shuffle by this seed, or by one that the server draws and the summary shows", 2},
    {"seed", KEY_SEED, "SEED", 0, "of random actions, without shuffling; default 0", 2},
    {"n-epochs", KEY_N_EPOCHS, "N", 0, "passes over the source, 0 = endless; default 1", 2},
    {"n-iters", KEY_N_ITERS, "N", 0, "batches, over as many epochs as it takes", 2},
    {"drop-last", KEY_DROP_LAST, NULL, 0, "leave incomplete batches out", 2},
    {"epoch-border", KEY_BORDER, "stop|cross", 0, "may a batch hold items of two epochs?", 2},
    {"shard", KEY_SHARD, "I/N", 0, "take part I (from 0) of N", 2},
    {"prefetch", KEY_PREFETCH, "N|auto", 0,
     "batches worked on beside the one in use; default auto: as many as it turns out to take", 2},
    {"on-error", KEY_ON_ERROR, "stop|skip|report", 0, "what a failed batch does", 2},
    {"checked", KEY_CHECKED, NULL, 0, "batches of any size carry a check; else small ones only", 2},
    {"position", KEY_POSITION, "TOKEN", 0, "go on where a stream stood", 2},
    {0},
};

static const char *const shuffles[] = {"off", "seeded", "drawn", NULL};
static const char *const borders[] = {"stop", "cross", NULL};
static const char *const policies[] = {"stop", "skip", "report", NULL};

static unsigned order_choice(struct argp_state *state, const char *option, const char *text,
                             const char *const *choices)
{
    unsigned i = 0;
    while (choices[i] != NULL && strcmp(choices[i], text) != 0)
        i++;
    if (choices[i] == NULL)
        argp_error(state, "--%s: \"%s\" is not one of the choices in --help", option, text);
    return i;
}

static void order_shuffle(struct cli_order *input, struct argp_state *state, const char *text)
{
    if (strcmp(text, "draw") == 0) {
        input->order.shuffle = BATCHMILL_SHUFFLE_DRAWN;
        return;
    }
    input->order.shuffle = BATCHMILL_SHUFFLE_SEEDED;
    input->order.seed = cli_number(state, "shuffle", text, 0, UINT64_MAX);
}

static void order_shard(struct cli_order *input, struct argp_state *state, const char *text)
{
    char index[24];
    const char *slash = strchr(text, '/');
    if (slash == NULL || (size_t)(slash - text) >= sizeof index)
        argp_error(state, "--shard: expected I/N, such as 0/4, got \"%s\"", text);
    snprintf(index, sizeof index, "%.*s", (int)(slash - text), text);
    input->order.shard_count = cli_number(state, "shard", slash + 1, 1, UINT64_MAX);
    input->order.shard_index = cli_number(state, "shard", index, 0, input->order.shard_count - 1);
}

static bool order_gave(const struct cli_order *input, int key)
{
    return (input->given & 1u << (key - KEY_BATCH_SIZE)) != 0;
}

static void order_check(const struct cli_order *input, struct argp_state *state)
{
    if (!order_gave(input, KEY_BATCH_SIZE) && input->order.position == NULL && !input->goes_on)
        argp_error(state, "--batch-size is required");
    if (input->order.n_epochs != BATCHMILL_UNSET && input->order.n_iters != BATCHMILL_UNSET)
        argp_error(state, "--n-epochs and --n-iters exclude each other");
    if (order_gave(input, KEY_SEED) && input->order.shuffle != BATCHMILL_SHUFFLE_OFF)
        argp_error(state, "--seed and --shuffle exclude each other: shuffle takes the seed");
}

static error_t order_parse(int key, char *arg, struct argp_state *state)
{
    struct cli_order *input = state->input;
    struct batchmill_order *order = &input->order;
    if (key >= KEY_BATCH_SIZE && key <= KEY_POSITION)
        input->given |= 1u << (key - KEY_BATCH_SIZE);
    switch (key) {
    case ARGP_KEY_INIT:
        input->order = (struct batchmill_order)BATCHMILL_ORDER_DEFAULTS;
        input->order.prefetch = BATCHMILL_PREFETCH_AUTO;
        return 0;
    case KEY_BATCH_SIZE:
        order->batch_size = cli_number(state, "batch-size", arg, 1, UINT64_MAX);
        return 0;
    case KEY_SHUFFLE:
        order_shuffle(input, state, arg);
        return 0;
    case KEY_SEED:
        order->seed = cli_number(state, "seed", arg, 0, UINT64_MAX);
        return 0;
    case KEY_N_EPOCHS:
        order->n_epochs = cli_number(state, "n-epochs", arg, 0, UINT64_MAX - 1);
        return 0;
    case KEY_N_ITERS:
        order->n_iters = cli_number(state, "n-iters", arg, 1, UINT64_MAX - 1);
        return 0;
    case KEY_DROP_LAST:
        order->drop_last = true;
        return 0;
    case KEY_BORDER:
        order->epoch_border =
            (enum batchmill_epoch_border)order_choice(state, "epoch-border", arg, borders);
        return 0;
    case KEY_SHARD:
        order_shard(input, state, arg);
        return 0;
    case KEY_PREFETCH:
        order->prefetch = strcmp(arg, "auto") == 0
                              ? BATCHMILL_PREFETCH_AUTO
                              : (uint32_t)cli_number(state, "prefetch", arg, 0, UINT32_MAX - 1);
        return 0;
    case KEY_ON_ERROR:
        order->on_error = (enum batchmill_on_error)order_choice(state, "on-error", arg, policies);
        return 0;
    case KEY_CHECKED:
        order->checked = true;
        return 0;
    case KEY_POSITION:
        order->position = arg;
        return 0;
    case ARGP_KEY_END:
        order_check(input, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

// ---- An order that was kept, and one that is given ----

static const struct {
    const char *name; // in a checkpoint; where it is an option, of that
    int key;
    const char *const *choices; // of an enum
} order_numbers[CLI_ORDER_NUMBERS] = {
    [CLI_BATCH_SIZE] = {"batch-size", KEY_BATCH_SIZE, NULL},
    [CLI_SHUFFLE] = {"shuffle", KEY_SHUFFLE, shuffles},
    [CLI_SEED] = {"seed", KEY_SEED, NULL},
    [CLI_N_EPOCHS] = {"n-epochs", KEY_N_EPOCHS, NULL},
    [CLI_N_ITERS] = {"n-iters", KEY_N_ITERS, NULL},
    [CLI_DROP_LAST] = {"drop-last", KEY_DROP_LAST, NULL},
    [CLI_EPOCH_BORDER] = {"epoch-border", KEY_BORDER, borders},
    [CLI_SHARD_INDEX] = {"shard-index", KEY_SHARD, NULL},
    [CLI_SHARD_COUNT] = {"shard-count", KEY_SHARD, NULL},
    [CLI_ON_ERROR] = {"on-error", KEY_ON_ERROR, policies},
};

const char *cli_order_name(unsigned i)
{
    return order_numbers[i].name;
}

void cli_order_pack(const struct batchmill_order *order, uint64_t ret_numbers[CLI_ORDER_NUMBERS])
{
    const uint64_t numbers[CLI_ORDER_NUMBERS] = {
        [CLI_BATCH_SIZE] = order->batch_size,
        [CLI_SHUFFLE] = order->shuffle,
        [CLI_SEED] = order->seed,
        [CLI_N_EPOCHS] = order->n_epochs,
        [CLI_N_ITERS] = order->n_iters,
        [CLI_DROP_LAST] = order->drop_last,
        [CLI_EPOCH_BORDER] = order->epoch_border,
        [CLI_SHARD_INDEX] = order->shard_index,
        [CLI_SHARD_COUNT] = order->shard_count,
        [CLI_ON_ERROR] = order->on_error,
    };
    memcpy(ret_numbers, numbers, sizeof numbers);
}

bool cli_order_sensible(const uint64_t numbers[CLI_ORDER_NUMBERS])
{
    return numbers[CLI_SHUFFLE] <= BATCHMILL_SHUFFLE_DRAWN &&
           numbers[CLI_EPOCH_BORDER] <= BATCHMILL_BORDER_CROSS &&
           numbers[CLI_ON_ERROR] <= BATCHMILL_REPORT;
}

static void number_print(unsigned i, uint64_t number, char *text, size_t size)
{
    if (number == BATCHMILL_UNSET)
        snprintf(text, size, "nothing");
    else if (order_numbers[i].choices != NULL)
        snprintf(text, size, "%s", order_numbers[i].choices[number]);
    else
        snprintf(text, size, "%" PRIu64, number);
}

bool cli_order_agrees(const struct cli_order *input, const uint64_t kept[CLI_ORDER_NUMBERS],
                      struct batchmill_error *error)
{
    uint64_t given[CLI_ORDER_NUMBERS];
    cli_order_pack(&input->order, given);
    for (unsigned i = 0; i < CLI_ORDER_NUMBERS; i++) {
        bool seeded = i == CLI_SEED && input->order.shuffle == BATCHMILL_SHUFFLE_SEEDED;
        if ((!seeded && !order_gave(input, order_numbers[i].key)) || given[i] == kept[i])
            continue;
        char expected[32], got[32];
        number_print(i, kept[i], expected, sizeof expected);
        number_print(i, given[i], got, sizeof got);
        *error = (struct batchmill_error){.code = BATCHMILL_INVALID_ARGUMENT};
        snprintf(error->text, sizeof error->text,
                 "%s: expected %s as the checkpoint has it, got %s", order_numbers[i].name,
                 expected, got);
        return false;
    }
    return true;
}

const struct argp cli_order_argp = {.options = order_options, .parser = order_parse};

static error_t pipeline_parse(int key, char *arg, struct argp_state *state)
{
    const char **pipeline = state->input;
    if (key == ARGP_KEY_ARG) {
        if (*pipeline != NULL)
            argp_error(state, "expected one pipeline, got also \"%s\"", arg);
        *pipeline = arg;
        return 0;
    }
    if (key != ARGP_KEY_END)
        return ARGP_ERR_UNKNOWN;
    if (*pipeline == NULL)
        argp_error(state, "which pipeline?");
    return 0;
}

const struct argp cli_pipeline_argp = {.parser = pipeline_parse};

const struct argp_child cli_stream_children[] = {{&cli_target_argp, 0, NULL, 0},
                                                 {&cli_order_argp, 0, NULL, 0},
                                                 {&cli_pipeline_argp, 0, NULL, 0},
                                                 {0}};
