// config_yaml.c -- a YAML text as values that know where they were written.
// Layer: server (the only file that includes libyaml).
#include <stdio.h>
#include <string.h>

#include <yaml.h>

#include "server/config.h"

enum { YAML_DEPTH_MAX = 32, YAML_BYTES_MAX = 4 * 1024 * 1024 };

struct reader {
    yaml_parser_t parser;
    const char *name;
    struct bm_error *err;
    unsigned depth;
    char path[BM_ERROR_WHERE_MAX / 2]; // "pipelines.digits.actions[2]", cut when too long
};

static enum bm_status reader_next(struct reader *reader, yaml_event_t *event)
{
    if (yaml_parser_parse(&reader->parser, event))
        return BM_OK;
    char where[BM_ERROR_WHERE_MAX];
    const yaml_parser_t *parser = &reader->parser;
    snprintf(where, sizeof where, "%s:%zu", reader->name, parser->problem_mark.line + 1);
    const char *problem = parser->problem == NULL ? "out of memory" : parser->problem;
    const char *context = parser->context == NULL ? "" : parser->context;
    return bm_fail(reader->err, BM_INVALID_ARGUMENT, where, "not YAML: %s%s%s", problem,
                   context[0] == '\0' ? "" : ", ", context);
}

static void reader_where(const struct reader *reader, yaml_mark_t mark, char *where, size_t size)
{
    snprintf(where, size, "%s:%zu%s%s", reader->name, mark.line + 1,
             reader->path[0] == '\0' ? "" : ": ", reader->path);
}

static enum bm_status reader_fail(struct reader *reader, yaml_mark_t mark, const char *text)
{
    char where[BM_ERROR_WHERE_MAX];
    reader_where(reader, mark, where, sizeof where);
    return bm_fail(reader->err, BM_INVALID_ARGUMENT, where, "%s", text);
}

static enum bm_status reader_no_memory(struct reader *reader)
{
    return bm_fail(reader->err, BM_RESOURCE_EXHAUSTED, reader->name, "out of memory");
}

// The functions below call each other as deep as the text nests, at most YAML_DEPTH_MAX.
// NOLINTBEGIN(misc-no-recursion)

static enum bm_status reader_value(struct reader *reader, yaml_event_t *event,
                                   struct bm_value **ret_value);

static enum bm_status reader_list(struct reader *reader, struct bm_value *list)
{
    size_t path_length = strlen(reader->path);
    for (unsigned i = 0;; i++) {
        yaml_event_t event;
        enum bm_status status = reader_next(reader, &event);
        if (status != BM_OK)
            return status;
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            return BM_OK;
        }
        snprintf(reader->path + path_length, sizeof reader->path - path_length, "[%u]", i);
        struct bm_value *child = NULL;
        status = reader_value(reader, &event, &child);
        reader->path[path_length] = '\0';
        if (status != BM_OK)
            return status;
        if (!bm_value_append(list, NULL, child)) {
            bm_value_free(child);
            return reader_no_memory(reader);
        }
    }
}

// A key may be any plain text that was not used before.
static enum bm_status reader_key(struct reader *reader, const struct bm_value *map,
                                 const yaml_event_t *event)
{
    const char *key = (const char *)event->data.scalar.value;
    if (event->type != YAML_SCALAR_EVENT)
        return reader_fail(reader, event->start_mark, "expected a plain key, got a list or a map");
    if (strlen(key) != event->data.scalar.length)
        return reader_fail(reader, event->start_mark, "a key with a NUL character");
    if (event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL)
        return reader_fail(reader, event->start_mark, "anchors and tags are not supported");
    if (bm_value_find(map, key) == NULL)
        return BM_OK;
    char text[256];
    snprintf(text, sizeof text, "the key \"%.200s\" is given twice", key);
    return reader_fail(reader, event->start_mark, text);
}

static enum bm_status reader_map_entry(struct reader *reader, struct bm_value *map,
                                       const yaml_event_t *key_event)
{
    enum bm_status status = reader_key(reader, map, key_event);
    if (status != BM_OK)
        return status;
    const char *key = (const char *)key_event->data.scalar.value;
    size_t path_length = strlen(reader->path);
    snprintf(reader->path + path_length, sizeof reader->path - path_length, "%s%s",
             path_length == 0 ? "" : ".", key);
    yaml_event_t event;
    struct bm_value *child = NULL;
    status = reader_next(reader, &event);
    if (status == BM_OK)
        status = reader_value(reader, &event, &child);
    reader->path[path_length] = '\0';
    if (status != BM_OK)
        return status;
    if (bm_value_append(map, key, child))
        return BM_OK;
    bm_value_free(child);
    return reader_no_memory(reader);
}

