// Batches out of a reply. Each is walked twice: once to learn how much memory it takes, and once
// to fill that.
#include <stdlib.h>
#include <string.h>

#include "base/name.h"
#include "base/size.h"
#include "codec.h"
#include "codec_wire.h"
#include "data/dtype.h"

enum { REPLY_NEXT_BATCHES = 15 };

// ---- A tensor ----

struct tensor_view { // as it stands in the message
    struct bm_wire name, offsets, data;
    uint64_t dtype, ragged;
    unsigned ndim; // BATCHMILL_NDIM_MAX + 1: too many
    uint64_t shape[BATCHMILL_NDIM_MAX];
    struct bm_client_place place;
};

static void shape_add(struct tensor_view *view, uint64_t length)
{
    if (view->ndim < BATCHMILL_NDIM_MAX)
        view->shape[view->ndim] = length;
    if (view->ndim <= BATCHMILL_NDIM_MAX)
        view->ndim++;
}

static bool place_walk(struct bm_wire wire, struct bm_client_place *ret)
{
    struct bm_client_place place = {.given = true};
    struct bm_wire_field field;
    while (bm_wire_next(&wire, &field)) {
        switch (field.tag) {
        case BM_WIRE_TAG(1, BM_WIRE_VARINT):
            place.fd = (uint32_t)field.value;
            break;
        case BM_WIRE_TAG(2, BM_WIRE_VARINT):
            place.offset = field.value;
            break;
        case BM_WIRE_TAG(3, BM_WIRE_VARINT):
            place.size_bytes = field.value;
            break;
        case BM_WIRE_TAG(4, BM_WIRE_64):
            place.block = field.value;
            break;
        default:
            break;
        }
    }
    *ret = place;
    return !wire.broken;
}

static bool tensor_walk(struct bm_wire wire, struct tensor_view *ret)
{
    struct tensor_view view = {0};
    struct bm_wire_field field;
    uint64_t length;
    while (bm_wire_next(&wire, &field)) {
        switch (field.tag) {
        case BM_WIRE_TAG(1, BM_WIRE_BYTES):
            view.name = field.bytes;
            break;
        case BM_WIRE_TAG(2, BM_WIRE_VARINT):
            view.dtype = field.value;
            break;
        case BM_WIRE_TAG(3, BM_WIRE_BYTES):
            while (field.bytes.at < field.bytes.stop && bm_wire_varint(&field.bytes, &length))
                shape_add(&view, length);
            if (field.bytes.broken)
                return false;
            break;
        case BM_WIRE_TAG(3, BM_WIRE_VARINT):
            shape_add(&view, field.value);
            break;
        case BM_WIRE_TAG(4, BM_WIRE_VARINT):
            view.ragged = field.value;
            break;
        case BM_WIRE_TAG(6, BM_WIRE_BYTES):
            view.offsets = field.bytes;
            break;
        case BM_WIRE_TAG(8, BM_WIRE_BYTES):
            view.data = field.bytes;
            break;
        case BM_WIRE_TAG(9, BM_WIRE_BYTES):
            if (!place_walk(field.bytes, &view.place))
                return false;
            break;
        default:
            break;
        }
    }
    *ret = view;
    return !wire.broken;
}

static bool view_aligned(const struct bm_wire *view)
{
    return (uintptr_t)view->at % BM_CLIENT_ALIGNMENT == 0;
}

static size_t copy_bytes(const struct bm_wire *view) // what it takes to have it aligned
{
    return view_aligned(view) ? 0 : (size_t)bm_size_align(bm_wire_size(view), BM_CLIENT_ALIGNMENT);
}

static bool offsets_good(const uint64_t *offsets, size_t nitems, uint64_t nrows)
{
    if (offsets[0] != 0 || offsets[nitems] != nrows)
        return false;
    for (size_t i = 0; i < nitems; i++) {
        if (offsets[i] > offsets[i + 1])
            return false;
    }
    return true;
}

