// state.h -- one rules table per state machine, one function that moves. Layer: base.
//
// A machine is an enum, a table of {name, states it may move to} and a static `noun_move()` that
// calls bm_state_next() and is the only writer of the state. A move that the table does not list
// is a bug and ends the process with both names.
// Threads: with whatever mutex guards the machine.
#pragma once

struct bm_state_rule {
    const char *name;
    unsigned next; // bit set of the states this one may move to
};

#define BM_TO(state) (1u << (state))

int bm_state_next(const struct bm_state_rule *rules, int from, int to); // returns `to`
