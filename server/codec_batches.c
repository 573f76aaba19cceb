// A reply of batches, written around the tensors in the order of the wire.
//
// protobuf-c packs the small fields; the nesting, the pads and the tensors are written here. Where
// tensor data lie depends on how long the length fields before them are, and these depend on the
// pads, so the layout is repeated until it agrees with itself. Pads and lengths only ever grow in
// it, and a length field has at most 10 sizes, so it ends.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/codec_batches.h"

#include "base/check.h"

enum {
    TAG_BATCHES = 15 << 3 | 2, // Response.next_batches, the replies' batches, Batch.tensors
    TAG_PAD_OFFSETS = 5 << 3 | 2,
    TAG_OFFSETS = 6 << 3 | 2,
    TAG_PAD_DATA = 7 << 3 | 2,
    TAG_DATA = 8 << 3 | 2,
};

struct tensor_layout {
    uint64_t head;                      // bytes of the small fields
    uint64_t offsets_bytes, data_bytes; // 0: no field
    uint64_t pad_offsets, pad_data;     // bytes of the whole pad field, 0: no field
    uint64_t length;                    // of the message
};
struct batch_layout {
    uint64_t head, length;
    struct tensor_layout *tensors; // of all batches in one array
    unsigned ntensors;
};
struct layout {
    const struct bm_parcel *parcel;
    struct batch_layout *outcomes;
    struct tensor_layout *tensors;
    Batchmill__V1__Span *spans; // room for those of one outcome
    Batchmill__V1__Span **span_pointers;
    uint64_t head, length; // of the NextBatchesReply
    uint64_t size;         // of the Response
};

static uint64_t varint_size(uint64_t value)
{
    uint64_t size = 1;
    for (; value >= 0x80; value >>= 7)
        size++;
    return size;
}

static unsigned char *varint_put(unsigned char *at, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *at++ = (unsigned char)(value | 0x80);
    *at++ = (unsigned char)value;
    return at;
}

// ---- The small fields, as protobuf-c's structs; it never writes through their pointers ----

void bm_batch_error_init(struct bm_batch_error *error, const struct bm_outcome *outcome,
                         const struct bm_pipeline *pipeline)
{
    const struct bm_work *work = &outcome->work;
    Batchmill__V1__BatchError *message = &error->message;
    batchmill__v1__batch_error__init(message);
    message->code = (Batchmill__V1__Code)work->error.status;
    message->pipeline = (char *)bm_pipeline_name(pipeline);
    message->action = (char *)"read";
    if (work->failed_action >= 0) {
        message->action_index = (uint32_t)work->failed_action;
        message->action = (char *)bm_pipeline_action(pipeline, message->action_index).type->name;
    }
    message->has_item = work->failed_item >= 0;
    message->item = message->has_item ? (uint64_t)work->failed_item : 0;
    snprintf(error->text, sizeof error->text, "%s%s%s", work->error.where,
             work->error.where[0] == '\0' ? "" : ": ", work->error.text);
    message->message = error->text;
}

static void reply_head(const struct bm_batches *batches, Batchmill__V1__NextBatchesReply *head)
{
    batchmill__v1__next_batches_reply__init(head);
    head->stream = (char *)batches->stream;
    head->first = batches->first;
    head->end = batches->end;
    head->end_seq = batches->end ? batches->end_seq : 0;
    head->stopped = batches->stopped;
    head->window = batches->window;
}

struct batch_view {                   // one of the parcel
    const struct bm_outcome *outcome; // NULL: of a task
    const struct bm_batch *batch;     // its tensors; NULL: it has none
    uint64_t seq, epoch, nitems;
    const uint64_t *items; // NULL: they are not known
};

static struct batch_view parcel_batch(const struct bm_parcel *parcel, unsigned i)
{
    if (parcel->given != NULL) {
        const struct bm_task_told *told = bm_task_told(parcel->given->task);
        return (struct batch_view){.batch = &told->batch,
                                   .seq = told->seq,
                                   .epoch = told->epoch,
                                   .nitems = told->nitems,
                                   .items = told->items};
    }
    const struct bm_outcome *outcome = parcel->batches->outcomes[i];
    return (struct batch_view){
        .outcome = outcome,
        .batch = outcome->kind == BM_OUTCOME_BATCH ? &outcome->work.batch : NULL,
        .seq = outcome->seq,
        .epoch = outcome->epoch,
        .nitems = outcome->nitems,
        .items = outcome->work.items,
    };
}