static enum batchmill_code tensor_check(const struct tensor_view *view, size_t nitems,
                                        struct batchmill_error *error)
{
    char name[BM_NAME_MAX + 2]; // one more, so that a longer one is refused and not cut
    bm_wire_text(&view->name, name, sizeof name);
    if (!bm_name_valid(name))
        return wire_unreadable(error, "expected a tensor's name, got \"%s\"", name);
    if (view->dtype < BM_BOOL || view->dtype > BM_STRING)
        return wire_unreadable(error, "%s.dtype: expected 1 to 15, got %llu", name,
                               (unsigned long long)view->dtype);
    bool text = bm_dtype_is_text((enum bm_dtype)view->dtype);
    if (view->ndim < 1 || view->ndim > (text ? 1 : BATCHMILL_NDIM_MAX) || (text && !view->ragged))
        return wire_unreadable(error, "%s.shape: expected the shape of a %s, got %u axes", name,
                               bm_dtype_name((enum bm_dtype)view->dtype), view->ndim);
    uint64_t bytes = bm_dtype_size((enum bm_dtype)view->dtype);
    for (unsigned i = 0; i < view->ndim; i++) {
        if (!bm_size_mul(bytes, view->shape[i], &bytes))
            return wire_unreadable(error, "%s.shape: expected at most 2^64 bytes, got more", name);
    }
    uint64_t got = view->place.given ? view->place.size_bytes : bm_wire_size(&view->data);
    if (bytes != got)
        return wire_unreadable(error, "%s.data: expected %llu bytes, got %llu", name,
                               (unsigned long long)bytes, (unsigned long long)got);
    size_t offsets_bytes = view->ragged ? (nitems + 1) * sizeof(uint64_t) : 0;
    if (bm_wire_size(&view->offsets) != offsets_bytes)
        return wire_unreadable(error, "%s.offsets: expected %zu bytes, got %zu", name,
                               offsets_bytes, bm_wire_size(&view->offsets));
    if (!view->ragged && view->shape[0] != nitems)
        return wire_unreadable(error, "%s.shape: expected %zu items, got %llu", name, nitems,
                               (unsigned long long)view->shape[0]);
    return BATCHMILL_OK;
}

// ---- A batch ----

struct batch_view { // as it stands in the message, and what it takes
    uint64_t seq, epoch, outcome;
    size_t nitems, nspans, ntensors;
    bool has_error, has_places;
    size_t copies, names; // bytes
};

// How many numbers are in a packed field: those bytes that end one.
static size_t packed_count(const struct bm_wire *wire)
{
    size_t n = 0;
    for (const unsigned char *at = wire->at; at < wire->stop; at++)
        n += *at < 0x80;
    return n;
}

static enum batchmill_code batch_measure(struct bm_wire wire, struct batch_view *ret,
                                         struct batchmill_error *error)
{
    struct batch_view view = {0};
    struct tensor_view tensor;
    struct bm_wire_field field;
    while (bm_wire_next(&wire, &field)) {
        switch (field.tag) {
        case BM_WIRE_TAG(1, BM_WIRE_VARINT):
            view.seq = field.value;
            break;
        case BM_WIRE_TAG(2, BM_WIRE_VARINT):
            view.epoch = field.value;
            break;
        case BM_WIRE_TAG(3, BM_WIRE_VARINT):
            view.outcome = field.value;
            break;
        case BM_WIRE_TAG(4, BM_WIRE_BYTES):
            view.nitems += packed_count(&field.bytes);
            break;
        case BM_WIRE_TAG(4, BM_WIRE_VARINT):
            view.nitems++;
            break;
        case BM_WIRE_TAG(5, BM_WIRE_BYTES):
            view.has_error = true;
            break;
        case BM_WIRE_TAG(6, BM_WIRE_BYTES):
            view.nspans++;
            break;
        case BM_WIRE_TAG(15, BM_WIRE_BYTES):
            if (!tensor_walk(field.bytes, &tensor))
                return wire_unreadable(error, "it holds a broken tensor");
            view.ntensors++;
            view.names += bm_wire_size(&tensor.name) + 1;
            view.copies += copy_bytes(&tensor.offsets) + copy_bytes(&tensor.data);
            view.has_places |= tensor.place.given;
            break;
        default:
            break;
        }
    }
    if (wire.broken)
        return wire_unreadable(error, "it holds a broken batch");
    *ret = view;
    return BATCHMILL_OK;
}

