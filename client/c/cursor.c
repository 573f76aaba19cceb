// next_batch: the client is a *member* of a cursor, which is a stream of its own on the wire.
//
// The server compares the arguments of everybody who becomes a member. So a member is found by
// cursor and arguments together: other arguments are sent there, and the server says what is
// wrong with them.
#include <stdlib.h>
#include <string.h>

#include "client/c/internal.h"

struct member {
    struct bm_node node; // in client->members
    char *cursor, *pipeline;
    struct batchmill_order order;
    // With the client's mutex:
    struct batchmill_stream *stream; // NULL while it is not open; the one who made it busy sets it
    bool busy;                       // somebody takes from it: a stream has one thread at a time
    unsigned nusers;                 // threads that have it or wait for it
};

// A position is not for cursors: the server refuses it, so it never finds a member.
static bool member_matches(const struct member *member, const char *cursor, const char *pipeline,
                           const struct batchmill_order *order)
{
    const struct batchmill_order *own = &member->order;
    return order->position == NULL && strcmp(member->cursor, cursor) == 0 &&
           strcmp(member->pipeline, pipeline) == 0 && own->batch_size == order->batch_size &&
           own->shuffle == order->shuffle && own->seed == order->seed &&
           own->n_epochs == order->n_epochs && own->n_iters == order->n_iters &&
           own->drop_last == order->drop_last && own->epoch_border == order->epoch_border &&
           own->shard_index == order->shard_index && own->shard_count == order->shard_count &&
           own->prefetch == order->prefetch && own->on_error == order->on_error &&
           own->traced == order->traced && own->checked == order->checked;
}

static void member_free(struct member *member)
{
    free(member->cursor);
    free(member->pipeline);
    free(member);
}

static struct member *member_new(const char *cursor, const char *pipeline,
                                 const struct batchmill_order *order)
{
    struct member *member = calloc(1, sizeof *member);
    if (member == NULL)
        return NULL;
    member->cursor = strdup(cursor);
    member->pipeline = strdup(pipeline);
    member->order = *order;
    if (member->cursor != NULL && member->pipeline != NULL)
        return member;
    member_free(member);
    return NULL;
}

// The member, busy for the caller. NULL: out of memory.
static struct member *client_enter_member(struct batchmill_client *client, const char *cursor,
                                          const char *pipeline, const struct batchmill_order *order)
    BM_REQUIRES(client->mutex)
{
    struct member *member = NULL;
    for (struct bm_node *node = client->members.head.next; node != &client->members.head;
         node = node->next) {
        member = BM_CONTAINER(node, struct member, node);
        if (member_matches(member, cursor, pipeline, order))
            break;
        member = NULL;
    }
    if (member == NULL) {
        member = member_new(cursor, pipeline, order);
        if (member == NULL)
            return NULL;
        bm_list_push_back(&client->members, &member->node);
    }
    member->nusers++;
    while (member->busy)
        bm_cond_wait(&client->changed, &client->mutex);
    member->busy = true;
    return member;
}

static void client_leave_member(struct batchmill_client *client, struct member *member)
    BM_REQUIRES(client->mutex)
{
    member->busy = false;
    member->nusers--;
    bm_cond_broadcast(&client->changed);
    if (member->stream == NULL && member->nusers == 0) {
        bm_list_remove(&member->node);
        member_free(member);
    }
}

// The server was started again, and the cursor went with it.
static enum batchmill_code member_lose(struct member *member, struct batchmill_error *error)
{
    batchmill_stream_close(member->stream);
    member->stream = NULL;
    return bm_client_fail(error, BATCHMILL_ABORTED,
                          "the server does not know cursor \"%s\" any more: it was started again "
                          "meanwhile; asking once more makes a new one",
                          member->cursor);
}

enum batchmill_code batchmill_next_batch(struct batchmill_client *client, const char *cursor,
                                         const char *pipeline, const struct batchmill_order *order,
                                         struct batchmill_batch **ret_batch,
                                         struct batchmill_error *error)
{
    enum batchmill_code code = bm_client_check(client, error);
    if (code == BATCHMILL_OK)
        code = bm_client_check_order(pipeline, order, error);
    if (code != BATCHMILL_OK)
        return code;
    if (cursor == NULL || cursor[0] == '\0') // on the wire that would be a stream of its own
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT, "cursor: expected a name, got %s",
                              cursor == NULL ? "NULL" : "\"\"");
    bm_mutex_lock(&client->mutex);
    struct member *member = client_enter_member(client, cursor, pipeline, order);
    bm_mutex_unlock(&client->mutex);
    if (member == NULL)
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a cursor");
    if (member->stream == NULL)
        code = bm_client_stream_open(client, pipeline, cursor, order, &member->stream, error);
    if (code == BATCHMILL_OK) {
        struct batchmill_error why = {0};
        code = batchmill_next(member->stream, ret_batch, &why);
        if (error != NULL && code != BATCHMILL_OK)
            *error = why;
        if (code == BATCHMILL_NOT_FOUND && !why.has_batch)
            code = member_lose(member, error);
    }
    bm_mutex_lock(&client->mutex);
    client_leave_member(client, member);
    bm_mutex_unlock(&client->mutex);
    return code;
}

void bm_client_members_free(struct batchmill_client *client)
{
    for (;;) {
        bm_mutex_lock(&client->mutex);
        struct bm_node *node = bm_list_pop_front(&client->members);
        bm_mutex_unlock(&client->mutex);
        if (node == NULL)
            return;
        struct member *member = BM_CONTAINER(node, struct member, node);
        batchmill_stream_close(member->stream);
        member_free(member);
    }
}
