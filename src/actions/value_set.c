#include "actions/value_set.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum kind { TEXTS, INTEGERS, REALS };

struct entry {
    const char *text; // of TEXTS
    size_t length;
    int64_t integer;
    double real;
    unsigned place; // among the texts
};

struct bm_value_set {
    enum kind kind;
    unsigned n;
    struct entry entries[]; // sorted by value, then by place
};

// ---- Order ----

static int entry_compare(const struct entry *one, const struct entry *two, enum kind kind)
{
    if (kind == REALS)
        return (one->real > two->real) - (one->real < two->real);
    if (kind == INTEGERS)
        return (one->integer > two->integer) - (one->integer < two->integer);
    size_t length = one->length < two->length ? one->length : two->length;
    int order = length == 0 ? 0 : memcmp(one->text, two->text, length);
    return order != 0 ? order : (one->length > two->length) - (one->length < two->length);
}

static int entry_sort(const void *one, const void *two, void *kind)
{
    const struct entry *left = one, *right = two;
    int order = entry_compare(left, right, *(const enum kind *)kind);
    return order != 0 ? order : (left->place > right->place) - (left->place < right->place);
}

// ---- Reading what the user wrote ----

static bool read_bool(const char *text, int64_t *ret_integer)
{
    static const char *const names[2][4] = {{"false", "False", "FALSE", "0"},
                                            {"true", "True", "TRUE", "1"}};
    for (int value = 0; value < 2; value++) {
        for (unsigned i = 0; i < 4; i++) {
            if (strcmp(text, names[value][i]) == 0) {
                *ret_integer = value;
                return true;
            }
        }
    }
    return false;
}

static bool read_integer(const struct bm_component *component, const char *text,
                         int64_t *ret_integer)
{
    if (component->vocabulary != NULL) {
        *ret_integer = bm_vocabulary_find(component->vocabulary, text, strlen(text));
        if (*ret_integer >= 0)
            return true;
    }
    if (component->dtype == BM_BOOL)
        return read_bool(text, ret_integer);
    char *end;
    unsigned char element[sizeof(uint64_t)];
    errno = 0;
    int64_t integer = strtoll(text, &end, 10), back;
    // What uint64 has beyond int64 reads as INT64_MAX, which therefore stands for nothing.
    if (end == text || *end != '\0' || errno != 0 || integer == INT64_MAX)
        return false;
    bm_dtype_convert(component->dtype, element, BM_INT64, &integer, 1);
    bm_dtype_convert(BM_INT64, &back, component->dtype, element, 1);
    *ret_integer = integer;
    return back == integer; // else the dtype does not hold it
}

// The number that the dtype has for it.
static bool read_real(const struct bm_component *component, const char *text, double *ret_real)
{
    char *end;
    unsigned char element[sizeof(uint64_t)];
    double real = strtod(text, &end);
    if (end == text || *end != '\0' || isnan(real))
        return false;
    bm_dtype_put(component->dtype, element, 0, real);
    *ret_real = bm_dtype_get(component->dtype, element, 0);
    return true;
}

static bool entry_read(const struct bm_component *component, enum kind kind, struct entry *entry)
{
    if (kind == INTEGERS)
        return read_integer(component, entry->text, &entry->integer);
    return kind == TEXTS || read_real(component, entry->text, &entry->real);
}

size_t bm_value_set_bytes(unsigned n)
{
    return sizeof(struct bm_value_set) + n * sizeof(struct entry);
}

enum bm_status bm_value_set_init(struct bm_value_set *set, const struct bm_component *component,
                                 const struct bm_texts *texts, const char *where,
                                 struct bm_error *err)
{
    set->n = texts->n;
    set->kind = bm_dtype_is_text(component->dtype)    ? TEXTS
                : bm_dtype_is_float(component->dtype) ? REALS
                                                      : INTEGERS;
    for (unsigned i = 0; i < set->n; i++) {
        struct entry *entry = &set->entries[i];
        *entry = (struct entry){
            .text = texts->values[i], .length = strlen(texts->values[i]), .place = i};
        if (!entry_read(component, set->kind, entry))
            return bm_fail(err, BM_INVALID_ARGUMENT, where,
                           "expected values of %s, %s%s, got %.60s", component->name,
                           bm_dtype_name(component->dtype),
                           component->vocabulary == NULL ? "" : " or names of its vocabulary",
                           texts->values[i]);
    }
    qsort_r(set->entries, set->n, sizeof set->entries[0], entry_sort, &set->kind);
    return BM_OK;
}

// ---- Finding ----

int64_t bm_value_set_find(const struct bm_value_set *set, const struct bm_batch *batch, unsigned c,
                          uint64_t row)
{
    enum bm_dtype dtype = batch->schema->components[c].dtype;
    struct entry key = {0};
    uint64_t n;
    const unsigned char *data = bm_batch_rows(batch, c, row, 1, &n);
    if (set->kind == TEXTS) {
        key.text = (const char *)data;
        key.length = (size_t)n;
    } else if (set->kind == INTEGERS) {
        bm_dtype_convert(BM_INT64, &key.integer, dtype, data, 1);
    } else {
        key.real = bm_dtype_get(dtype, data, 0);
        if (isnan(key.real))
            return -1;
    }
    unsigned low = 0, high = set->n; // the first that is not less
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (entry_compare(&set->entries[middle], &key, set->kind) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < set->n && entry_compare(&set->entries[low], &key, set->kind) == 0;
    return found ? (int64_t)set->entries[low].place : -1;
}
