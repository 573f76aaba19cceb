// same_host.h -- the probe by which a client finds out that it can map our memory.
// Layer: server (may include base).
//
// A file in memory that holds a number nobody can guess: who reads the same number under our pid
// and descriptor sees this process and may open what it has open, so is on the same host, in the
// same namespace of processes, and the same user or a stronger one.
// Threads: any thread, one at a time.
#pragma once
#include "server/messages.h"

// False: there can be none, and so no client is offered to map anything.
bool bm_same_host_open(struct bm_same_host *ret_same_host);
void bm_same_host_close(struct bm_same_host *same_host);
