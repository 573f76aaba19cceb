// shm_ring.c -- a limit: one process fills slots of memory that both see, this one looks at them
// where they are. Nobody copies a message but the producer, who makes it.
#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"

enum { RING_SLOTS = 4, SPINS = 2000 };

struct ring { // counts of messages
    _Alignas(64) atomic_uint filled;
    _Alignas(64) atomic_uint taken;
    _Alignas(4096) unsigned char slots[];
};

// Waits until `counter` is above `value`: awake for some microseconds, then asleep, so that the
// other end gets a processor where there is none to spare.
static void ring_wait(atomic_uint *counter, unsigned value)
{
    for (unsigned i = 0;; i++) {
        unsigned now = atomic_load_explicit(counter, memory_order_acquire);
        if (now > value)
            return;
        if (i >= SPINS)
            syscall(SYS_futex, counter, FUTEX_WAIT, now, NULL, NULL, 0);
    }
}

static void ring_count(atomic_uint *counter, unsigned value)
{
    atomic_store_explicit(counter, value, memory_order_release);
    syscall(SYS_futex, counter, FUTEX_WAKE, 1, NULL, NULL, 0);
}

_Noreturn static void ring_fill(struct ring *ring, uint64_t size, unsigned nmessages)
{
    unsigned char *from = malloc(size);
    if (from == NULL)
        _exit(1);
    memset(from, 1, size);
    for (unsigned i = 0; i < nmessages; i++) {
        if (i >= RING_SLOTS)
            ring_wait(&ring->taken, i - RING_SLOTS);
        memcpy(ring->slots + i % RING_SLOTS * size, from, size);
        ring_count(&ring->filled, i + 1);
    }
    _exit(0);
}

void bench_shm_ring(const struct bench_setup *setup, const void *work, double *values)
{
    const struct bench_stream *stream = work;
    // It is so fast that the same number of messages would be over before it was measured.
    uint64_t size = bench_stream_bytes(stream);
    unsigned nmessages = 8 * (unsigned)bench_stream_batches(setup, stream);
    struct ring *ring = mmap(NULL, sizeof *ring + RING_SLOTS * size, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (ring == MAP_FAILED)
        bench_die("shared memory", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork", strerror(errno));
    if (pid == 0)
        ring_fill(ring, size, nmessages);
    ring_wait(&ring->filled, 0);
    double start = bench_now();
    uint64_t sum = 0;
    for (unsigned i = 0; i < nmessages; i++) {
        ring_wait(&ring->filled, i);
        sum += ring->slots[i % RING_SLOTS * size];
        ring_count(&ring->taken, i + 1);
    }
    values[0] = bench_stream_value(stream, (double)nmessages / (bench_now() - start));
    waitpid(pid, NULL, 0);
    if (sum != nmessages)
        bench_die("shared memory", "a message was not there");
}
