// interrupt.c -- Ctrl-C: the first ends the command in an orderly way, the second at once.
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "client/cli/cli.h"

enum { POLL_MS = 100 }; // how late a command may notice, while it waits for a batch

static atomic_bool interrupted;

static void on_signal(int signal)
{
    if (atomic_exchange(&interrupted, true))
        _exit(128 + signal);
}

void cli_interrupt_setup(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool cli_interrupted(void)
{
    return atomic_load(&interrupted);
}

enum batchmill_code cli_next_batch(struct batchmill_stream *stream, struct batchmill_batch **batch,
                                   struct batchmill_error *error)
{
    for (;;) {
        if (cli_interrupted())
            batchmill_cancel(stream);
        enum batchmill_code code = batchmill_next_within(stream, POLL_MS, batch, error);
        if (code != BATCHMILL_DEADLINE_EXCEEDED || error->has_batch)
            return code;
    }
}
