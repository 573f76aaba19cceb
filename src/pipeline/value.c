#include "pipeline/value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_BYTES = 40 }; // of a value, in an error

static const char digits[] = "0123456789";

struct bm_value *bm_value_new(enum bm_value_kind kind, const char *where)
{
    struct bm_value *value = calloc(1, sizeof *value);
    if (value == NULL)
        return NULL;
    value->kind = kind;
    value->where = strdup(where == NULL ? "" : where);
    if (value->where == NULL) {
        free(value);
        return NULL;
    }
    return value;
}

// NOLINTNEXTLINE(misc-no-recursion): who builds values bounds their depth
void bm_value_free(struct bm_value *value)
{
    if (value == NULL)
        return;
    for (unsigned i = 0; i < value->nchildren; i++) {
        if (value->keys != NULL)
            free(value->keys[i]);
        bm_value_free(value->children[i]);
    }
    free(value->keys);
    free(value->children);
    free(value->where);
    free(value->text);
    free(value);
}

// ---- Plain scalars, as the core schema of YAML 1.2 has them ----

static bool text_is_one_of(const char *text, const char *const names[3])
{
    return strcmp(text, names[0]) == 0 || strcmp(text, names[1]) == 0 ||
           strcmp(text, names[2]) == 0;
}

static const char *text_skip_sign(const char *text)
{
    return *text == '-' || *text == '+' ? text + 1 : text;
}

// [-+]?[0-9]+, 0o[0-7]+ or 0x[0-9a-fA-F]+, if it fits.
static bool scalar_integer(const char *text, int64_t *ret_integer)
{
    const char *first = text_skip_sign(text), *allowed = digits;
    int base = 10;
    if (strncmp(text, "0x", 2) == 0) {
        first = text + 2;
        base = 16;
        allowed = "0123456789abcdefABCDEF";
    } else if (strncmp(text, "0o", 2) == 0) {
        first = text + 2;
        base = 8;
        allowed = "01234567";
    }
    size_t length = strspn(first, allowed);
    if (length == 0 || first[length] != '\0')
        return false;
    errno = 0;
    int64_t integer = strtoimax(base == 10 ? text : first, NULL, base);
    if (errno != 0)
        return false;
    *ret_integer = integer;
    return true;
}

// strtod() takes more than YAML does (hexadecimal floats, "inf"), so the form is checked first.
static bool scalar_float(const char *text, double *ret_number)
{
    static const char *const infinities[] = {".inf", ".Inf", ".INF"};
    static const char *const nans[] = {".nan", ".NaN", ".NAN"};
    const char *end = text_skip_sign(text);
    if (text_is_one_of(end, infinities)) {
        *ret_number = *text == '-' ? -__builtin_inf() : __builtin_inf();
        return true;
    }
    if (text_is_one_of(text, nans)) {
        *ret_number = __builtin_nan("");
        return true;
    }
    size_t ndigits = strspn(end, digits);
    end += ndigits;
    if (*end == '.') {
        size_t decimals = strspn(end + 1, digits);
        ndigits += decimals;
        end += 1 + decimals;
    }
    if (ndigits == 0)
        return false;
    if (*end == 'e' || *end == 'E') {
        end = text_skip_sign(end + 1);
        size_t exponent = strspn(end, digits);
        if (exponent == 0)
            return false;
        end += exponent;
    }
    if (*end != '\0')
        return false;
    *ret_number = strtod(text, NULL);
    return true;
}

static void scalar_resolve(struct bm_value *value)
{
    static const char *const nulls[] = {"null", "Null", "NULL"};
    static const char *const trues[] = {"true", "True", "TRUE"};
    static const char *const falses[] = {"false", "False", "FALSE"};
    const char *text = value->text;
    if (*text == '\0' || strcmp(text, "~") == 0 || text_is_one_of(text, nulls)) {
        value->kind = BM_VALUE_NULL;
    } else if (text_is_one_of(text, trues) || text_is_one_of(text, falses)) {
        value->kind = BM_VALUE_BOOL;
        value->boolean = *text == 't' || *text == 'T';
    } else if (scalar_integer(text, &value->integer)) {
        value->kind = BM_VALUE_INTEGER;
        value->number = (double)value->integer;
    } else if (scalar_float(text, &value->number)) {
        value->kind = BM_VALUE_FLOAT;
    }
}

