// client.h -- the C client of Batchmill: prepared batches, in order, from a server.
// Layer: client/c (public; needs nothing but libc).
//
//     struct batchmill_error error;
//     struct batchmill_client *mill;
//     if (batchmill_connect("tcp://127.0.0.1:7310", NULL, &mill, &error) != BATCHMILL_OK)
//         ...
//     struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
//     order.batch_size = 64;
//     order.prefetch = 3;
//     struct batchmill_stream *stream;
//     batchmill_gen_batch(mill, "digits", &order, &stream, &error);
//     struct batchmill_batch *batch;
//     while (batchmill_next(stream, &batch, &error) == BATCHMILL_OK) {
//         const struct batchmill_tensor *pixels = batchmill_batch_tensor(batch, "pixels");
//         ...                       // pixels->data: no copy, valid until the free
//         batchmill_batch_free(batch);
//     }
//
// Errors: functions return a code and fill `error` (may be NULL). Outputs are set only on
// BATCHMILL_OK. Nothing prints, nothing exits.
//
// Threads: a client may be used from any number of threads at once. A stream belongs to one
// thread at a time, except batchmill_cancel(), which may be called from any. Batches and what they
// lend may be read from any thread; each is freed once, before or after its stream and client.
// A process that forked must not use a client it had before (nng cannot): it gets
// BATCHMILL_FAILED_PRECONDITION.
#ifndef BATCHMILL_CLIENT_H
#define BATCHMILL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BATCHMILL_API __attribute__((visibility("default")))
#else
#define BATCHMILL_API
#endif

// Names and numbers of google.rpc.Code; BATCHMILL_END is ours.
enum batchmill_code {
    BATCHMILL_END = -1, // no error: the stream is over
    BATCHMILL_OK = 0,
    BATCHMILL_CANCELLED = 1,
    BATCHMILL_UNKNOWN = 2,
    BATCHMILL_INVALID_ARGUMENT = 3,
    BATCHMILL_DEADLINE_EXCEEDED = 4,
    BATCHMILL_NOT_FOUND = 5,
    BATCHMILL_ALREADY_EXISTS = 6,
    BATCHMILL_PERMISSION_DENIED = 7,
    BATCHMILL_RESOURCE_EXHAUSTED = 8,
    BATCHMILL_FAILED_PRECONDITION = 9,
    BATCHMILL_ABORTED = 10,
    BATCHMILL_OUT_OF_RANGE = 11,
    BATCHMILL_UNIMPLEMENTED = 12,
    BATCHMILL_INTERNAL = 13,
    BATCHMILL_UNAVAILABLE = 14, // the server cannot be reached, or is shutting down
    BATCHMILL_DATA_LOSS = 15,
    BATCHMILL_UNAUTHENTICATED = 16
};
enum { BATCHMILL_CODES = 17 }; // from OK on
BATCHMILL_API const char *batchmill_code_name(enum batchmill_code code);

struct batchmill_error {
    enum batchmill_code code;
    char text[512]; // one sentence for people
    // Of a failed batch (from batchmill_next, batchmill_run); has_batch is false otherwise.
    bool has_batch, has_item;
    uint64_t seq;
    char pipeline[129], action[129]; // action "read": the source
    uint64_t item;                   // index in the source
};

BATCHMILL_API const char *batchmill_version(void);

// ---- Connection ----

struct batchmill_client;

struct batchmill_options {
    uint32_t timeout_ms; // for connecting and for every answer; 0 = 10,000. A slow batch is not a
                         // late answer: batchmill_next() waits for it as long as it takes.
    uint64_t max_message_bytes; // largest reply accepted; 0 = 1 GiB
    // Told once of each change: the connection is lost, it is back, the server takes nothing now
    // and is asked again, it answers again, a stream was opened again at its position, or was given
    // up. May be NULL. Any thread; also within batchmill_next().
    void (*log)(void *context, const char *message);
    void *log_context;
    const char *token; // the server's secret, where it has one; NULL: none. Copied
    // Of tls+tcp:// only. Files are in PEM and are read when it connects.
    const char *tls_ca_file;          // authorities to be believed; NULL: the system's
    const char *tls_server_name;      // whose certificate it must be; NULL: of the URL's host
    const char *tls_certificate_file; // for a server that asks for one, with its key; NULL: none
    const char *tls_key_file;         // without passphrase; only its owner can read it
    // Large tensors of a server on this host are mapped where they are, when both see each other;
    // true: they always come by the socket.
    bool no_shared_memory;
    // Tensors may be written into, although they are const here: what others see does not change.
    // Those that lie in the server's memory are then copied page by page where they are written.
    bool writable;
};

