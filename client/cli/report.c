#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/cli/cli.h"

enum cli_exit cli_report(const char *command, const struct batchmill_error *error)
{
    fprintf(stderr, "%s: %s\n", command, error->text);
    return error->code == BATCHMILL_UNAVAILABLE ? CLI_UNREACHABLE : CLI_FAILED;
}

uint64_t cli_number(struct argp_state *state, const char *option, const char *text, uint64_t min,
                    uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < min ||
        number > max)
        argp_error(state, "--%s: expected a whole number from %llu to %llu, got \"%s\"", option,
                   (unsigned long long)min, (unsigned long long)max, text);
    return number;
}
