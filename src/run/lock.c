#include "run/lock.h"

#include <stdlib.h>
#include <string.h>

#include "base/name.h"

struct bm_lock {
    struct bm_node node; // in the table
    struct bm_lock_table *table;
    unsigned users; // streams whose pipelines name it
    struct bm_waiter *holder;
    struct bm_list line; // of bm_waiter, oldest first
    unsigned parked;
    char name[BM_NAME_MAX + 1];
};

struct bm_lock_table {
    struct bm_list locks; // few: they are named in the configuration
};

enum bm_status bm_lock_table_new(struct bm_lock_table **ret_table, struct bm_error *err)
{
    struct bm_lock_table *table = calloc(1, sizeof *table);
    if (table == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for the lock table");
    bm_list_init(&table->locks);
    *ret_table = table;
    return BM_OK;
}

void bm_lock_table_free(struct bm_lock_table *table)
{
    if (table == NULL)
        return;
    BM_ASSERT(bm_list_empty(&table->locks));
    free(table);
}

enum bm_status bm_lock_get(struct bm_lock_table *table, const char *name, struct bm_lock **ret_lock,
                           struct bm_error *err)
{
    BM_ASSERT(bm_name_valid(name));
    struct bm_node *end = &table->locks.head;
    for (struct bm_node *node = end->next; node != end; node = node->next) {
        struct bm_lock *lock = BM_CONTAINER(node, struct bm_lock, node);
        if (strcmp(lock->name, name) == 0) {
            lock->users++;
            *ret_lock = lock;
            return BM_OK;
        }
    }
    struct bm_lock *lock = calloc(1, sizeof *lock);
    if (lock == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, name, "out of memory for the lock");
    lock->table = table;
    lock->users = 1;
    bm_list_init(&lock->line);
    strcpy(lock->name, name);
    bm_list_push_back(&table->locks, &lock->node);
    *ret_lock = lock;
    return BM_OK;
}

void bm_lock_put(struct bm_lock *lock)
{
    if (lock == NULL || --lock->users > 0)
        return;
    BM_ASSERT(lock->holder == NULL && bm_list_empty(&lock->line));
    bm_list_remove(&lock->node);
    free(lock);
}

bool bm_lock_enter(struct bm_lock *lock, struct bm_waiter *waiter)
{
    BM_ASSERT(lock->holder != waiter); // one lock at a time, and only once
    if (lock->holder != NULL) {
        bm_list_push_back(&lock->line, &waiter->node);
        lock->parked++;
        return false;
    }
    lock->holder = waiter;
    return true;
}

void bm_lock_abandon(struct bm_lock *lock, struct bm_waiter *waiter)
{
    BM_ASSERT(lock->parked > 0 && lock->holder != waiter);
    bm_list_remove(&waiter->node);
    lock->parked--;
}

struct bm_waiter *bm_lock_leave(struct bm_lock *lock)
{
    BM_ASSERT(lock->holder != NULL);
    struct bm_node *next = bm_list_pop_front(&lock->line);
    lock->holder = next == NULL ? NULL : BM_CONTAINER(next, struct bm_waiter, node);
    if (next != NULL)
        lock->parked--;
    return lock->holder;
}

const struct bm_waiter *bm_lock_next(const struct bm_lock *lock, const struct bm_waiter *waiter)
{
    const struct bm_node *next = waiter == NULL ? lock->line.head.next : waiter->node.next;
    return next == &lock->line.head ? NULL : BM_CONTAINER(next, struct bm_waiter, node);
}

const struct bm_waiter *bm_lock_holder(const struct bm_lock *lock)
{
    return lock->holder;
}

const char *bm_lock_name(const struct bm_lock *lock)
{
    return lock->name;
}

unsigned bm_lock_line(const struct bm_lock *lock)
{
    return lock->parked;
}
