// error.h -- what failed, where, and one sentence a person can act on. Layer: base.
//
// The codes are those of google.rpc.Code, names and numbers, from the engine to the wire, so
// that nothing is translated on the way and every client library already knows them.
// Threads: any thread; an error is owned by its caller and travels inside a job, never in a
// thread-local.
#pragma once
#include <stdnoreturn.h>

// X(name, number, text): the text is what the command line and the wire show.
#define BM_STATUS_LIST(X)                                                                          \
    X(BM_OK, 0, "OK")                                                                              \
    X(BM_CANCELLED, 1, "CANCELLED")                                                                \
    X(BM_UNKNOWN, 2, "UNKNOWN")                                                                    \
    X(BM_INVALID_ARGUMENT, 3, "INVALID_ARGUMENT")                                                  \
    X(BM_DEADLINE_EXCEEDED, 4, "DEADLINE_EXCEEDED")                                                \
    X(BM_NOT_FOUND, 5, "NOT_FOUND")                                                                \
    X(BM_ALREADY_EXISTS, 6, "ALREADY_EXISTS")                                                      \
    X(BM_PERMISSION_DENIED, 7, "PERMISSION_DENIED")                                                \
    X(BM_RESOURCE_EXHAUSTED, 8, "RESOURCE_EXHAUSTED")                                              \
    X(BM_FAILED_PRECONDITION, 9, "FAILED_PRECONDITION")                                            \
    X(BM_ABORTED, 10, "ABORTED")                                                                   \
    X(BM_OUT_OF_RANGE, 11, "OUT_OF_RANGE")                                                         \
    X(BM_UNIMPLEMENTED, 12, "UNIMPLEMENTED")                                                       \
    X(BM_INTERNAL, 13, "INTERNAL")                                                                 \
    X(BM_UNAVAILABLE, 14, "UNAVAILABLE")                                                           \
    X(BM_DATA_LOSS, 15, "DATA_LOSS")                                                               \
    X(BM_UNAUTHENTICATED, 16, "UNAUTHENTICATED")

enum bm_status {
#define X(name, number, text) name = number,
    BM_STATUS_LIST(X)
#undef X
};
#define X(name, number, text) +1
enum { BM_STATUSES = BM_STATUS_LIST(X) }; // how many
#undef X

enum { BM_ERROR_WHERE_MAX = 160, BM_ERROR_TEXT_MAX = 320 };

// `where` is a path into the user's input: "pipelines.yaml:14: pipelines.digits.actions[2].factor"
// or "digits.csv.gz: row 12, column 3"; empty where there is none.
struct bm_error {
    enum bm_status status;
    char where[BM_ERROR_WHERE_MAX];
    char text[BM_ERROR_TEXT_MAX];
};

const char *bm_status_name(enum bm_status status); // "INVALID_ARGUMENT"; "UNKNOWN" for others

// Fills `err` (when not NULL) and returns `status`, so that callers write
// `return bm_fail(err, BM_INVALID_ARGUMENT, "a.b[2]", "expected ..., got ...")`.
// `where` may be NULL for none. The format knows %m.
enum bm_status bm_fail(struct bm_error *err, enum bm_status status, const char *where,
                       const char *format, ...) __attribute__((format(printf, 4, 5)));

// For programmer errors only; stays on in release builds. What a peer or a file can cause is a
// bm_fail(), never this.
#define BM_ASSERT(cond) ((cond) ? (void)0 : bm_panic(#cond, __FILE__, __LINE__))
noreturn void bm_panic(const char *cond, const char *file, int line);
