// Received messages, and the memory of large ones: kept for those to come, as fresh memory costs as
// much as filling it.
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/mutex.h"
#include "client/c/transport_type.h"

enum {
    POOLED_BYTES_MIN = 32 * 1024, // malloc() is good at smaller ones
    POOL_BYTES_MAX = 64 * 1024 * 1024,
    // Tensors lie at offsets o of a message with o % 64 == 12: this makes them 64-byte aligned.
    ALIGNMENT = 64,
    ALIGNMENT_REST = 12,
};

struct bm_client_message {
    struct bm_node node; // in the pool, when nobody has it
    atomic_uint refs;
    struct bm_client_pool *pool; // NULL: not of one
    nng_msg *raw;                // NULL: the bytes are behind this
    size_t size, capacity;
    unsigned char *data;
};

struct bm_client_pool {
    struct bm_mutex mutex;
    struct bm_list idle; // the one used last is the last
    size_t bytes;        // of those
    size_t refs;         // the owner's, and one of each message that is not idle
    bool closed;
};

struct bm_client_pool *bm_client_pool_new(void)
{
    struct bm_client_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return NULL;
    bm_mutex_init(&pool->mutex);
    bm_list_init(&pool->idle);
    pool->refs = 1;
    return pool;
}

static struct bm_client_message *message_at(struct bm_node *node)
{
    return BM_CONTAINER(node, struct bm_client_message, node);
}

static void pool_shrink(struct bm_client_pool *pool, size_t most) BM_REQUIRES(pool->mutex)
{
    while (pool->bytes > most) {
        struct bm_client_message *oldest = message_at(bm_list_pop_front(&pool->idle));
        pool->bytes -= oldest->capacity;
        free(oldest);
    }
}

static void pool_unref(struct bm_client_pool *pool) BM_RELEASES(pool->mutex)
{
    bool last = --pool->refs == 0;
    bm_mutex_unlock(&pool->mutex);
    if (!last)
        return;
    bm_mutex_fini(&pool->mutex);
    free(pool);
}

void bm_client_pool_close(struct bm_client_pool *pool)
{
    if (pool == NULL)
        return;
    bm_mutex_lock(&pool->mutex);
    pool->closed = true;
    pool_shrink(pool, 0);
    pool_unref(pool);
}

// An idle one that is large enough, and not much too large; NULL: none.
static struct bm_client_message *pool_take(struct bm_client_pool *pool, size_t size)
{
    struct bm_client_message *message = NULL;
    bm_mutex_lock(&pool->mutex);
    pool->refs++; // of the message to come
    struct bm_node *end = &pool->idle.head;
    for (struct bm_node *node = end->prev; node != end && message == NULL; node = node->prev) {
        size_t capacity = message_at(node)->capacity;
        if (capacity >= size && capacity / 2 <= size)
            message = message_at(node);
    }
    if (message != NULL) {
        bm_list_remove(&message->node);
        pool->bytes -= message->capacity;
    }
    bm_mutex_unlock(&pool->mutex);
    return message;
}

static struct bm_client_message *message_alloc(size_t size)
{
    size_t head = (sizeof(struct bm_client_message) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT +
                  (ALIGNMENT - ALIGNMENT_REST);
    size_t capacity = size + size / 8; // the next one may be somewhat larger
    struct bm_client_message *message = NULL;
    if (size > PTRDIFF_MAX / 2 ||
        posix_memalign((void **)&message, ALIGNMENT, head + capacity) != 0)
        return NULL;
    *message = (struct bm_client_message){.capacity = capacity};
    message->data = (unsigned char *)message + head;
    return message;
}

struct bm_client_message *bm_client_message_alloc(struct bm_client_pool *pool, size_t size)
{
    struct bm_client_message *message = NULL;
    bool pooled = size >= POOLED_BYTES_MIN;
    if (pooled)
        message = pool_take(pool, size);
    if (message == NULL)
        message = message_alloc(size);
    if (message == NULL && pooled) {
        bm_mutex_lock(&pool->mutex);
        pool_unref(pool);
    }
    if (message == NULL)
        return NULL;
    message->pool = pooled ? pool : NULL;
    message->size = size;
    atomic_init(&message->refs, 1);
    return message;
}

struct bm_client_message *bm_client_message_new(nng_msg *raw) // takes it, also on failure
{
    struct bm_client_message *message = calloc(1, sizeof *message);
    if (message == NULL) {
        nng_msg_free(raw);
        return NULL;
    }
    atomic_init(&message->refs, 1);
    message->raw = raw;
    message->data = nng_msg_body(raw);
    message->size = nng_msg_len(raw);
    return message;
}

struct bm_client_message *bm_client_message_ref(struct bm_client_message *message)
{
    atomic_fetch_add_explicit(&message->refs, 1, memory_order_relaxed);
    return message;
}

struct bm_client_message *bm_client_message_unref(struct bm_client_message *message)
{
    if (message == NULL || atomic_fetch_sub_explicit(&message->refs, 1, memory_order_acq_rel) > 1)
        return NULL;
    struct bm_client_pool *pool = message->pool;
    if (pool == NULL) {
        if (message->raw != NULL)
            nng_msg_free(message->raw);
        free(message);
        return NULL;
    }
    bm_mutex_lock(&pool->mutex);
    bm_list_push_back(&pool->idle, &message->node);
    pool->bytes += message->capacity;
    pool_shrink(pool, pool->closed ? 0 : POOL_BYTES_MAX);
    pool_unref(pool);
    return NULL;
}

unsigned char *bm_client_message_bytes(struct bm_client_message *message)
{
    return message->data;
}

const void *bm_client_message_data(const struct bm_client_message *message)
{
    return message->data;
}

size_t bm_client_message_size(const struct bm_client_message *message)
{
    return message->size;
}