struct batch_head {
    Batchmill__V1__Batch message;
    struct bm_batch_error error;
};

static void spans_head(const struct layout *layout, const struct bm_outcome *outcome,
                       Batchmill__V1__Batch *message)
{
    for (unsigned i = 0; i < outcome->nspans; i++) {
        const struct bm_span *span = &outcome->spans[i];
        Batchmill__V1__Span *to = layout->span_pointers[i] = &layout->spans[i];
        batchmill__v1__span__init(to);
        to->queued_ns = span->queued_ns;
        to->parked_ns = span->parked_ns;
        to->started_ns = span->started_ns;
        to->ended_ns = span->ended_ns;
        to->worker = span->worker;
    }
    message->n_spans = outcome->nspans;
    message->spans = layout->span_pointers;
}

static void batch_head(const struct layout *layout, const struct batch_view *batch,
                       struct batch_head *head)
{
    Batchmill__V1__Batch *message = &head->message;
    batchmill__v1__batch__init(message);
    message->seq = batch->seq;
    message->epoch = batch->epoch;
    if (batch->items != NULL) {
        message->n_items = batch->nitems;
        message->items = (uint64_t *)batch->items;
    }
    if (batch->outcome == NULL)
        return;
    message->outcome = (Batchmill__V1__Outcome)batch->outcome->kind;
    if (batch->outcome->work.error.status != BM_OK) {
        bm_batch_error_init(&head->error, batch->outcome, layout->parcel->batches->pipeline);
        message->error = &head->error.message;
    }
    spans_head(layout, batch->outcome, message);
}

struct tensor_head {
    Batchmill__V1__Tensor message;
    Batchmill__V1__SharedData shared;
    uint64_t shape[BM_NDIM_MAX + 1];
};

static bool tensor_is_lent_out(const struct layout *layout, const struct bm_batch *batch,
                               unsigned c)
{
    return layout->parcel->by_reference && bm_batch_maps(batch, c);
}

static void tensor_head(const struct layout *layout, const struct bm_batch *batch, unsigned c,
                        struct tensor_head *head)
{
    const struct bm_component *component = &batch->schema->components[c];
    Batchmill__V1__Tensor *message = &head->message;
    batchmill__v1__tensor__init(message);
    message->name = (char *)component->name;
    message->dtype = (Batchmill__V1__Dtype)component->dtype;
    message->ragged = component->ragged;
    message->n_shape = bm_batch_shape(batch, c, head->shape);
    message->shape = head->shape;
    if (!tensor_is_lent_out(layout, batch, c))
        return;
    const struct bm_tensor *tensor = &batch->tensors[c];
    const unsigned char *begin = bm_block_data(tensor->block);
    struct bm_shared_place place = bm_shared_place(bm_block_shared(tensor->block));
    batchmill__v1__shared_data__init(&head->shared);
    head->shared.fd = (uint32_t)place.fd;
    head->shared.offset = BM_SHARED_HEAD_BYTES + (uint64_t)(tensor->data - begin);
    head->shared.size = tensor->size_bytes;
    head->shared.block = place.block;
    message->shared_data = &head->shared;
}

static unsigned outcome_ntensors(const struct bm_outcome *outcome)
{
    return outcome->kind == BM_OUTCOME_BATCH ? outcome->work.batch.schema->ncomponents : 0;
}

static unsigned view_ntensors(const struct batch_view *view)
{
    return view->batch == NULL ? 0 : view->batch->schema->ncomponents;
}

// ---- Layout ----

// A bytes field takes at least its tag, a length and one byte; and no length gives 130 in all.
static bool pad_possible(uint64_t pad)
{
    return pad == 0 || (pad >= 3 && pad != 130);
}

// Where the field of `size` bytes ends that begins behind `*pad` at `at`; grows the pad until the
// field's contents are aligned.
static uint64_t aligned_end(uint64_t at, uint64_t *pad, uint64_t size)
{
    if (size == 0)
        return at;
    uint64_t header = 1 + varint_size(size);
    *pad += (BM_WIRE_ALIGNMENT_REST - (at + *pad + header)) % BM_WIRE_ALIGNMENT;
    while (!pad_possible(*pad))
        *pad += BM_WIRE_ALIGNMENT;
    return at + *pad + header + size;
}

static bool length_set(uint64_t *length, uint64_t value) // false: its field grows
{
    bool same = varint_size(*length) == varint_size(value);
    *length = value;
    return same;
}