static enum bm_status reader_map(struct reader *reader, struct bm_value *map)
{
    for (;;) {
        yaml_event_t event;
        enum bm_status status = reader_next(reader, &event);
        if (status != BM_OK)
            return status;
        bool end = event.type == YAML_MAPPING_END_EVENT;
        if (!end)
            status = reader_map_entry(reader, map, &event);
        yaml_event_delete(&event);
        if (end || status != BM_OK)
            return status;
    }
}

static enum bm_status reader_scalar(struct reader *reader, const yaml_event_t *event,
                                    const char *where, struct bm_value **ret_value)
{
    const char *text = (const char *)event->data.scalar.value;
    if (event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL)
        return reader_fail(reader, event->start_mark, "anchors and tags are not supported");
    if (strlen(text) != event->data.scalar.length)
        return reader_fail(reader, event->start_mark, "a text with a NUL character");
    bool quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    *ret_value = bm_value_new_scalar(text, quoted, where);
    return *ret_value == NULL ? reader_no_memory(reader) : BM_OK;
}

static enum bm_status reader_collection(struct reader *reader, const yaml_event_t *event,
                                        const char *where, struct bm_value **ret_value)
{
    bool list = event->type == YAML_SEQUENCE_START_EVENT;
    bool plain =
        list ? event->data.sequence_start.anchor == NULL && event->data.sequence_start.tag == NULL
             : event->data.mapping_start.anchor == NULL && event->data.mapping_start.tag == NULL;
    if (!plain)
        return reader_fail(reader, event->start_mark, "anchors and tags are not supported");
    if (reader->depth == YAML_DEPTH_MAX)
        return reader_fail(reader, event->start_mark, "lists and maps nested more than 32 deep");
    struct bm_value *value = bm_value_new(list ? BM_VALUE_LIST : BM_VALUE_MAP, where);
    if (value == NULL)
        return reader_no_memory(reader);
    reader->depth++;
    enum bm_status status = list ? reader_list(reader, value) : reader_map(reader, value);
    reader->depth--;
    if (status != BM_OK) {
        bm_value_free(value);
        return status;
    }
    *ret_value = value;
    return BM_OK;
}

// Takes over `event`, the first of the value.
static enum bm_status reader_value(struct reader *reader, yaml_event_t *event,
                                   struct bm_value **ret_value)
{
    char where[BM_ERROR_WHERE_MAX];
    reader_where(reader, event->start_mark, where, sizeof where);
    enum bm_status status;
    if (event->type == YAML_SCALAR_EVENT)
        status = reader_scalar(reader, event, where, ret_value);
    else if (event->type == YAML_SEQUENCE_START_EVENT || event->type == YAML_MAPPING_START_EVENT)
        status = reader_collection(reader, event, where, ret_value);
    else
        status = reader_fail(reader, event->start_mark, "aliases are not supported");
    yaml_event_delete(event);
    return status;
}

// NOLINTEND(misc-no-recursion)

// The frame around the one document: stream start, document start, value, document end, end.
static enum bm_status reader_expect(struct reader *reader, yaml_event_type_t type, const char *text)
{
    yaml_event_t event;
    enum bm_status status = reader_next(reader, &event);
    if (status != BM_OK)
        return status;
    if (event.type != type)
        status = reader_fail(reader, event.start_mark, text);
    yaml_event_delete(&event);
    return status;
}

static enum bm_status reader_document(struct reader *reader, struct bm_value **ret_value)
{
    yaml_event_t event;
    struct bm_value *value = NULL;
    enum bm_status status = reader_expect(reader, YAML_STREAM_START_EVENT, "not YAML");
    if (status == BM_OK)
        status = reader_expect(reader, YAML_DOCUMENT_START_EVENT, "expected a map, got nothing");
    if (status == BM_OK)
        status = reader_next(reader, &event);
    if (status == BM_OK)
        status = reader_value(reader, &event, &value);
    if (status == BM_OK)
        status = reader_expect(reader, YAML_DOCUMENT_END_EVENT, "not YAML");
    if (status == BM_OK)
        status = reader_expect(reader, YAML_STREAM_END_EVENT, "expected one document, got more");
    if (status == BM_OK)
        *ret_value = value;
    else
        bm_value_free(value);
    return status;
}

enum bm_status bm_yaml_parse(const char *text, size_t size, const char *name,
                             struct bm_value **ret_value, struct bm_error *err)
{
    if (size > YAML_BYTES_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, name, "expected at most %d bytes, got %zu",
                       YAML_BYTES_MAX, size);
    struct reader reader = {.name = name, .err = err};
    if (!yaml_parser_initialize(&reader.parser))
        return reader_no_memory(&reader);
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, size);
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    enum bm_status status = reader_document(&reader, ret_value);
    yaml_parser_delete(&reader.parser);
    return status;
}