static enum batchmill_code batch_check(const struct batch_view *view, uint64_t seq,
                                       struct batchmill_error *error)
{
    if (seq == BATCHMILL_UNSET) // a cursor's: nobody knows which it will be
        seq = view->seq;
    if (view->seq != seq)
        return wire_unreadable(error, "expected batch %llu, got batch %llu",
                               (unsigned long long)seq, (unsigned long long)view->seq);
    if (view->outcome > BM_CLIENT_FAILED)
        return wire_unreadable(error, "batch %llu: expected outcome 0 to 2, got %llu",
                               (unsigned long long)seq, (unsigned long long)view->outcome);
    if (view->outcome == BM_CLIENT_FAILED && !view->has_error)
        return wire_unreadable(error, "batch %llu: expected the error it failed with, got none",
                               (unsigned long long)seq);
    if (view->outcome == BM_CLIENT_BATCH && view->has_error)
        return wire_unreadable(error, "batch %llu: expected a batch or an error, got both",
                               (unsigned long long)seq);
    size_t ntensors_max = view->outcome == BM_CLIENT_BATCH ? BM_CLIENT_TENSORS_MAX : 0;
    if (view->ntensors > ntensors_max || view->nspans > BM_CLIENT_SPANS_MAX)
        return wire_unreadable(
            error, "batch %llu: expected at most %zu tensors and %d spans, got %zu and %zu",
            (unsigned long long)seq, ntensors_max, BM_CLIENT_SPANS_MAX, view->ntensors,
            view->nspans);
    return BATCHMILL_OK;
}

static bool error_fill(struct bm_wire wire, uint64_t seq, struct batchmill_error *to)
{
    struct bm_wire_field field;
    *to = (struct batchmill_error){.code = BATCHMILL_UNKNOWN, .has_batch = true, .seq = seq};
    while (bm_wire_next(&wire, &field)) {
        switch (field.tag) {
        case BM_WIRE_TAG(1, BM_WIRE_VARINT):
            to->code = wire_code(field.value);
            break;
        case BM_WIRE_TAG(2, BM_WIRE_BYTES):
            bm_wire_text(&field.bytes, to->pipeline, sizeof to->pipeline);
            break;
        case BM_WIRE_TAG(3, BM_WIRE_BYTES):
            bm_wire_text(&field.bytes, to->action, sizeof to->action);
            break;
        case BM_WIRE_TAG(5, BM_WIRE_VARINT):
            to->has_item = field.value != 0;
            break;
        case BM_WIRE_TAG(6, BM_WIRE_VARINT):
            to->item = field.value;
            break;
        case BM_WIRE_TAG(7, BM_WIRE_BYTES):
            bm_wire_text(&field.bytes, to->text, sizeof to->text);
            break;
        default:
            break;
        }
    }
    return !wire.broken;
}

static bool span_fill(struct bm_wire wire, struct batchmill_span *to)
{
    struct bm_wire_field field;
    *to = (struct batchmill_span){0};
    while (bm_wire_next(&wire, &field)) {
        switch (field.tag) {
        case BM_WIRE_TAG(1, BM_WIRE_64):
            to->queued_ns = field.value;
            break;
        case BM_WIRE_TAG(2, BM_WIRE_64):
            to->parked_ns = field.value;
            break;
        case BM_WIRE_TAG(3, BM_WIRE_64):
            to->started_ns = field.value;
            break;
        case BM_WIRE_TAG(4, BM_WIRE_64):
            to->ended_ns = field.value;
            break;
        case BM_WIRE_TAG(5, BM_WIRE_VARINT):
            to->worker = (unsigned)field.value;
            break;
        default:
            break;
        }
    }
    return !wire.broken;
}

struct batch_fill { // the parts of one allocation, and how far each is filled
    struct bm_client_batch *batch;
    struct batchmill_error *error;
    struct batchmill_tensor *tensors;
    struct bm_client_place *places; // NULL: none
    struct batchmill_span *spans;
    uint64_t *items;
    unsigned char *copies;
    char *names;
    size_t nitems, nspans, ntensors;
};