static bool layout_pass(struct layout *layout) // true: it agrees with itself
{
    bool stable = true;
    uint64_t reply_begin = 1 + varint_size(layout->length);
    uint64_t at = reply_begin + layout->head;
    for (unsigned i = 0; i < layout->parcel->n; i++) {
        struct batch_layout *batch = &layout->outcomes[i];
        uint64_t batch_begin = at + 1 + varint_size(batch->length);
        at = batch_begin + batch->head;
        for (unsigned c = 0; c < batch->ntensors; c++) {
            struct tensor_layout *tensor = &batch->tensors[c];
            uint64_t tensor_begin = at + 1 + varint_size(tensor->length);
            at = tensor_begin + tensor->head;
            at = aligned_end(at, &tensor->pad_offsets, tensor->offsets_bytes);
            at = aligned_end(at, &tensor->pad_data, tensor->data_bytes);
            stable &= length_set(&tensor->length, at - tensor_begin);
        }
        stable &= length_set(&batch->length, at - batch_begin);
    }
    stable &= length_set(&layout->length, at - reply_begin);
    layout->size = at;
    return stable;
}

// The sizes that do not depend on where things lie, and lengths to start from.
static void layout_measure(struct layout *layout)
{
    layout->head = protobuf_c_message_get_packed_size(layout->parcel->head);
    layout->length = layout->head;
    struct tensor_layout *tensor = layout->tensors;
    for (unsigned i = 0; i < layout->parcel->n; i++) {
        struct batch_view view = parcel_batch(layout->parcel, i);
        struct batch_layout *batch = &layout->outcomes[i];
        struct batch_head head;
        batch_head(layout, &view, &head);
        batch->head = batchmill__v1__batch__get_packed_size(&head.message);
        batch->length = batch->head;
        batch->ntensors = view_ntensors(&view);
        batch->tensors = tensor;
        for (unsigned c = 0; c < batch->ntensors; c++, tensor++) {
            const struct bm_tensor *from = &view.batch->tensors[c];
            struct tensor_head small;
            tensor_head(layout, view.batch, c, &small);
            tensor->head = batchmill__v1__tensor__get_packed_size(&small.message);
            tensor->data_bytes = small.message.shared_data == NULL ? from->size_bytes : 0;
            if (small.message.ragged)
                tensor->offsets_bytes = (view.batch->nitems + 1) * sizeof(uint64_t);
            tensor->length = tensor->head + tensor->offsets_bytes + tensor->data_bytes;
            batch->length += tensor->length;
        }
        layout->length += batch->length;
    }
    while (!layout_pass(layout))
        ;
}

static void layout_fini(struct layout *layout)
{
    free(layout->outcomes);
    free(layout->tensors);
    free(layout->spans);
    free(layout->span_pointers);
}

static bool layout_init(struct layout *layout, const struct bm_parcel *parcel) // false: no memory
{
    size_t ntensors = 0, nspans = 0;
    for (unsigned i = 0; i < parcel->n; i++) {
        struct batch_view view = parcel_batch(parcel, i);
        ntensors += view_ntensors(&view);
        if (view.outcome != NULL && view.outcome->nspans > nspans)
            nspans = view.outcome->nspans;
    }
    *layout = (struct layout){
        .parcel = parcel,
        .outcomes = calloc(parcel->n + 1, sizeof *layout->outcomes),
        .tensors = calloc(ntensors + 1, sizeof *layout->tensors),
        .spans = calloc(nspans + 1, sizeof *layout->spans),
        .span_pointers = calloc(nspans + 1, sizeof(Batchmill__V1__Span *)),
    };
    if (layout->outcomes == NULL || layout->tensors == NULL || layout->spans == NULL ||
        layout->span_pointers == NULL) {
        layout_fini(layout);
        return false;
    }
    layout_measure(layout);
    return true;
}

// ---- Writing ----

static unsigned char *pad_put(unsigned char *at, unsigned char tag, uint64_t pad)
{
    if (pad == 0)
        return at;
    uint64_t size = pad - 2; // 127 at most with a length of one byte
    if (size > 127)
        size = pad - 3;
    BM_ASSERT(size < 1 << 14); // a pad never needs a length of three bytes
    *at++ = tag;
    at = varint_put(at, size);
    memset(at, 0, size);
    return at + size;
}

