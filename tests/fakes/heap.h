// heap.h -- an allocator that fails when told to. Layer: tests.
//
// Linked into every test program in front of malloc, calloc, realloc, reallocarray, strdup,
// strndup, aligned_alloc and posix_memalign as our own code calls them; libraries keep the real
// ones. The way to try every failure of a function:
//
//     bool failed;
//     uint64_t n = 0;
//     do {
//         bm_fake_heap_fail_at(++n);
//         enum bm_status status = bm_thing_new(&thing, &err);
//         failed = bm_fake_heap_failed();
//         bm_fake_heap_fail_never();
//         assert_int_equal(status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
//     } while (failed);
//
// Threads: any thread; the count is one for the whole program.
#pragma once
#include <stdbool.h>
#include <stdint.h>

// The n-th allocation from here on fails, once; 1 is the next one. Starts the count anew.
void bm_fake_heap_fail_at(uint64_t n);
// The n-th and all after it fail, until told otherwise.
void bm_fake_heap_fail_from(uint64_t n);
void bm_fake_heap_fail_never(void); // as at the start of the program; the count goes on
bool bm_fake_heap_failed(void); // whether the one named by fail_at() or fail_from() came and failed
uint64_t bm_fake_heap_count(void); // allocations asked for since then, failed ones included