static bool batch_alloc(const struct batch_view *view, struct batch_fill *ret)
{
    // Widest alignment first; the counts are bounded by the reply's bytes, so nothing overflows.
    size_t head = (size_t)bm_size_align(sizeof *ret->batch, BM_CLIENT_ALIGNMENT);
    size_t tensors = view->ntensors * sizeof *ret->tensors;
    size_t places = view->has_places ? view->ntensors * sizeof *ret->places : 0;
    size_t spans = view->nspans * sizeof *ret->spans;
    size_t items = view->nitems * sizeof *ret->items;
    size_t error = view->has_error ? sizeof *ret->error : 0;
    unsigned char *at =
        malloc(head + view->copies + tensors + places + spans + items + error + view->names);
    if (at == NULL)
        return false;
    *ret = (struct batch_fill){.batch = (void *)at, .copies = at + head};
    at += head + view->copies;
    ret->tensors = (void *)at;
    at += tensors;
    ret->places = view->has_places ? (void *)at : NULL;
    at += places;
    ret->spans = (void *)at;
    at += spans;
    ret->items = (void *)at;
    at += items;
    ret->error = (void *)at;
    at += error;
    ret->names = (void *)at;
    *ret->batch = (struct bm_client_batch){
        .seq = view->seq,
        .epoch = view->epoch,
        .outcome = (enum bm_client_outcome)view->outcome,
        .nitems = view->nitems,
        .nspans = view->nspans,
        .ntensors = view->ntensors,
        .items = ret->items,
        .spans = view->nspans > 0 ? ret->spans : NULL,
        .tensors = ret->tensors,
        .places = ret->places,
        .error = view->has_error ? ret->error : NULL,
    };
    return true;
}

static const void *bytes_aligned(struct batch_fill *fill, const struct bm_wire *view)
{
    if (view_aligned(view))
        return view->at;
    unsigned char *copy = fill->copies;
    memcpy(copy, view->at, bm_wire_size(view));
    fill->copies += copy_bytes(view);
    return copy;
}

static enum batchmill_code tensor_fill(struct batch_fill *fill, const struct bm_wire *wire,
                                       struct batchmill_error *error)
{
    struct tensor_view view = {0};
    tensor_walk(*wire, &view); // worked when it was measured
    enum batchmill_code code = tensor_check(&view, fill->batch->nitems, error);
    if (code != BATCHMILL_OK)
        return code;
    if (fill->places != NULL)
        fill->places[fill->ntensors] = view.place;
    struct batchmill_tensor *tensor = &fill->tensors[fill->ntensors++];
    size_t name_size = bm_wire_size(&view.name) + 1;
    bm_wire_text(&view.name, fill->names, name_size);
    *tensor = (struct batchmill_tensor){
        .name = fill->names,
        .dtype = (enum batchmill_dtype)view.dtype,
        .ndim = view.ndim,
        .ragged = view.ragged != 0,
        .data = view.place.given ? NULL : bytes_aligned(fill, &view.data),
        .size_bytes = view.place.given ? view.place.size_bytes : bm_wire_size(&view.data),
    };
    memcpy(tensor->shape, view.shape, sizeof tensor->shape);
    fill->names += name_size;
    if (tensor->ragged) {
        tensor->offsets = bytes_aligned(fill, &view.offsets);
        if (!offsets_good(tensor->offsets, fill->batch->nitems, tensor->shape[0]))
            return wire_unreadable(error, "%s.offsets: expected 0 to %llu, rising, got others",
                                   tensor->name, (unsigned long long)tensor->shape[0]);
    }
    return BATCHMILL_OK;
}

static enum batchmill_code batch_fill(struct batch_fill *fill, struct bm_wire wire,
                                      struct batchmill_error *error)
{
    struct bm_wire_field field;
    bool good = true;
    while (good && bm_wire_next(&wire, &field)) {
        switch (field.tag) {
        case BM_WIRE_TAG(4, BM_WIRE_BYTES):
            while (field.bytes.at < field.bytes.stop && good) {
                good = bm_wire_varint(&field.bytes, &fill->items[fill->nitems]);
                fill->nitems++;
            }
            break;
        case BM_WIRE_TAG(4, BM_WIRE_VARINT):
            fill->items[fill->nitems++] = field.value;
            break;
        case BM_WIRE_TAG(5, BM_WIRE_BYTES):
            good = error_fill(field.bytes, fill->batch->seq, fill->error);
            break;
        case BM_WIRE_TAG(6, BM_WIRE_BYTES):
            good = span_fill(field.bytes, &fill->spans[fill->nspans++]);
            break;
        case BM_WIRE_TAG(15, BM_WIRE_BYTES): {
            enum batchmill_code code = tensor_fill(fill, &field.bytes, error);
            if (code != BATCHMILL_OK)
                return code;
            break;
        }
        default:
            break;
        }
    }
    return good ? BATCHMILL_OK : wire_unreadable(error, "it holds a broken batch");
}

