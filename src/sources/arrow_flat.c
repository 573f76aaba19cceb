#include "sources/arrow_flat.h"

#include <string.h>

// A number of `bytes` bytes at `at`; 0 and bad where there are fewer.
static uint64_t flat_load(struct bm_flat *flat, uint64_t at, unsigned bytes)
{
    uint64_t value = 0;
    if (flat->bad || at > flat->size || flat->size - at < bytes) {
        flat->bad = true;
        return 0;
    }
    memcpy(&value, flat->data + at, bytes);
    return value;
}

// Offsets count from where they stand, forwards, so nothing leads in a circle.
static uint64_t flat_follow(struct bm_flat *flat, uint64_t at)
{
    uint64_t offset = flat_load(flat, at, 4);
    if (offset == 0)
        flat->bad = true;
    return flat->bad ? 0 : at + offset;
}

static struct bm_flat_table flat_table(struct bm_flat *flat, uint64_t at)
{
    struct bm_flat_table table = {.flat = flat};
    int32_t back = (int32_t)flat_load(flat, at, 4); // to the list of offsets, on either side
    int64_t slots = (int64_t)at - back;
    if (slots < 0)
        flat->bad = true;
    uint64_t slots_size = flat_load(flat, (uint64_t)slots, 2);
    table.size = flat_load(flat, (uint64_t)slots + 2, 2);
    if (slots_size < 4 || table.size < 4 || table.size > flat->size - at)
        flat->bad = true;
    if (flat->bad)
        return (struct bm_flat_table){.flat = flat};
    table.at = at;
    table.slots = (uint64_t)slots + 4;
    table.nslots = (unsigned)(slots_size - 4) / 2;
    return table;
}

struct bm_flat_table bm_flat_root(struct bm_flat *flat)
{
    return flat_table(flat, flat_follow(flat, 0));
}

// Where the field is; 0: absent.
static uint64_t table_field(const struct bm_flat_table *table, unsigned slot, unsigned bytes)
{
    if (table->at == 0 || slot >= table->nslots)
        return 0;
    uint64_t offset = flat_load(table->flat, table->slots + 2ULL * slot, 2);
    if (offset == 0)
        return 0;
    if (offset < 4 || offset + bytes > table->size) {
        table->flat->bad = true;
        return 0;
    }
    return table->at + offset;
}

int64_t bm_flat_integer(const struct bm_flat_table *table, unsigned slot, unsigned bytes,
                        int64_t fallback)
{
    uint64_t at = table_field(table, slot, bytes);
    if (at == 0)
        return fallback;
    unsigned unused = 64 - 8 * bytes;
    return (int64_t)(flat_load(table->flat, at, bytes) << unused) >> unused;
}

struct bm_flat_table bm_flat_child(const struct bm_flat_table *table, unsigned slot)
{
    uint64_t at = table_field(table, slot, 4);
    if (at == 0)
        return (struct bm_flat_table){.flat = table->flat};
    return flat_table(table->flat, flat_follow(table->flat, at));
}

struct bm_flat_vector bm_flat_vector(const struct bm_flat_table *table, unsigned slot,
                                     unsigned element_bytes)
{
    struct bm_flat *flat = table->flat;
    uint64_t at = table_field(table, slot, 4);
    if (at == 0)
        return (struct bm_flat_vector){0};
    at = flat_follow(flat, at);
    uint64_t n = flat_load(flat, at, 4);
    if (flat->bad || n > (flat->size - at - 4) / element_bytes) {
        flat->bad = true;
        return (struct bm_flat_vector){0};
    }
    return (struct bm_flat_vector){.at = at + 4, .n = n};
}

struct bm_flat_table bm_flat_vector_table(struct bm_flat *flat, struct bm_flat_vector vector,
                                          uint64_t i)
{
    return flat_table(flat, flat_follow(flat, vector.at + 4 * i));
}