// Where the bytes go: one after the other, but for those that are lent.
struct writer {
    unsigned char *at;
    unsigned char *begin; // of the piece that grows
    struct iovec *pieces; // NULL: nothing is lent
    unsigned npieces;
};

static bool is_lent(uint64_t size)
{
    return size >= BM_LENT_BYTES_MIN;
}

static void piece_end(struct writer *writer)
{
    if (writer->at > writer->begin)
        writer->pieces[writer->npieces++] =
            (struct iovec){writer->begin, (size_t)(writer->at - writer->begin)};
    writer->begin = writer->at;
}

static void bytes_put(struct writer *writer, unsigned char tag, const void *data, uint64_t size)
{
    if (size == 0)
        return;
    *writer->at++ = tag;
    writer->at = varint_put(writer->at, size);
    if (writer->pieces != NULL && is_lent(size)) {
        piece_end(writer);
        writer->pieces[writer->npieces++] = (struct iovec){(void *)data, size};
        return;
    }
    memcpy(writer->at, data, size);
    writer->at += size;
}

static void tensor_put(struct writer *writer, const struct layout *layout,
                       const struct bm_batch *batch, unsigned c, const struct tensor_layout *sizes)
{
    BM_ASSERT(batch != NULL); // one without tensors never comes here
    const struct bm_tensor *tensor = &batch->tensors[c];
    struct tensor_head head;
    tensor_head(layout, batch, c, &head);
    *writer->at++ = TAG_BATCHES;
    writer->at = varint_put(writer->at, sizes->length);
    writer->at += batchmill__v1__tensor__pack(&head.message, writer->at);
    writer->at = pad_put(writer->at, TAG_PAD_OFFSETS, sizes->pad_offsets);
    bytes_put(writer, TAG_OFFSETS, tensor->offsets, sizes->offsets_bytes);
    writer->at = pad_put(writer->at, TAG_PAD_DATA, sizes->pad_data);
    bytes_put(writer, TAG_DATA, tensor->data, sizes->data_bytes);
}

static void layout_put(const struct layout *layout, struct writer *writer)
{
    *writer->at++ = (unsigned char)(layout->parcel->field << 3 | 2);
    writer->at = varint_put(writer->at, layout->length);
    writer->at += protobuf_c_message_pack(layout->parcel->head, writer->at);
    for (unsigned i = 0; i < layout->parcel->n; i++) {
        struct batch_view view = parcel_batch(layout->parcel, i);
        const struct batch_layout *batch = &layout->outcomes[i];
        struct batch_head head;
        batch_head(layout, &view, &head);
        *writer->at++ = TAG_BATCHES;
        writer->at = varint_put(writer->at, batch->length);
        writer->at += batchmill__v1__batch__pack(&head.message, writer->at);
        for (unsigned c = 0; c < batch->ntensors; c++)
            tensor_put(writer, layout, view.batch, c, &batch->tensors[c]);
    }
}

static bool layout_checked(const struct layout *layout)
{
    return layout->parcel->checked || layout->size <= BM_CHECKED_BYTES_MAX;
}

static bool layout_make(struct layout *layout, const struct bm_parcel *parcel, struct bm_error *err)
{
    if (!layout_init(layout, parcel)) {
        bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a reply");
        return false;
    }
    if (layout->size <= BM_REPLY_BYTES_MAX - BM_CHECK_SIZE)
        return true;
    bm_fail(err, BM_RESOURCE_EXHAUSTED, "batch_size",
            "expected batches that fit a message of %d bytes, got one of %llu", BM_REPLY_BYTES_MAX,
            (unsigned long long)layout->size);
    layout_fini(layout);
    return false;
}

enum bm_status bm_parcel_encode(const struct bm_parcel *parcel,
                                void *(*alloc)(void *context, size_t size), void *context,
                                struct bm_error *err)
{
    struct layout layout;
    enum bm_status status = BM_OK;
    if (!layout_make(&layout, parcel, err))
        return BM_RESOURCE_EXHAUSTED;
    bool checked = layout_checked(&layout);
    unsigned char *bytes = alloc(context, layout.size + (checked ? BM_CHECK_SIZE : 0));
    if (bytes != NULL) {
        struct writer writer = {.at = bytes};
        layout_put(&layout, &writer);
        BM_ASSERT(writer.at == bytes + layout.size);
        if (checked)
            bm_check_put(bytes, layout.size);
    } else {
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a reply");
    }
    layout_fini(&layout);
    return status;
}

