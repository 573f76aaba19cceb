// stream.h -- what a stream is made of. Layer: client/c (private to stream.c and stream_open.c).
// Threads: as the comments in it say.
#pragma once
#include "client/c/internal.h"

enum { BM_CLIENT_FLIGHTS = BM_CLIENT_ASKS_MAX + 1 }; // one for an ack alone

struct bm_client_flight { // one request under way
    struct batchmill_stream *stream;
    struct bm_client_call *call; // made at its first use
    struct bm_buffer request;
    struct bm_client_ask ask;
    struct bm_client_shared *shared; // the stream's, when asked to map what comes; else NULL
    bool busy;                       // the mutex
};

struct batchmill_stream {
    struct bm_node node; // in client->streams
    struct batchmill_client *client;
    struct bm_client_connection *connection;
    struct bm_client_opened *opened; // of the first opening: what the user is told
    char id[BM_CLIENT_ID_MAX + 1];   // of the last; changes only when nothing is under way
    struct bm_client_shared *shared; // as the id; NULL: the server's memory is not to be seen
    enum batchmill_on_error on_error;
    bool traced, checked;
    bool is_member; // of a cursor, where `first` is a ticket and not a seq
    uint32_t wait_ms;
    struct bm_cond changed; // for the consumer

    // With the client's mutex:
    struct bm_client_window window;
    struct bm_client_flight flights[BM_CLIENT_FLIGHTS];
    unsigned nsenders; // threads that start flights right now, without the mutex
    bool closing, cancelled;
    bool unmapped; // something could not be: all comes by the socket until it is opened again
    struct batchmill_error trouble; // code OK: none
    uint64_t trouble_ns;            // since when there is some that may pass; 0: there is none
    unsigned npauses;               // how often it was waited for since then, longer each time
    uint64_t retry_ns;              // when to try again, while that is waited for; else 0
    uint64_t heard_ns;              // the last good reply
    uint64_t asked_ns;              // since when the consumer waits for a batch; 0: it does not
    struct batchmill_error stopped; // the failure that ended it; code OK: none
    struct batchmill_stream *next_due;
    struct bm_client_flight *due_flight;
};

// Where the server offers its memory, and it can be mapped. NULL: not so, which is said once.
struct bm_client_shared *bm_client_map_server(struct batchmill_client *client,
                                              const struct bm_client_opened *opened);
// Opens it anew on the server, at its position. Without the mutex; nothing of it is under way.
enum batchmill_code bm_client_stream_open_again(struct batchmill_stream *stream,
                                                struct bm_client_opened **ret_opened,
                                                struct batchmill_error *error);
// From now on streams that have nothing to ask for say that they live.
enum batchmill_code bm_client_keep_leases(struct batchmill_client *client, uint32_t lease_ms,
                                          struct batchmill_error *error);
