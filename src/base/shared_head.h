// shared_head.h -- what a server and a client on the same host find at the start of a file in
// memory. Layer: base.
//
// A server makes such a file for each large block of a batch, and one probe; a client opens it as
// /proc/PID/fd/FD and believes nothing but what it finds there: a number may mean another file in
// its eyes, or by now.
// Threads: any thread.
#pragma once
#include <stdint.h>

#define BM_SHARED_MAGIC UINT64_C(0x31304c494d545442) // "BTMIL01" and a digit, little-endian

enum {
    BM_SHARED_HEAD_BYTES = 4096, // before the data, which so begin with a page
    BM_SHARED_NONCE_BYTES = 16,  // all that is in the probe
    BM_SHARED_HELD_MAX = 512,    // batches that one stream's client has by reference at once
};

struct bm_shared_head {
    uint64_t magic;
    uint64_t block;      // drawn at random: no two blocks have the same
    uint64_t size_bytes; // of the data
};
