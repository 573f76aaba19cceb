#include "base/state.h"

#include <stdio.h>

#include "base/error.h"

int bm_state_next(const struct bm_state_rule *rules, int from, int to)
{
    if ((rules[from].next & BM_TO(to)) == 0) {
        char text[128];
        snprintf(text, sizeof text, "%s may move to %s", rules[from].name, rules[to].name);
        bm_panic(text, __FILE__, __LINE__);
    }
    return to;
}
