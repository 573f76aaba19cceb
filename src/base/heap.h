// heap.h -- an intrusive pairing heap: what is due first. Layer: base.
//
// Equal keys come out in the order they went in. It allocates nothing. Fredman, Sedgewick,
// Sleator, Tarjan: "The pairing heap", Algorithmica 1 (1986).
// Threads: not synchronised; with the lock of whoever owns the heap held.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct bm_heap_node {
    struct bm_heap_node *child, *next, *prev; // prev: left sibling, or parent of the first child
    uint64_t key, order;
    bool queued;
};

struct bm_heap { // all zero = empty
    struct bm_heap_node *root;
    uint64_t inserted;
};

void bm_heap_insert(struct bm_heap *heap, struct bm_heap_node *node, uint64_t key);
void bm_heap_remove(struct bm_heap *heap, struct bm_heap_node *node); // must be queued
struct bm_heap_node *bm_heap_first(const struct bm_heap *heap);       // or NULL
