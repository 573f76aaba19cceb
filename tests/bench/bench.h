// bench.h -- what the parts of `./dev bench` share. Layer: tests (may include everything).
//
//     rows.c      the table: which figures there are, what each is compared with, and the goals
//     main.c      options, and the rounds: every figure of a round is measured before the next
//     round process.c   a process for each measurement, and servers peer.c      other products,
//     each a program that is told on its standard input what to do report.c    medians, ratios,
//     whether goals are met; as a table or as JSON and one file per kind of measurement: stream.c
//     engine.c load.c latency.c epoch.c raw_tcp.c shm_ring.c
//     raw_jpeg.c table.c; images.c makes the pictures, table_data.py the tables
//
// Threads: the main thread only, unless a file says otherwise of itself.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum { BENCH_ROUNDS_MAX = 101, BENCH_VALUES_MAX = 5, BENCH_WHY_MAX = 256, BENCH_WORKERS = 2 };

// ---- Processes ----

struct bench_server {
    pid_t pid;
    char url[128];
};
// The server as users run it, with BENCH_WORKERS workers. `memory` is its --memory, or NULL.
void bench_server_start(struct bench_server *server, const char *config_yaml, const char *memory);
void bench_server_stop(struct bench_server *server);
double bench_peak_rss_mb(pid_t pid); // so far

struct bench_setup {
    struct bench_server server; // the one of bench_config()
    bool quick;                 // less of everything
};
// One measurement: fills as many of `values` as the figures of the table want. It runs in a process
// of its own, so that what it starts, allocates and breaks ends with it.
typedef void bench_measure(const struct bench_setup *setup, const void *work, double *values);

struct bench_outcome {
    bool measured;
    double values[BENCH_VALUES_MAX];
    char why[BENCH_WHY_MAX]; // it was not
};
void bench_in_child(bench_measure *measure, const struct bench_setup *setup, const void *work,
                    struct bench_outcome *ret_outcome);

// Ends a measurement, or the whole program where there is none: says why.
_Noreturn void bench_die(const char *what, const char *why);
double bench_now(void);     // seconds
double bench_cpu_now(void); // seconds of CPU of this process, all threads
double bench_percentile(double *values, unsigned n, double share); // sorts them

// ---- Work ----

// A stream of batches, the same for everybody who is compared in it: `items` items of `item_bytes`
// random bytes each, shuffled over the whole, `batch_items` in a batch.
struct bench_stream {
    const char *pipeline; // of bench_config()
    uint64_t items, item_bytes, batch_items, nbatches;
    unsigned nactions;                                             // that do nothing
    unsigned prefetch;                                             // of ours
    enum bench_unit { BENCH_BATCHES, BENCH_MB, BENCH_ITEMS } unit; // that the value counts, in 1 s
};
uint64_t bench_stream_bytes(const struct bench_stream *stream); // of a batch
uint64_t bench_stream_batches(const struct bench_setup *setup, const struct bench_stream *stream);
double bench_stream_value(const struct bench_stream *stream, double batches_per_second);

// When its parts came; by bench_now().
struct bench_taking {
    uint64_t nbatches;
    double opened, first, end;
};
// Takes the stream to its end, `nbatches` long, from a server that has its pipeline.
void bench_stream_take(const char *url, const struct bench_stream *stream, uint64_t nbatches,
                       bool by_socket, struct bench_taking *ret_taking);

// Writes the data under `folder`, and the configuration of all pipelines to `ret_yaml`; of those of
// pictures only with `images`.
void bench_config(const char *folder, bool images, char *ret_yaml, size_t size);
void bench_config_clean(const char *folder);

// ---- Measurements ----

bench_measure bench_stream_remote;    // by the socket; work: struct bench_stream
bench_measure bench_stream_same_host; // by reference; the same
bench_measure bench_raw_tcp;          // the same
bench_measure bench_shm_ring;         // the same
bench_measure bench_latency;          // p50 in us of a ready batch of 1 KiB
bench_measure bench_nng_echo;         // p50 in us of as many bytes
// Streams served, their fairness, MB above the budget, p99 in us of 100 streams and of all.
bench_measure bench_streams;
bench_measure bench_epoch; // ms to the first batch, MB of the server, and with few items

// Rows/s, and seconds from the start of a server of its own to the first batch; work: struct
// bench_stream.
bench_measure bench_table;
void bench_table_make(void); // the tables, at the first use

struct bench_images_work {
    const struct bench_stream *stream;
    bool floats; // normalised, else bytes
};
bench_measure bench_raw_jpeg; // work: struct bench_images_work

struct bench_actions {
    bool locked; // each of the actions uses the one lock
    unsigned nstreams;
};
bench_measure bench_engine; // us of CPU per action; work: struct bench_actions

// ---- Peers ----

struct bench_peer {
    const char *name;
    const char *command; // run by sh; it speaks the lines that peer.c tells of
    // Of the process, once started:
    bool started;
    pid_t pid;
    FILE *to;
    int from;
    char said[1024]; // versions and settings; or why it cannot be measured
    bool ready;
};
// Starts it at its first use. `variant` is the peer's own word for settings, or "-".
void bench_peer_measure(struct bench_peer *peer, const struct bench_setup *setup,
                        const struct bench_stream *stream, const char *name, const char *variant,
                        struct bench_outcome *ret_outcome);
void bench_peer_stop(struct bench_peer *peer);

// ---- The table ----

struct bench_figure {
    const char *name; // of ours: a name of the table of goals; of others: whose, and where
    const char *part; // which of several figures of that name; NULL for the only one
    const char *row;  // by which it is selected
    const char *unit;
    bench_measure *measure; // NULL: a peer's, or a further value of the figure above
    const void *work;
    unsigned value; // which of the values that were measured
    struct bench_peer *peer;
    const char *variant;
    // Filled in by the rounds:
    bool wanted;
    double values[BENCH_ROUNDS_MAX]; // NAN where it was not measured
    unsigned nrounds;
    char why[BENCH_WHY_MAX]; // it was not
};

struct bench_goal {
    unsigned figure;
    int to;              // another figure, or -1: the constant
    double constant;     // a limit that needs no measurement
    const char *to_text; // what it is called
    double goal;         // 0: none, the ratio only informs
    bool at_most;        // the ratio should not be more; else not less
    bool guarded;        // --quick fails when it misses even half of it
};

extern struct bench_figure bench_figures[];
extern const unsigned bench_nfigures;
extern const struct bench_goal bench_goals[];
extern const unsigned bench_ngoals;
extern struct bench_peer bench_peers[];
extern const unsigned bench_npeers;

// Prints every wanted figure; false: a guarded ratio misses half of its goal, or is missing.
bool bench_report(bool json);
