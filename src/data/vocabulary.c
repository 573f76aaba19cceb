#include "data/vocabulary.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/hash.h"

// The names lie one behind the other; a table of slots with linear probing finds them. A slot is
// an index + 1, or 0.
struct bm_vocabulary {
    atomic_uint refs;
    struct bm_buffer text; // each name with its NUL
    uint64_t count, capacity;
    size_t *starts;  // [capacity] in `text`
    uint64_t nslots; // 0, or a power of two of at least twice the count
    uint32_t *slots;
};

enum bm_status bm_vocabulary_new(struct bm_vocabulary **ret_vocabulary, struct bm_error *err)
{
    struct bm_vocabulary *vocabulary = calloc(1, sizeof *vocabulary);
    if (vocabulary == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a vocabulary");
    atomic_init(&vocabulary->refs, 1);
    bm_buffer_init(&vocabulary->text);
    *ret_vocabulary = vocabulary;
    return BM_OK;
}

struct bm_vocabulary *bm_vocabulary_ref(struct bm_vocabulary *vocabulary)
{
    if (vocabulary != NULL)
        atomic_fetch_add(&vocabulary->refs, 1);
    return vocabulary;
}

struct bm_vocabulary *bm_vocabulary_unref(struct bm_vocabulary *vocabulary)
{
    if (vocabulary != NULL && atomic_fetch_sub(&vocabulary->refs, 1) == 1) {
        bm_buffer_fini(&vocabulary->text);
        free(vocabulary->starts);
        free(vocabulary->slots);
        free(vocabulary);
    }
    return NULL;
}

static const char *vocabulary_text(const struct bm_vocabulary *vocabulary, uint64_t index)
{
    return (const char *)vocabulary->text.data + vocabulary->starts[index];
}

// The slot that has the name, or the free one where it belongs.
static uint32_t *vocabulary_slot(const struct bm_vocabulary *vocabulary, const char *name,
                                 size_t length)
{
    uint64_t mask = vocabulary->nslots - 1;
    for (uint64_t i = bm_hash_bytes(name, length) & mask;; i = (i + 1) & mask) {
        uint32_t *slot = &vocabulary->slots[i];
        if (*slot == 0)
            return slot;
        const char *there = vocabulary_text(vocabulary, *slot - 1);
        if (strncmp(there, name, length) == 0 && there[length] == '\0')
            return slot;
    }
}

static void vocabulary_fill_slots(struct bm_vocabulary *vocabulary)
{
    memset(vocabulary->slots, 0, vocabulary->nslots * sizeof vocabulary->slots[0]);
    for (uint64_t i = 0; i < vocabulary->count; i++) {
        const char *name = vocabulary_text(vocabulary, i);
        *vocabulary_slot(vocabulary, name, strlen(name)) = (uint32_t)(i + 1);
    }
}

// Room for one name more. False: out of memory, and nothing has changed.
static bool vocabulary_grow(struct bm_vocabulary *vocabulary)
{
    if (vocabulary->count == vocabulary->capacity) {
        uint64_t capacity = vocabulary->capacity == 0 ? 16 : 2 * vocabulary->capacity;
        size_t *starts = realloc(vocabulary->starts, capacity * sizeof starts[0]);
        if (starts == NULL)
            return false;
        vocabulary->starts = starts;
        vocabulary->capacity = capacity;
    }
    if (2 * (vocabulary->count + 1) <= vocabulary->nslots)
        return true;
    uint64_t nslots = vocabulary->nslots == 0 ? 32 : 2 * vocabulary->nslots;
    uint32_t *slots = malloc(nslots * sizeof slots[0]);
    if (slots == NULL)
        return false;
    free(vocabulary->slots);
    vocabulary->slots = slots;
    vocabulary->nslots = nslots;
    vocabulary_fill_slots(vocabulary);
    return true;
}

enum bm_status bm_vocabulary_add(struct bm_vocabulary *vocabulary, const char *name, size_t length,
                                 uint64_t *ret_index, struct bm_error *err)
{
    if (memchr(name, '\0', length) != NULL)
        return bm_fail(err, BM_INVALID_ARGUMENT, NULL, "expected a name without NUL, got \"%.40s\"",
                       name);
    int64_t index = bm_vocabulary_find(vocabulary, name, length);
    if (index >= 0) {
        *ret_index = (uint64_t)index;
        return BM_OK;
    }
    if (vocabulary->count == BM_VOCABULARY_MAX)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "expected at most %d different names",
                       BM_VOCABULARY_MAX);
    size_t start = vocabulary->text.size;
    char *copy = NULL;
    if (vocabulary_grow(vocabulary))
        copy = bm_buffer_extend(&vocabulary->text, length + 1);
    if (copy == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a vocabulary");
    memcpy(copy, name, length);
    copy[length] = '\0';
    vocabulary->starts[vocabulary->count] = start;
    *vocabulary_slot(vocabulary, name, length) = (uint32_t)(vocabulary->count + 1);
    *ret_index = vocabulary->count++;
    return BM_OK;
}

static int name_compare(const void *a, const void *b, void *text)
{
    return strcmp((const char *)text + *(const size_t *)a, (const char *)text + *(const size_t *)b);
}

enum bm_status bm_vocabulary_sort(struct bm_vocabulary *vocabulary, uint64_t *ret_new_index,
                                  struct bm_error *err)
{
    if (vocabulary->count == 0)
        return BM_OK;
    size_t size = vocabulary->count * sizeof vocabulary->starts[0];
    size_t *before = malloc(size);
    if (before == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a vocabulary");
    memcpy(before, vocabulary->starts, size);
    qsort_r(vocabulary->starts, vocabulary->count, sizeof vocabulary->starts[0], name_compare,
            vocabulary->text.data);
    vocabulary_fill_slots(vocabulary);
    for (uint64_t i = 0; i < vocabulary->count && ret_new_index != NULL; i++) {
        const char *name = (const char *)vocabulary->text.data + before[i];
        ret_new_index[i] = (uint64_t)bm_vocabulary_find(vocabulary, name, strlen(name));
    }
    free(before);
    return BM_OK;
}

uint64_t bm_vocabulary_count(const struct bm_vocabulary *vocabulary)
{
    return vocabulary == NULL ? 0 : vocabulary->count;
}

const char *bm_vocabulary_name(const struct bm_vocabulary *vocabulary, uint64_t index)
{
    BM_ASSERT(index < bm_vocabulary_count(vocabulary));
    return vocabulary_text(vocabulary, index);
}

int64_t bm_vocabulary_find(const struct bm_vocabulary *vocabulary, const char *name, size_t length)
{
    if (bm_vocabulary_count(vocabulary) == 0 || memchr(name, '\0', length) != NULL)
        return -1;
    return (int64_t)*vocabulary_slot(vocabulary, name, length) - 1;
}

uint64_t bm_vocabulary_hash(const struct bm_vocabulary *vocabulary)
{
    uint64_t hash = 0;
    for (uint64_t i = 0; i < bm_vocabulary_count(vocabulary); i++) {
        const char *name = vocabulary_text(vocabulary, i);
        const uint64_t parts[2] = {hash, bm_hash_bytes(name, strlen(name))};
        hash = bm_hash_bytes(parts, sizeof parts);
    }
    return hash;
}