// `url` is tcp://host:port, tls+tcp://host:port, ipc:///path, ws://host:port/path or
// inproc://name. `options` may be NULL. Returns when the server has answered, else
// BATCHMILL_UNAVAILABLE after the timeout. At once: BATCHMILL_PERMISSION_DENIED when one side does
// not accept the other's certificate, and BATCHMILL_INVALID_ARGUMENT when what is there does not
// speak TLS. After it has connected, it tries again for as long as such a server is there.
BATCHMILL_API enum batchmill_code batchmill_connect(const char *url,
                                                    const struct batchmill_options *options,
                                                    struct batchmill_client **ret_client,
                                                    struct batchmill_error *error);
// Closes the connection. Streams must be closed before. NULL is fine.
BATCHMILL_API void batchmill_disconnect(struct batchmill_client *client);

// ---- Pipelines ----

#ifndef BATCHMILL_COMPONENT
#define BATCHMILL_COMPONENT // also in batchmill/plugin.h
enum batchmill_dtype {      // numbers of the wire
    BATCHMILL_BOOL = 1,
    BATCHMILL_INT8,
    BATCHMILL_INT16,
    BATCHMILL_INT32,
    BATCHMILL_INT64,
    BATCHMILL_UINT8,
    BATCHMILL_UINT16,
    BATCHMILL_UINT32,
    BATCHMILL_UINT64,
    BATCHMILL_FLOAT16,
    BATCHMILL_BFLOAT16,
    BATCHMILL_FLOAT32,
    BATCHMILL_FLOAT64,
    BATCHMILL_BYTES, // one run of bytes per item
    BATCHMILL_STRING // one UTF-8 text per item
};

struct batchmill_component { // one named column of a pipeline's batches
    const char *name;
    enum batchmill_dtype dtype;
    bool ragged;           // items differ in length along their first axis
    unsigned ndim;         // of one item
    const uint64_t *shape; // of one item; shape[0] is 0 when ragged
};
#endif
BATCHMILL_API const char *batchmill_dtype_name(enum batchmill_dtype dtype); // "float32"
BATCHMILL_API size_t batchmill_dtype_size(enum batchmill_dtype dtype);      // bytes; 1 for text

enum { BATCHMILL_NDIM_MAX = 17 }; // with the batch axis

struct batchmill_summary {
    const char *name, *source;
    uint64_t items, fingerprint;
    bool stateful;   // promises order and exactly-once delivery, not equal bytes
    bool registered; // by a client, and not by the server's configuration
};
struct batchmill_list { // one allocation: free with batchmill_list_free()
    size_t n;
    const struct batchmill_summary *pipelines; // by name
};
BATCHMILL_API enum batchmill_code batchmill_list(struct batchmill_client *client,
                                                 struct batchmill_list **ret_list,
                                                 struct batchmill_error *error);
BATCHMILL_API void batchmill_list_free(struct batchmill_list *list);

struct batchmill_action {
    const char *name, *lock; // lock is NULL for none
    bool random, stateful, per_batch;
    double probability; // of an item to go through it; others stay as they are
    size_t ncomponents;
    const struct batchmill_component *components; // after it
};
struct batchmill_vocabulary { // value k of the component stands for names[k]
    const char *component;
    uint64_t size;
    const char *const *names; // [size]; NULL: they are too many to be sent
};
struct batchmill_cache { // what a pipeline's cache holds
    unsigned nactions;   // how many of its actions, from the first: their results are kept
    bool on_disk;
    uint64_t items, bytes, bytes_max;
    uint64_t hits, misses, damaged; // items asked for: there; not there; of these, broken ones
};
struct batchmill_description {
    struct batchmill_summary summary;
    const char *source_type;
    size_t nsource_components, nactions, ncomponents, nsteps;
    const struct batchmill_component *source_components;
    const struct batchmill_action *actions;
    const struct batchmill_component *components; // of its batches
    const char *const *steps; // what a worker does in one go: "read", "cast+scale"
    size_t nvocabularies;
    const struct batchmill_vocabulary *vocabularies; // of those components that have one
    const char *group_by; // the component of the source whose items of like length come together
                          // in shuffled batches, or NULL
    const struct batchmill_cache *cache; // as of now, or NULL: there is none
};
BATCHMILL_API enum batchmill_code batchmill_describe(struct batchmill_client *client,
                                                     const char *pipeline,
                                                     struct batchmill_description **ret_description,
                                                     struct batchmill_error *error);