static enum batchmill_code batch_decode(struct bm_wire wire, uint64_t seq, bool same_host,
                                        struct bm_client_batch **ret_batch,
                                        struct batchmill_error *error)
{
    struct batch_view view = {0};
    enum batchmill_code code = batch_measure(wire, &view, error);
    if (code == BATCHMILL_OK)
        code = batch_check(&view, seq, error);
    if (code == BATCHMILL_OK && view.has_places && !same_host)
        code = wire_unreadable(error, "expected tensors, got where they are in its memory");
    if (code != BATCHMILL_OK)
        return code;
    struct batch_fill fill;
    if (!batch_alloc(&view, &fill))
        return wire_no_memory(error);
    code = batch_fill(&fill, wire, error);
    if (code != BATCHMILL_OK) {
        free(fill.batch);
        return code;
    }
    *ret_batch = fill.batch;
    return BATCHMILL_OK;
}

// ---- The reply ----

enum batchmill_code bm_client_decode_next(const void *bytes, size_t size,
                                          struct bm_client_batches *ret_batches,
                                          struct batchmill_error *error)
{
    struct bm_wire body, wire, stream = {0};
    enum batchmill_code code = wire_reply(bytes, size, REPLY_NEXT_BATCHES, &body, error);
    if (code != BATCHMILL_OK)
        return code;
    struct bm_client_batches batches = {.at = body.at, .stop = body.stop};
    struct bm_wire_field field;
    wire = body;
    while (bm_wire_next(&wire, &field)) {
        switch (field.tag) {
        case BM_WIRE_TAG(1, BM_WIRE_BYTES):
            stream = field.bytes;
            break;
        case BM_WIRE_TAG(2, BM_WIRE_VARINT):
            batches.first = field.value;
            break;
        case BM_WIRE_TAG(3, BM_WIRE_VARINT):
            batches.end = field.value != 0;
            break;
        case BM_WIRE_TAG(4, BM_WIRE_VARINT):
            batches.end_seq = field.value;
            break;
        case BM_WIRE_TAG(5, BM_WIRE_VARINT):
            batches.stopped = field.value != 0;
            break;
        case BM_WIRE_TAG(6, BM_WIRE_VARINT):
            batches.window = field.value;
            break;
        case BM_WIRE_TAG(15, BM_WIRE_BYTES):
            batches.nbatches++;
            break;
        default:
            break;
        }
    }
    if (wire.broken)
        return wire_unreadable(error, "it is no message batchmill.v1.NextBatchesReply");
    if (bm_wire_size(&stream) > BM_CLIENT_ID_MAX)
        return wire_unreadable(error, "stream: expected at most %d bytes, got %zu",
                               BM_CLIENT_ID_MAX, bm_wire_size(&stream));
    bm_wire_text(&stream, batches.stream, sizeof batches.stream);
    batches.seq = batches.first;
    *ret_batches = batches;
    return BATCHMILL_OK;
}

enum batchmill_code bm_client_next_of(struct bm_client_batches *batches,
                                      struct bm_client_batch **ret_batch,
                                      struct batchmill_error *error)
{
    struct bm_wire wire = {.at = batches->at, .stop = batches->stop};
    struct bm_wire_field field;
    while (bm_wire_next(&wire, &field)) {
        if (field.tag != BM_WIRE_TAG(15, BM_WIRE_BYTES))
            continue;
        enum batchmill_code code =
            batch_decode(field.bytes, batches->seq, batches->same_host, ret_batch, error);
        if (code == BATCHMILL_OK) {
            batches->at = wire.at;
            batches->seq += batches->seq != BATCHMILL_UNSET;
        }
        return code;
    }
    return wire_unreadable(error, "expected another batch, got the end of the reply");
}
