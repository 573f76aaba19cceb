#include "base/hash.h"

#include <string.h>

#include <xxhash.h>

// XXH3_state_t wants 64-byte alignment, which its own allocator gives.
uint64_t bm_hash_bytes(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}

struct bm_hash *bm_hash_new(void)
{
    XXH3_state_t *state = XXH3_createState();
    if (state != NULL)
        XXH3_64bits_reset(state);
    return (struct bm_hash *)state;
}

void bm_hash_free(struct bm_hash *hash)
{
    XXH3_freeState((XXH3_state_t *)hash);
}

void bm_hash_add(struct bm_hash *hash, const void *data, size_t size)
{
    XXH3_64bits_update((XXH3_state_t *)hash, data, size);
}

void bm_hash_add_text(struct bm_hash *hash, const char *text)
{
    bm_hash_add(hash, text, strlen(text) + 1);
}

void bm_hash_add_u64(struct bm_hash *hash, uint64_t value)
{
    unsigned char bytes[8];
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
    bm_hash_add(hash, bytes, sizeof bytes);
}

uint64_t bm_hash_end(const struct bm_hash *hash)
{
    return XXH3_64bits_digest((const XXH3_state_t *)hash);
}
