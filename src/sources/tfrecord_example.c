// The messages, as in tensorflow/core/example/{example,feature}.proto:
//
//     Example  { Features features = 1; }
//     Features { map<string, Feature> feature = 1; }    an entry: string key = 1; Feature value = 2
//     Feature  { oneof: BytesList bytes_list = 1; FloatList float_list = 2; Int64List int64_list =
//     3 }
//     ...List  { repeated ... value = 1; }              float and int64 packed, or not
#include "sources/tfrecord_example.h"

#include <stddef.h>
#include <string.h>

enum { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_GROUP, WIRE_GROUP_END, WIRE_32 };

struct wire {
    const unsigned char *at, *end;
};

struct field {
    uint64_t number;
    unsigned type;
    uint64_t integer;  // of WIRE_VARINT
    struct wire bytes; // of WIRE_BYTES
};

static bool wire_varint(struct wire *wire, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70 && wire->at < wire->end; shift += 7) {
        unsigned char byte = *wire->at++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

// False: the message is broken. Not called at its end.
static bool wire_field(struct wire *wire, struct field *ret_field)
{
    uint64_t tag, size = 0;
    if (!wire_varint(wire, &tag) || tag >> 3 == 0)
        return false;
    *ret_field = (struct field){.number = tag >> 3, .type = tag & 7};
    switch (ret_field->type) {
    case WIRE_VARINT:
        return wire_varint(wire, &ret_field->integer);
    case WIRE_64:
        size = 8;
        break;
    case WIRE_32:
        size = 4;
        break;
    case WIRE_BYTES:
        if (!wire_varint(wire, &size))
            return false;
        break;
    default: // groups: nobody writes them any more
        return false;
    }
    if (size > (uint64_t)(wire->end - wire->at))
        return false;
    ret_field->bytes = (struct wire){wire->at, wire->at + size};
    wire->at += size;
    return true;
}

static bool is_message(const struct field *field, uint64_t number)
{
    return field->number == number && field->type == WIRE_BYTES;
}

const char *bm_tf_kind_name(enum bm_tf_kind kind)
{
    static const char *const names[] = {"nothing", "bytes_list", "float_list", "int64_list"};
    return names[kind];
}

// ---- Features ----

static bool feature_read(struct wire wire, struct bm_tf_feature *feature)
{
    struct field field;
    *feature = (struct bm_tf_feature){0};
    while (wire.at < wire.end) {
        if (!wire_field(&wire, &field))
            return false;
        if (field.type == WIRE_BYTES && field.number <= BM_TF_INT64)
            *feature = (struct bm_tf_feature){(enum bm_tf_kind)field.number, field.bytes.at,
                                              field.bytes.end};
    }
    return true;
}

struct entry {
    struct wire key, value;
};

static bool entry_read(struct wire wire, struct entry *entry)
{
    struct field field;
    *entry = (struct entry){0};
    while (wire.at < wire.end) {
        if (!wire_field(&wire, &field))
            return false;
        if (is_message(&field, 1))
            entry->key = field.bytes;
        if (is_message(&field, 2))
            entry->value = field.bytes;
    }
    return true;
}

bool bm_tf_example_list(const unsigned char *data, uint64_t size,
                        void (*take)(void *taker, const char *name, uint64_t length,
                                     const struct bm_tf_feature *feature),
                        void *taker)
{
    struct wire example = {data, data + size};
    struct field features, field;
    while (example.at < example.end) {
        if (!wire_field(&example, &features))
            return false;
        if (!is_message(&features, 1))
            continue;
        struct wire map = features.bytes;
        while (map.at < map.end) {
            struct entry entry;
            struct bm_tf_feature feature;
            if (!wire_field(&map, &field))
                return false;
            if (!is_message(&field, 1))
                continue;
            if (!entry_read(field.bytes, &entry) || !feature_read(entry.value, &feature))
                return false;
            take(taker, (const char *)entry.key.at, (uint64_t)(entry.key.end - entry.key.at),
                 &feature);
        }
    }
    return true;
}

struct search {
    const char *const *names;
    unsigned n;
    struct bm_tf_feature *features;
};

static void search_take(void *taker, const char *name, uint64_t length,
                        const struct bm_tf_feature *feature)
{
    const struct search *search = taker;
    for (unsigned i = 0; i < search->n; i++) {
        if (strlen(search->names[i]) == length &&
            (length == 0 || memcmp(search->names[i], name, length) == 0))
            search->features[i] = *feature;
    }
}

bool bm_tf_example_find(const unsigned char *data, uint64_t size, const char *const *names,
                        unsigned n, struct bm_tf_feature *features)
{
    struct search search = {names, n, features};
    memset(features, 0, n * sizeof features[0]);
    return bm_tf_example_list(data, size, search_take, &search);
}

// ---- Values ----

void bm_tf_values_init(struct bm_tf_values *values, const struct bm_tf_feature *feature)
{
    *values =
        (struct bm_tf_values){.at = feature->at, .end = feature->end, .packed_end = feature->at};
}

// Moves on to the next field 1, as which numbers may be packed. False: there is none.
static bool values_field(struct bm_tf_values *values, struct field *field)
{
    struct wire wire = {values->at, values->end};
    while (wire.at < wire.end) {
        if (!wire_field(&wire, field)) {
            values->broken = true;
            return false;
        }
        values->at = wire.at;
        if (field->number == 1)
            return true;
    }
    return false;
}

// Whether a packed run is at `at`; else `field` is a value by itself. False: there is none left.
static bool values_next(struct bm_tf_values *values, unsigned alone, struct field *field)
{
    field->type = WIRE_BYTES;
    while (values->at == values->packed_end) {
        if (!values_field(values, field))
            return false;
        values->packed_end = values->at;
        if (field->type == alone)
            return true;
        if (field->type != WIRE_BYTES) {
            values->broken = true;
            return false;
        }
        values->at = field->bytes.at; // empty runs are passed over
    }
    return true;
}

bool bm_tf_next_int64(struct bm_tf_values *values, int64_t *ret_value)
{
    struct field field;
    if (!values_next(values, WIRE_VARINT, &field))
        return false;
    if (field.type == WIRE_VARINT) {
        *ret_value = (int64_t)field.integer;
        return true;
    }
    struct wire run = {values->at, values->packed_end};
    uint64_t value;
    if (!wire_varint(&run, &value)) {
        values->broken = true;
        return false;
    }
    values->at = run.at;
    *ret_value = (int64_t)value;
    return true;
}

bool bm_tf_next_float(struct bm_tf_values *values, float *ret_value)
{
    struct field field = {0};
    if (!values_next(values, WIRE_32, &field))
        return false;
    const unsigned char *from = field.bytes.at;
    if (field.type == WIRE_BYTES) {
        if (values->packed_end - values->at < (ptrdiff_t)sizeof *ret_value) {
            values->broken = true;
            return false;
        }
        from = values->at;
        values->at += sizeof *ret_value;
    }
    memcpy(ret_value, from, sizeof *ret_value);
    return true;
}

bool bm_tf_next_bytes(struct bm_tf_values *values, const unsigned char **ret_data,
                      uint64_t *ret_size)
{
    struct field field;
    if (!values_field(values, &field))
        return false;
    if (field.type != WIRE_BYTES) {
        values->broken = true;
        return false;
    }
    *ret_data = field.bytes.at;
    *ret_size = (uint64_t)(field.bytes.end - field.bytes.at);
    return true;
}

bool bm_tf_count(const struct bm_tf_feature *feature, uint64_t *ret_n)
{
    struct bm_tf_values values;
    const unsigned char *data;
    uint64_t n = 0, size;
    int64_t integer;
    float real;
    bm_tf_values_init(&values, feature);
    switch (feature->kind) {
    case BM_TF_BYTES:
        while (bm_tf_next_bytes(&values, &data, &size))
            n++;
        break;
    case BM_TF_FLOAT:
        while (bm_tf_next_float(&values, &real))
            n++;
        break;
    case BM_TF_INT64:
        while (bm_tf_next_int64(&values, &integer))
            n++;
        break;
    case BM_TF_NONE:
        break;
    }
    *ret_n = n;
    return !values.broken;
}
