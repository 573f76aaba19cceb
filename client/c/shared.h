// shared.h -- batches that lie in the server's memory: what of it is mapped, and who looks at it.
// Layer: client/c (may include base and the codec).
//
// The server does not touch what a batch lies in until it hears that nobody here looks at it any
// more. So each batch *holds* its seq for as long as it is there, and each request says which are
// held. Mappings outlive batches: the server uses the same blocks again and again.
//
// All of it is what one opening of a stream and its batches share by reference count, as batches
// may outlive the stream and the client.
// Threads: any thread.
#pragma once
#include "client/c/codec.h"

struct bm_client_shared;
// NULL: from here the server's memory is not to be seen, or there is no memory for this.
// `writable`: tensors may be written into.
struct bm_client_shared *bm_client_shared_new(const struct bm_client_same_host *where,
                                              bool writable);
struct bm_client_shared *bm_client_shared_unref(struct bm_client_shared *shared); // NULL is fine

// Before asking for `count` batches. False: too many are held or on their way, so those have to
// come by the socket. After the answer, or none: leave().
bool bm_client_shared_enter(struct bm_client_shared *shared, uint32_t count);
void bm_client_shared_leave(struct bm_client_shared *shared, uint32_t count);
// The batches before `ack` that are held, rising; returns how many.
size_t bm_client_shared_held(struct bm_client_shared *shared, uint64_t ack,
                             uint64_t ret_seqs[BM_SHARED_HELD_MAX]);

struct bm_client_hold;
// Maps what has a place, and fills in the tensors' data. NULL: some of it cannot be mapped, or is
// not what the server says.
struct bm_client_hold *bm_client_hold_new(struct bm_client_shared *shared,
                                          struct bm_client_batch *batch);
void bm_client_hold_free(struct bm_client_hold *hold); // NULL is fine
