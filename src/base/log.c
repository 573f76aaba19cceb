#include "base/log.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"

static const char *const level_names[] = {"debug", "info", "warning", "error"};

static enum bm_log_level level_min = BM_LOG_INFO;
static bool as_json;

void bm_log_setup(enum bm_log_level level, bool json)
{
    level_min = level;
    as_json = json;
}

// Quoted the way JSON does it, which logfmt readers understand as well.
static void log_add_quoted(struct bm_buffer *line, const char *text)
{
    size_t length = strnlen(text, BM_LOG_TEXT_MAX);
    bm_buffer_add_text(line, "\"");
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            bm_buffer_print(line, "\\%c", c);
        else if (c == '\n')
            bm_buffer_add_text(line, "\\n");
        else if (c < 0x20 || c >= 0x7f) // also what is not ASCII: it may not be UTF-8
            bm_buffer_print(line, "\\u%04x", c);
        else
            bm_buffer_add(line, &text[i], 1);
    }
    bm_buffer_add_text(line, "\"");
}

static void log_add_text(struct bm_buffer *line, const char *text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                "._-:/*@+,%[]()";
    if (!as_json && text[0] != '\0' && strspn(text, plain) == strlen(text) &&
        strlen(text) <= BM_LOG_TEXT_MAX)
        bm_buffer_add_text(line, text);
    else
        log_add_quoted(line, text);
}

static void log_add_field(struct bm_buffer *line, const char *key, const char *text, int64_t number)
{
    bm_buffer_print(line, as_json ? ",\"%s\":" : " %s=", key);
    if (text != NULL)
        log_add_text(line, text);
    else
        bm_buffer_print(line, "%lld", (long long)number);
}

void bm_log_fields(enum bm_log_level level, const char *event, const struct bm_field *fields,
                   unsigned nfields)
{
    if (level < level_min)
        return;
    struct timespec now;
    struct tm utc;
    char stamp[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    struct bm_buffer line;
    bm_buffer_init(&line);
    bm_buffer_print(&line, as_json ? "{\"time\":\"%s.%03ldZ\"" : "time=%s.%03ldZ", stamp,
                    now.tv_nsec / 1000000);
    log_add_field(&line, "level", level_names[level], 0);
    log_add_field(&line, "event", event, 0);
    for (unsigned i = 0; i < nfields; i++)
        log_add_field(&line, fields[i].key, fields[i].text, fields[i].number);
    bm_buffer_add_text(&line, as_json ? "}\n" : "\n");
    // One write, so that lines of several threads do not mix.
    if (!bm_buffer_failed(&line) && write(STDERR_FILENO, line.data, line.size) < 0) {
        // Nobody reads the log; the service goes on.
    }
    bm_buffer_fini(&line);
}