BATCHMILL_API void batchmill_description_free(struct batchmill_description *description);

struct batchmill_registration {
    char id[41]; // what batchmill_unregister() takes
    uint64_t fingerprint;
    uint32_t lease_ms;
};
// Registers a pipeline for everybody, where the server allows it (else
// BATCHMILL_PERMISSION_DENIED). `definition` is YAML or JSON: what stands under a pipeline's name
// in a configuration, as {source: digits, actions: [...]}, with a source of the server's
// configuration. To register the same again renews its lease and gives the same registration;
// another one under that name is BATCHMILL_ALREADY_EXISTS. `lease_ms`: it is removed when nobody
// uses it or registers it again for that long; 0: what the server says. After the server was
// started again it is gone; register it again.
BATCHMILL_API enum batchmill_code
batchmill_register(struct batchmill_client *client, const char *name, const char *definition,
                   uint32_t lease_ms, struct batchmill_registration *ret_registration,
                   struct batchmill_error *error);
// Streams that are open go on. No such registration is BATCHMILL_OK as well; `ret_removed`, which
// may be NULL, tells.
BATCHMILL_API enum batchmill_code batchmill_unregister(struct batchmill_client *client,
                                                       const char *name, const char *registration,
                                                       bool *ret_removed,
                                                       struct batchmill_error *error);

// ---- Order ----

#define BATCHMILL_UNSET UINT64_MAX

enum batchmill_shuffle { BATCHMILL_SHUFFLE_OFF, BATCHMILL_SHUFFLE_SEEDED, BATCHMILL_SHUFFLE_DRAWN };
enum batchmill_epoch_border { BATCHMILL_BORDER_STOP, BATCHMILL_BORDER_CROSS };
enum batchmill_on_error { BATCHMILL_STOP, BATCHMILL_SKIP, BATCHMILL_REPORT };

struct batchmill_order {            // start from BATCHMILL_ORDER_DEFAULTS
    uint64_t batch_size;            // items in a batch
    enum batchmill_shuffle shuffle; // DRAWN: the server draws the seed, batchmill_stream_info tells
    uint64_t seed;                  // of the shuffle, and of random actions also without one
    uint64_t n_epochs;              // 0 = endless; UNSET = 1, unless n_iters is set
    uint64_t n_iters;               // batches; UNSET = until the epochs end; not with n_epochs
    bool drop_last;                 // leave incomplete batches out
    enum batchmill_epoch_border epoch_border; // CROSS: batches may hold items of two epochs
    uint64_t shard_index, shard_count;        // this consumer is shard i of n
    uint32_t prefetch; // batches worked on beside the one you hold; or BATCHMILL_PREFETCH_AUTO
    enum batchmill_on_error on_error;
    const char *position; // go on from here (batchmill_position); NULL = from the start
    bool traced;          // batches carry spans
    bool checked;         // replies of any length carry a check; else only those up to 64 KiB
};
// The server finds out how many it takes, so that you do not wait while its workers could do more.
#define BATCHMILL_PREFETCH_AUTO UINT32_MAX
#define BATCHMILL_ORDER_DEFAULTS                                                                   \
    {                                                                                              \
        .n_epochs = BATCHMILL_UNSET, .n_iters = BATCHMILL_UNSET, .shard_count = 1                  \
    }

// ---- gen_batch: a stream of batches ----

struct batchmill_stream;
struct batchmill_batch;

// Opens a stream; no batch is worked on before the first batchmill_next().
BATCHMILL_API enum batchmill_code batchmill_gen_batch(struct batchmill_client *client,
                                                      const char *pipeline,
                                                      const struct batchmill_order *order,
                                                      struct batchmill_stream **ret_stream,
                                                      struct batchmill_error *error);
