#include "base/heap.h"

#include <stddef.h>

#include "base/error.h"

static bool node_before(const struct bm_heap_node *a, const struct bm_heap_node *b)
{
    return a->key != b->key ? a->key < b->key : a->order < b->order;
}

// Two trees become one: the later root is the first child of the earlier.
static struct bm_heap_node *heap_meld(struct bm_heap_node *a, struct bm_heap_node *b)
{
    if (a == NULL || b == NULL)
        return a == NULL ? b : a;
    struct bm_heap_node *root = node_before(a, b) ? a : b;
    struct bm_heap_node *child = root == a ? b : a;
    child->prev = root;
    child->next = root->child;
    if (child->next != NULL)
        child->next->prev = child;
    root->child = child;
    root->next = root->prev = NULL;
    return root;
}

// Melds a row of siblings: in pairs from the left, then all from the right.
static struct bm_heap_node *heap_meld_row(struct bm_heap_node *first)
{
    struct bm_heap_node *pairs = NULL; // linked by prev, the last pair first
    while (first != NULL) {
        struct bm_heap_node *a = first, *b = a->next;
        first = b == NULL ? NULL : b->next;
        a->next = a->prev = NULL;
        if (b != NULL)
            b->next = b->prev = NULL;
        struct bm_heap_node *pair = heap_meld(a, b);
        pair->prev = pairs;
        pairs = pair;
    }
    struct bm_heap_node *root = NULL;
    while (pairs != NULL) {
        struct bm_heap_node *next = pairs->prev;
        pairs->prev = NULL;
        root = heap_meld(root, pairs);
        pairs = next;
    }
    return root;
}

void bm_heap_insert(struct bm_heap *heap, struct bm_heap_node *node, uint64_t key)
{
    BM_ASSERT(!node->queued);
    *node = (struct bm_heap_node){.key = key, .order = heap->inserted++, .queued = true};
    heap->root = heap_meld(heap->root, node);
}

void bm_heap_remove(struct bm_heap *heap, struct bm_heap_node *node)
{
    BM_ASSERT(node->queued);
    struct bm_heap_node *below = heap_meld_row(node->child);
    if (heap->root == node) {
        heap->root = below;
    } else {
        if (node->prev->child == node)
            node->prev->child = node->next;
        else
            node->prev->next = node->next;
        if (node->next != NULL)
            node->next->prev = node->prev;
        heap->root = heap_meld(heap->root, below);
    }
    *node = (struct bm_heap_node){0};
}

struct bm_heap_node *bm_heap_first(const struct bm_heap *heap)
{
    return heap->root;
}
