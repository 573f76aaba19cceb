// stderr.h -- what the code under test writes to stderr, and whether it ends the process.
// Layer: tests. Threads: one thread; its asserts are cmocka's.
#pragma once
#include <stddef.h>

// Calls run(arg) with stderr caught; returns its text, to be freed by the caller.
char *stderr_of(void (*run)(void *arg), void *arg);
// Asserts that run(arg), in a child process, aborts and says `text` on stderr.
void assert_aborts(void (*run)(void *arg), void *arg, const char *text);
