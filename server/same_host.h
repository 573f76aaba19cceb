// same_host.h -- memory for clients on the same host, and the probe by which they find out.
// Layer: server (may include data).
// Threads: any thread, one at a time.
#pragma once
#include "server/messages.h"

// False: there can be none, and so no client is offered to map anything.
// `bytes_min`: of a tensor that is shared.
bool bm_same_host_open(uint64_t bytes_min, struct bm_same_host *ret_same_host);
void bm_same_host_close(struct bm_same_host *same_host); // nothing of it is used any more