static uint64_t layout_lent(const struct layout *layout, unsigned *ret_n)
{
    uint64_t lent = 0;
    *ret_n = 0;
    for (unsigned i = 0; i < layout->parcel->n; i++) {
        const struct batch_layout *batch = &layout->outcomes[i];
        for (unsigned c = 0; c < batch->ntensors; c++) {
            const uint64_t sizes[] = {batch->tensors[c].offsets_bytes,
                                      batch->tensors[c].data_bytes};
            for (unsigned k = 0; k < 2; k++) {
                *ret_n += is_lent(sizes[k]);
                lent += is_lent(sizes[k]) ? sizes[k] : 0;
            }
        }
    }
    return lent;
}

enum bm_status bm_parcel_gather(const struct bm_parcel *parcel, size_t spare,
                                struct bm_reply_pieces *ret_pieces, struct bm_error *err)
{
    struct layout layout;
    enum bm_status status = BM_OK;
    if (!layout_make(&layout, parcel, err))
        return BM_RESOURCE_EXHAUSTED;
    unsigned nlent = 0;
    bool checked = layout_checked(&layout); // then it lies in one piece
    uint64_t lent = checked ? 0 : layout_lent(&layout, &nlent);
    uint64_t size = layout.size + (checked ? BM_CHECK_SIZE : 0);
    // The pieces first, as they are aligned.
    size_t table = (2u * nlent + 1) * sizeof(struct iovec);
    unsigned char *heads = malloc(table + spare + (size - lent));
    if (heads != NULL) {
        struct iovec *pieces = (struct iovec *)heads;
        struct writer writer = {.pieces = checked ? NULL : pieces};
        writer.at = writer.begin = heads + table + spare;
        layout_put(&layout, &writer);
        if (checked) {
            bm_check_put(writer.begin, layout.size);
            writer.pieces = pieces;
            writer.at += BM_CHECK_SIZE;
        }
        piece_end(&writer);
        *ret_pieces = (struct bm_reply_pieces){pieces, writer.npieces, size, heads};
    } else {
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a reply");
    }
    layout_fini(&layout);
    return status;
}

// ---- Batches of a stream ----

static struct bm_parcel batches_parcel(const struct bm_batches *batches,
                                       Batchmill__V1__NextBatchesReply *head)
{
    reply_head(batches, head);
    return (struct bm_parcel){.batches = batches,
                              .head = &head->base,
                              .field = TAG_BATCHES >> 3,
                              .n = batches->noutcomes,
                              .by_reference = batches->by_reference,
                              .checked = batches->checked};
}

enum bm_status bm_batches_encode(const struct bm_batches *batches,
                                 void *(*alloc)(void *context, size_t size), void *context,
                                 struct bm_error *err)
{
    Batchmill__V1__NextBatchesReply head;
    const struct bm_parcel parcel = batches_parcel(batches, &head);
    return bm_parcel_encode(&parcel, alloc, context, err);
}

enum bm_status bm_batches_gather(const struct bm_batches *batches, size_t spare,
                                 struct bm_reply_pieces *ret_pieces, struct bm_error *err)
{
    Batchmill__V1__NextBatchesReply head;
    const struct bm_parcel parcel = batches_parcel(batches, &head);
    return bm_parcel_gather(&parcel, spare, ret_pieces, err);
}

uint64_t bm_outcome_wire_bytes(const struct bm_outcome *outcome, bool by_reference)
{
    enum { BATCH_HEAD = 32, SPAN = 48, TENSOR_HEAD = 64, ERROR_TEXTS = 640 };
    const struct bm_batch *batch = &outcome->work.batch;
    uint64_t bytes = BATCH_HEAD + outcome->nspans * (uint64_t)SPAN;
    if (outcome->work.items != NULL)
        bytes += outcome->nitems * 4; // an index of a million items takes 3 bytes
    if (outcome->work.error.status != BM_OK)
        bytes += ERROR_TEXTS;
    if (outcome->kind == BM_OUTCOME_BATCH) // two pads are 64 bytes on average
        bytes += outcome->bytes + outcome_ntensors(outcome) * (uint64_t)(TENSOR_HEAD + 64);
    for (unsigned c = 0; by_reference && c < outcome_ntensors(outcome); c++)
        bytes -= bm_batch_maps(batch, c) ? batch->tensors[c].size_bytes : 0;
    return bytes;
}