struct bm_value *bm_value_new_scalar(const char *text, bool quoted, const char *where)
{
    struct bm_value *value = bm_value_new(BM_VALUE_TEXT, where);
    if (value == NULL)
        return NULL;
    value->text = strdup(text);
    if (value->text == NULL) {
        bm_value_free(value);
        return NULL;
    }
    if (!quoted)
        scalar_resolve(value);
    return value;
}

// ---- Lists and maps ----

static bool value_grow(struct bm_value *parent)
{
    if (parent->nchildren < parent->capacity)
        return true;
    unsigned capacity = parent->capacity == 0 ? 8 : 2 * parent->capacity;
    struct bm_value **children =
        reallocarray(parent->children, capacity, sizeof(struct bm_value *));
    if (children == NULL)
        return false;
    parent->children = children;
    if (parent->kind == BM_VALUE_MAP) {
        char **keys = reallocarray(parent->keys, capacity, sizeof(char *));
        if (keys == NULL)
            return false;
        parent->keys = keys;
    }
    parent->capacity = capacity;
    return true;
}

bool bm_value_append(struct bm_value *parent, const char *key, struct bm_value *child)
{
    BM_ASSERT(parent->kind == (key == NULL ? BM_VALUE_LIST : BM_VALUE_MAP));
    if (!value_grow(parent))
        return false;
    if (key != NULL) {
        char *copy = strdup(key);
        if (copy == NULL)
            return false;
        parent->keys[parent->nchildren] = copy;
    }
    parent->children[parent->nchildren++] = child;
    return true;
}

const struct bm_value *bm_value_find(const struct bm_value *map, const char *key)
{
    if (map->kind != BM_VALUE_MAP)
        return NULL;
    for (unsigned i = 0; i < map->nchildren; i++) {
        if (strcmp(map->keys[i], key) == 0)
            return map->children[i];
    }
    return NULL;
}

// ---- For errors ----

const char *bm_value_kind_name(const struct bm_value *value)
{
    switch (value->kind) {
    case BM_VALUE_NULL:
        return "nothing";
    case BM_VALUE_BOOL:
        return "true or false";
    case BM_VALUE_INTEGER:
    case BM_VALUE_FLOAT:
        return "a number";
    case BM_VALUE_TEXT:
        return "a text";
    case BM_VALUE_LIST:
        return "a list";
    case BM_VALUE_MAP:
        return "a map";
    }
    return "";
}

void bm_value_show(const struct bm_value *value, struct bm_buffer *out)
{
    switch (value->kind) {
    case BM_VALUE_BOOL:
    case BM_VALUE_INTEGER:
    case BM_VALUE_FLOAT:
        bm_buffer_print(out, "%.*s", SHOWN_BYTES, value->text);
        break;
    case BM_VALUE_TEXT: {
        size_t length = strlen(value->text), shown = length < SHOWN_BYTES ? length : SHOWN_BYTES;
        while (shown < length && ((unsigned char)value->text[shown] & 0xc0) == 0x80)
            shown--; // not in the middle of a character of UTF-8
        bm_buffer_print(out, "the text \"%.*s\"%s", (int)shown, value->text,
                        shown < length ? "..." : "");
        break;
    }
    case BM_VALUE_LIST:
        bm_buffer_print(out, "a list of %u", value->nchildren);
        break;
    case BM_VALUE_NULL:
    case BM_VALUE_MAP:
        bm_buffer_add_text(out, bm_value_kind_name(value));
        break;
    }
}