// Waits for the next batch in order, as long as the server answers; BATCHMILL_UNAVAILABLE after the
// timeout without it, and asking again goes on where it was. A server that was started again
// meanwhile is no error: the stream goes on there with the same bytes. Asking gives the batch
// before back to the window, whether or not it was freed. BATCHMILL_END after the last, also
// when asked again. A failed batch gives its code with error->has_batch: with BATCHMILL_REPORT the
// stream goes on, with BATCHMILL_STOP every later call gives the same error. So does a batch for
// which the server had no memory (BATCHMILL_RESOURCE_EXHAUSTED), with each of them: a stream
// opened at its position tries that batch again.
BATCHMILL_API enum batchmill_code batchmill_next(struct batchmill_stream *stream,
                                                 struct batchmill_batch **ret_batch,
                                                 struct batchmill_error *error);
// The same, but gives up after `timeout_ms` with BATCHMILL_DEADLINE_EXCEEDED; ask again then.
BATCHMILL_API enum batchmill_code batchmill_next_within(struct batchmill_stream *stream,
                                                        uint32_t timeout_ms,
                                                        struct batchmill_batch **ret_batch,
                                                        struct batchmill_error *error);
// The token to open a stream that goes on with the batch after the last one taken; a failed batch
// was taken with BATCHMILL_REPORT, and is tried again if it ended the stream. Written to `text` as
// a string; BATCHMILL_OUT_OF_RANGE if `size` is too small (1,024 is enough).
BATCHMILL_API enum batchmill_code batchmill_position(const struct batchmill_stream *stream,
                                                     char *text, size_t size,
                                                     struct batchmill_error *error);
// A waiting or later batchmill_next() returns BATCHMILL_CANCELLED. Any thread.
BATCHMILL_API void batchmill_cancel(struct batchmill_stream *stream);
// Closes it on the server too, and returns without waiting for work under way. NULL is fine.
BATCHMILL_API void batchmill_stream_close(struct batchmill_stream *stream);

struct batchmill_stream_info {
    uint64_t first_seq;     // 0, or that of the position
    uint64_t batches;       // of the whole stream from seq 0 on; UNSET when endless
    uint64_t epoch_batches; // 0 when batches cross epochs
    uint64_t items;         // of the source
    uint64_t seed;          // as used
    uint64_t fingerprint;
    bool stateful;
    size_t ncomponents, nsteps;
    const struct batchmill_component *components; // lent until the stream is closed
    const char *const *steps;
    uint64_t skipped; // batches left out so far, by actions or by BATCHMILL_SKIP
    uint64_t failed;  // of those, and of the reported ones, how many had failed
};
BATCHMILL_API void batchmill_stream_info(const struct batchmill_stream *stream,
                                         struct batchmill_stream_info *ret_info);

// ---- next_batch: one batch of a cursor that lives on the server ----

// The next batch of cursor `cursor`; whoever asks next gets the next one. The first to ask makes
// the cursor; asking with other arguments than it has is BATCHMILL_INVALID_ARGUMENT. The client
// stays a member of the cursor until batchmill_disconnect(), and its batch counts as taken when it
// asks again or disconnects. Endings and failures are as in batchmill_next(). BATCHMILL_ABORTED:
// the server was started again and the cursor is gone; asking once more makes a new one.
BATCHMILL_API enum batchmill_code batchmill_next_batch(struct batchmill_client *client,
                                                       const char *cursor, const char *pipeline,
                                                       const struct batchmill_order *order,
                                                       struct batchmill_batch **ret_batch,
                                                       struct batchmill_error *error);

// ---- A batch ----

struct batchmill_tensor {
    const char *name;
    enum batchmill_dtype dtype;
    unsigned ndim;
    uint64_t shape[BATCHMILL_NDIM_MAX]; // [batch, item...]; ragged: [rows, rest of item...]
    bool ragged;
    const uint64_t *offsets; // ragged: [batch + 1], in rows (bytes for text); else NULL
    const void *data;        // little-endian, C order, aligned to at least 16 bytes
    size_t size_bytes;
};
struct batchmill_span { // a step of a traced batch, in ns of the server's clock; 0: did not happen
    uint64_t queued_ns, parked_ns, started_ns, ended_ns;
    unsigned worker;
};

