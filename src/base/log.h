// log.h -- one line per event, for people (logfmt) or machines (JSON). Layer: base.
//
// Only the programs log; libraries and src/ return errors instead. Every value is escaped, so a
// peer cannot forge a line. Threads: any thread after bm_log_setup().
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum bm_log_level { BM_LOG_DEBUG, BM_LOG_INFO, BM_LOG_WARNING, BM_LOG_ERROR };

enum { BM_LOG_TEXT_MAX = 512 }; // bytes of one value; longer ones are cut

struct bm_field {
    const char *key;
    const char *text; // NULL: the number
    int64_t number;
};
#define BM_TEXT(key_, text_)                                                                       \
    (struct bm_field)                                                                              \
    {                                                                                              \
        .key = (key_), .text = (text_)                                                             \
    }
#define BM_NUMBER(key_, number_)                                                                   \
    (struct bm_field)                                                                              \
    {                                                                                              \
        .key = (key_), .number = (int64_t)(number_)                                                \
    }

// Lines go to stderr; events below `level` are left out.
void bm_log_setup(enum bm_log_level level, bool json);
void bm_log_fields(enum bm_log_level level, const char *event, const struct bm_field *fields,
                   unsigned nfields);
// BM_LOG(BM_LOG_INFO, "listening", BM_TEXT("url", url), BM_NUMBER("workers", 2));
#define BM_LOG(level, event, ...)                                                                  \
    bm_log_fields((level), (event), (const struct bm_field[]){__VA_ARGS__},                        \
                  sizeof((const struct bm_field[]){__VA_ARGS__}) / sizeof(struct bm_field))
