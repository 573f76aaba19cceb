// What a configuration says, as JSON: parameters travel so.
#include "remote/internal.h"

void json_add_text(struct bm_buffer *out, const char *text)
{
    bm_buffer_add_text(out, "\"");
    for (const char *at = text; *at != '\0'; at++) {
        unsigned char byte = (unsigned char)*at;
        if (byte == '"' || byte == '\\')
            bm_buffer_print(out, "\\%c", byte);
        else if (byte < 0x20)
            bm_buffer_print(out, "\\u%04x", byte);
        else
            bm_buffer_add(out, at, 1);
    }
    bm_buffer_add_text(out, "\"");
}

// NOLINTNEXTLINE(misc-no-recursion): the depth of a configuration is bounded
void json_add(struct bm_buffer *out, const struct bm_value *value)
{
    switch (value->kind) {
    case BM_VALUE_NULL:
        bm_buffer_add_text(out, "null");
        break;
    case BM_VALUE_BOOL:
        bm_buffer_add_text(out, value->boolean ? "true" : "false");
        break;
    case BM_VALUE_INTEGER:
        bm_buffer_print(out, "%lld", (long long)value->integer);
        break;
    case BM_VALUE_FLOAT:
        if (value->number - value->number == 0) // JSON has no other
            bm_buffer_print(out, "%.17g", value->number);
        else
            json_add_text(out, value->text);
        break;
    case BM_VALUE_TEXT:
        json_add_text(out, value->text);
        break;
    case BM_VALUE_LIST:
    case BM_VALUE_MAP: {
        bool map = value->kind == BM_VALUE_MAP;
        bm_buffer_add_text(out, map ? "{" : "[");
        for (unsigned i = 0; i < value->nchildren; i++) {
            if (i > 0)
                bm_buffer_add_text(out, ", ");
            if (map) {
                json_add_text(out, value->keys[i]);
                bm_buffer_add_text(out, ": ");
            }
            json_add(out, value->children[i]);
        }
        bm_buffer_add_text(out, map ? "}" : "]");
        break;
    }
    }
}