BATCHMILL_API uint64_t batchmill_batch_seq(const struct batchmill_batch *batch);
BATCHMILL_API uint64_t batchmill_batch_epoch(const struct batchmill_batch *batch);
BATCHMILL_API size_t batchmill_batch_nitems(const struct batchmill_batch *batch);
BATCHMILL_API const uint64_t *batchmill_batch_items(const struct batchmill_batch *batch);
BATCHMILL_API size_t batchmill_batch_ntensors(const struct batchmill_batch *batch);
BATCHMILL_API const struct batchmill_tensor *
batchmill_batch_tensor_at(const struct batchmill_batch *batch, size_t i);
BATCHMILL_API const struct batchmill_tensor *
batchmill_batch_tensor(const struct batchmill_batch *batch, const char *name); // NULL: none
// Spans of a traced batch, [info.nsteps]; NULL when not traced.
BATCHMILL_API const struct batchmill_span *
batchmill_batch_spans(const struct batchmill_batch *batch, size_t *ret_n);
BATCHMILL_API void batchmill_batch_free(struct batchmill_batch *batch); // NULL is fine

// ---- run: a stream drained on the server ----

struct batchmill_variable {
    const char *name; // "pixels.mean"
    bool is_integer;
    int64_t integer;
    double number; // also set for integers
};
struct batchmill_run_result {
    uint64_t batches, items, skipped, failed, bytes;
    double seconds;
    uint64_t expected_batches; // UNSET when endless
    uint64_t seed;
    size_t nvariables;
    const struct batchmill_variable *variables;
};
// Called about every 200 ms with what was reached; return false to cancel the run. May be NULL.
typedef bool batchmill_progress(void *context, const struct batchmill_run_result *so_far);

// Drains a stream on the server and waits for its end; no batch travels. `order->position`,
// `order->traced` and `order->checked` must not be set. After a failed batch with BATCHMILL_STOP
// returns its code and sets *ret_result as well, with what was reached. Free the result with
// batchmill_run_free().
BATCHMILL_API enum batchmill_code
batchmill_run(struct batchmill_client *client, const char *pipeline,
              const struct batchmill_order *order, batchmill_progress *progress, void *context,
              struct batchmill_run_result **ret_result, struct batchmill_error *error);
BATCHMILL_API void batchmill_run_free(struct batchmill_run_result *result);

// ---- Status ----

struct batchmill_connections { // of tcp, tls+tcp, ipc, since the server's start unless said
                               // otherwise
    uint64_t open;             // right now
    uint64_t unsent_bytes;     // replies on their way right now
    uint64_t accepted;
    uint64_t refused;     // there were too many, in all or from one address
    uint64_t no_greeting; // hung up on: nothing or nonsense came first
    uint64_t bad_frame;   // hung up on: a message too long, or none
    uint64_t slow;        // hung up on: did not read its replies
};
struct batchmill_status {
    char version[32];
    double uptime_seconds;
    uint32_t workers, pipelines, streams, runs;
    uint32_t jobs_ready, jobs_running, jobs_parked, jobs_waiting;
    uint64_t memory_used_bytes, memory_bytes; // budget 0: unlimited
    uint64_t batches;                         // since the server's start
    bool draining;
    uint64_t answered[BATCHMILL_CODES]; // requests since the start, by enum batchmill_code
    struct batchmill_connections connections;
    uint64_t shared_batches; // sent by reference to clients on its host, since the start
};
BATCHMILL_API enum batchmill_code batchmill_status(struct batchmill_client *client,
                                                   struct batchmill_status *ret_status,
                                                   struct batchmill_error *error);

struct batchmill_remote_action { // that other processes lend, see batchmill/lend.h
    const char *name;
    uint32_t lenders, waiting, out;          // batches that wait for one; that one has
    double waiting_seconds;                  // of the batch that waits longest
    uint64_t done, failed, retried, expired; // since the server's start
};
struct batchmill_remote_actions { // one allocation: free with batchmill_remote_actions_free()
    size_t n;
    const struct batchmill_remote_action *actions; // by name
};
BATCHMILL_API enum batchmill_code
batchmill_remote_status(struct batchmill_client *client,
                        struct batchmill_remote_actions **ret_actions,
                        struct batchmill_error *error);
BATCHMILL_API void batchmill_remote_actions_free(struct batchmill_remote_actions *actions);

#ifdef __cplusplus
}
#endif
#endif
