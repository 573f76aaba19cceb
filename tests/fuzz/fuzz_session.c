// A server's session over a sequence of requests, as bytes, and of other events. What must hold:
// every request is answered once; the C client can read every answer; batches hold the items that
// the order says, within the window, and have the same bytes whenever they come; and when
// the session is closed, all memory is back.
//
// An input is a head (workers, seed, budget), then operations: one byte says which, some more say
// the details. Requests are raw bytes, or made from a few bytes by the client's encoder. The
// session's random ids are out of a mutator's reach, so the stream "s3" means the fourth that was
// opened, and the position "p3.12" means batch 12 of it.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/random.h"
#include "client/c/codec.h"
#include "fakes/fake_executor.h"
#include "fuzz/fuzz.h"
#include "server/codec.h"
#include "server/config.h"
#include "server/position.h"
#include "server/session.h"

enum {
    CALLS_MAX = 96,
    OPENED_MAX = 8,    // that requests can name
    SEQS_MAX = 256,    // that digests are kept of
    SEQ_TEXT_MAX = 24, // behind a position's stem
    STEPS_MAX = 63,    // of the executor, between two operations
    END_STEPS = 4096,  // when all is closed, nothing may take longer
    // Larger ones, up to what the server refuses, cost time and show nothing new.
    BATCH_SIZE_MAX = 64,
    PREFETCH_MAX = 31,
};

static const char config_text[] =
    "sources:\n"
    "  numbers: {range: {n: 50}}\n"
    "  reals: {range: {n: 50, dtype: float64}}\n"
    "  none: {range: {n: 0}}\n"
    "pipelines:\n"
    "  train:\n"
    "    source: numbers\n"
    "    actions: [accumulate: {component: x}, {noop: {}, use_lock: gpu}, wait: {ms: 5}]\n"
    "  noisy:\n"
    "    source: reals\n"
    "    actions: [{add_noise: {components: x, std: 1}, use_lock: gpu}, wait: {ms: 1}]\n"
    "  faulty:\n"
    "    source: numbers\n"
    "    actions: [fail_at: {items: [7, 21]}, skip_at: {items: [4, 30]}, end_at: {items: 45}]\n"
    "  empty: {source: none}\n";

struct opened { // a stream, a member of a cursor, or a run
    char id[BM_STREAM_ID_MAX + 1];
    char stem[BM_POSITION_MAX + 1]; // "": not a stream of its own
    struct bm_order order;          // of a stream of its own
    uint32_t prefetch;
    bool numbers;               // x is the index of its item
    uint64_t asked, seen;       // the highest acknowledgement; one more than the last seq that came
    uint64_t digests[SEQS_MAX]; // 0: not come yet
};

struct call {
    struct bm_exchange exchange;
    struct opened *opened;                         // what it names, or NULL
    char text[BM_POSITION_MAX + SEQ_TEXT_MAX + 1]; // the position it names
    unsigned nanswers;
    enum bm_status code;
};

struct host {
    struct bm_session_host base;
    struct fake_executor executor;
    struct bm_scheduler *scheduler;
    struct bm_session *session;
    uint64_t random;
    unsigned ncalls, nopened;
    struct call calls[CALLS_MAX];
    struct opened opened[OPENED_MAX];
};

static struct host host;
static const struct bm_same_host same_host = {.probe = {.pid = 1, .fd = 3}};

static struct bm_catalog *catalog_once(void)
{
    static struct bm_config config;
    if (config.catalog == NULL) {
        struct fuzz_file file;
        struct bm_error error;
        fuzz_file_open(&file, config_text, sizeof config_text - 1);
        BM_ASSERT(bm_config_load(file.path, fuzz_registry(), &config, &error) == BM_OK);
        fuzz_file_close(&file);
    }
    return config.catalog;
}

// ---- Answers ----

static void *bytes_alloc(void *context, size_t size)
{
    return bm_buffer_extend(context, size);
}

static uint64_t batch_digest(const struct bm_client_batch *batch)
{
    uint64_t digest = bm_hash_bytes(batch->items, batch->nitems * sizeof batch->items[0]);
    for (size_t i = 0; i < batch->ntensors; i++)
        digest =
            bm_mix64(digest ^ bm_hash_bytes(batch->tensors[i].data, batch->tensors[i].size_bytes));
    return digest | 1; // not 0
}

// The same batch of another stream with the same order parameters has the same bytes.
static void digest_check(struct opened *opened, uint64_t seq, uint64_t digest)
{
    if (seq >= SEQS_MAX)
        return;
    opened->digests[seq] = opened->digests[seq] == 0 ? digest : opened->digests[seq];
    for (unsigned i = 0; i < OPENED_MAX; i++) {
        const struct opened *other = &host.opened[i];
        BM_ASSERT(other->digests[seq] == 0 || other->digests[seq] == digest ||
                  strcmp(other->stem, opened->stem) != 0);
    }
}

static void batch_check(struct opened *opened, const struct bm_client_batch *batch)
{
    uint64_t items[BATCH_SIZE_MAX];
    BM_ASSERT(batch->seq < opened->asked + opened->prefetch + 1); // the window
    opened->seen = batch->seq >= opened->seen ? batch->seq + 1 : opened->seen;
    if (batch->outcome != BM_CLIENT_BATCH)
        return;
    uint64_t nitems = bm_order_size(&opened->order, batch->seq);
    BM_ASSERT(nitems <= BATCH_SIZE_MAX && batch->nitems == nitems);
    bm_order_items(&opened->order, batch->seq, items, NULL);
    BM_ASSERT(memcmp(items, batch->items, nitems * sizeof items[0]) == 0);
    BM_ASSERT(batch->ntensors == 1 && batch->tensors[0].size_bytes == nitems * sizeof items[0]);
    if (opened->numbers)
        BM_ASSERT(memcmp(items, batch->tensors[0].data, nitems * sizeof items[0]) == 0);
    digest_check(opened, batch->seq, batch_digest(batch));
}

static void batches_check(const struct call *call, const struct bm_buffer *bytes)
{
    const struct bm_next_request *next = &call->exchange.request.next;
    struct opened *opened = call->opened;
    struct bm_client_batches batches;
    BM_ASSERT(bm_client_decode_next(bytes->data, bytes->size, &batches, NULL) == BATCHMILL_OK);
    BM_ASSERT(batches.first == next->first && batches.nbatches <= next->max_batches);
    BM_ASSERT(opened != NULL && strcmp(batches.stream, opened->id) == 0);
    bool member = opened->stem[0] == '\0';
    BM_ASSERT(batches.nbatches <= (member ? 1 : opened->prefetch + 1));
    if (member)
        batches.seq = BATCHMILL_UNSET;
    for (size_t i = 0; i < batches.nbatches; i++) {
        struct bm_client_batch *batch;
        BM_ASSERT(bm_client_next_of(&batches, &batch, NULL) == BATCHMILL_OK);
        if (member)
            opened->seen = batches.first + 1;
        else
            batch_check(opened, batch);
        free(batch);
    }
}

static void opened_check(const struct call *call, const struct bm_buffer *bytes)
{
    struct bm_client_opened *reply;
    BM_ASSERT(bm_client_decode_open(bytes->data, bytes->size, &reply, NULL) == BATCHMILL_OK);
    for (unsigned i = 0; i < OPENED_MAX; i++) {
        if (strcmp(host.opened[i].id, reply->stream) == 0) { // opened again with its nonce
            BM_ASSERT(strcmp(host.opened[i].stem, reply->position_stem) == 0);
            free(reply);
            return;
        }
    }
    if (host.nopened == OPENED_MAX) {
        free(reply);
        return;
    }
    struct opened *opened = &host.opened[host.nopened++];
    BM_ASSERT(reply->prefetch <= PREFETCH_MAX);
    opened->prefetch = reply->prefetch;
    strcpy(opened->id, reply->stream);
    BM_ASSERT(strlen(reply->position_stem) <= BM_POSITION_MAX);
    strcpy(opened->stem, reply->position_stem);
    if (opened->stem[0] != '\0') {
        char text[BM_POSITION_MAX + SEQ_TEXT_MAX + 1];
        struct bm_position position;
        snprintf(text, sizeof text, "%s.%" PRIu64, opened->stem, reply->first_seq);
        BM_ASSERT(bm_position_parse(text, &position, NULL) == BM_OK);
        BM_ASSERT(bm_order_init(&opened->order, &position.order, reply->items, NULL) == BM_OK);
        opened->numbers = strcmp(position.pipeline, "noisy") != 0;
        opened->asked = opened->seen = position.seq;
    }
    BM_ASSERT(call->exchange.request.open.cursor[0] == '\0' || opened->stem[0] == '\0');
    free(reply);
}

static void run_opened(const struct bm_buffer *bytes)
{
    struct bm_client_run run;
    BM_ASSERT(bm_client_decode_run(bytes->data, bytes->size, &run, NULL) == BATCHMILL_OK);
    for (unsigned i = 0; i < OPENED_MAX; i++) {
        if (strcmp(host.opened[i].id, run.run) == 0)
            return;
    }
    if (host.nopened < OPENED_MAX)
        strcpy(host.opened[host.nopened++].id, run.run);
}

static void small_check(enum bm_call_kind kind, const struct bm_buffer *bytes)
{
    enum batchmill_code code = BATCHMILL_OK;
    struct batchmill_error error;
    struct bm_client_run_report report = {0};
    struct batchmill_list *list = NULL;
    struct batchmill_description *description = NULL;
    struct batchmill_status status;
    if (kind == BM_CALL_GET_RUN)
        code = bm_client_decode_get_run(bytes->data, bytes->size, &report, &error);
    else if (kind == BM_CALL_LIST_PIPELINES)
        code = bm_client_decode_list(bytes->data, bytes->size, &list, &error);
    else if (kind == BM_CALL_DESCRIBE_PIPELINE)
        code = bm_client_decode_describe(bytes->data, bytes->size, &description, &error);
    else if (kind == BM_CALL_GET_STATUS)
        code = bm_client_decode_status(bytes->data, bytes->size, &status, &error);
    else
        code = bm_client_decode_done(bytes->data, bytes->size, &error);
    BM_ASSERT(code == BATCHMILL_OK);
    free(report.result);
    free(list);
    free(description);
}

static void answer_check(const struct call *call, const struct bm_buffer *bytes)
{
    const struct bm_reply *reply = &call->exchange.reply;
    struct batchmill_error error;
    if (reply->code != BM_OK) {
        enum batchmill_code code = bm_client_decode_done(bytes->data, bytes->size, &error);
        BM_ASSERT((int)code == (int)reply->code && error.text[0] != '\0');
    } else if (reply->kind == BM_CALL_NEXT_BATCHES) {
        batches_check(call, bytes);
    } else if (reply->kind == BM_CALL_OPEN_STREAM) {
        opened_check(call, bytes);
    } else if (reply->kind == BM_CALL_RUN) {
        run_opened(bytes);
    } else {
        small_check(reply->kind, bytes);
    }
}

static void host_reply(struct bm_session_host *self, struct bm_exchange *exchange)
{
    (void)self;
    struct call *call = BM_CONTAINER(exchange, struct call, exchange);
    struct bm_buffer bytes;
    struct bm_error error;
    BM_ASSERT(call->nanswers++ == 0);
    BM_ASSERT(exchange->reply.kind == exchange->request.kind);
    bm_buffer_init(&bytes);
    BM_ASSERT(bm_reply_encode(&exchange->reply, bytes_alloc, &bytes, &error) == BM_OK);
    answer_check(call, &bytes);
    call->code = exchange->reply.code;
    bm_buffer_fini(&bytes);
    bm_exchange_fini(exchange);
}

// ---- Requests ----

// "s3" is the id of the fourth that was opened.
static const char *id_of(const char *name, struct call *call)
{
    if (name[0] != 's' || name[1] < '0' || name[1] > '7' || name[2] != '\0')
        return name;
    struct opened *opened = &host.opened[name[1] - '0'];
    if (opened->id[0] == '\0')
        return name;
    call->opened = opened;
    return opened->id;
}

// "p3.12" is batch 12 of the fourth that was opened.
static const char *position_of(const char *position, struct call *call)
{
    if (position[0] != 'p' || position[1] < '0' || position[1] > '7' || position[2] != '.')
        return position;
    const struct opened *opened = &host.opened[position[1] - '0'];
    if (opened->stem[0] == '\0')
        return position;
    strncat(stpcpy(call->text, opened->stem), position + 2, SEQ_TEXT_MAX);
    return call->text;
}

static void open_bound(struct bm_open_request *open)
{
    if (open->order.batch_size > BATCH_SIZE_MAX && open->order.batch_size <= BM_BATCH_SIZE_MAX)
        open->order.batch_size %= BATCH_SIZE_MAX;
    if (open->prefetch > PREFETCH_MAX && open->prefetch <= BM_PREFETCH_MAX)
        open->prefetch %= PREFETCH_MAX;
}

static void request_point(struct bm_request *request, struct call *call)
{
    switch (request->kind) {
    case BM_CALL_OPEN_STREAM:
    case BM_CALL_RUN:
        open_bound(&request->open);
        request->open.position = position_of(request->open.position, call);
        break;
    case BM_CALL_NEXT_BATCHES:
        request->next.stream = id_of(request->next.stream, call);
        break;
    case BM_CALL_TAKE_TASK:
        request->task.lender = id_of(request->task.lender, call);
        break;
    case BM_CALL_CLOSE_STREAM:
    case BM_CALL_GET_RUN:
    case BM_CALL_CANCEL_RUN:
    case BM_CALL_END_LENDING:
        request->named.name = id_of(request->named.name, call);
        break;
    case BM_CALL_NONE:
    case BM_CALL_LIST_PIPELINES:
    case BM_CALL_DESCRIBE_PIPELINE:
    case BM_CALL_REGISTER_PIPELINE:
    case BM_CALL_UNREGISTER_PIPELINE:
    case BM_CALL_LEND_ACTIONS:
    case BM_CALL_GET_STATUS:
        break;
    }
}

static void request_send(const void *bytes, size_t size)
{
    struct bm_executor *executor = &host.executor.base;
    struct bm_error error;
    if (host.ncalls == CALLS_MAX)
        return;
    struct call *call = &host.calls[host.ncalls++];
    call->exchange.same_host = true;
    bool decoded = bm_request_decode(bytes, size, &call->exchange.request, &error) == BM_OK;
    if (decoded)
        request_point(&call->exchange.request, call);
    bool next = call->exchange.request.kind == BM_CALL_NEXT_BATCHES && call->opened != NULL;
    uint64_t asked = next ? call->opened->asked : 0;
    if (next && call->exchange.request.next.ack > asked)
        call->opened->asked = call->exchange.request.next.ack;
    executor->enter(executor);
    if (decoded)
        bm_session_request(host.session, &call->exchange);
    else
        bm_session_refuse(host.session, &call->exchange, &error);
    executor->leave(executor);
    // A senseless acknowledgement is none. A sound one counts, also when the batches that were
    // asked for with it are refused.
    if (next && call->nanswers == 1 && call->code == BM_INVALID_ARGUMENT)
        call->opened->asked = asked;
}

// ---- Operations ----

static struct opened *opened_take(struct fuzz_bytes *input, char ret_id[3])
{
    unsigned i = (unsigned)fuzz_take(input, 1) % OPENED_MAX;
    snprintf(ret_id, 3, "s%u", i);
    return &host.opened[i];
}

static void order_take(struct fuzz_bytes *input, struct batchmill_order *ret_order)
{
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    unsigned flags = (unsigned)fuzz_take(input, 1), length = (unsigned)fuzz_take(input, 1);
    order.batch_size = 1 + fuzz_take(input, 1) % BATCH_SIZE_MAX;
    order.prefetch = (uint32_t)(fuzz_take(input, 1) % (PREFETCH_MAX + 1));
    order.shuffle = (flags & 3) == 3 ? BATCHMILL_SHUFFLE_OFF : (enum batchmill_shuffle)(flags & 3);
    order.seed = order.shuffle == BATCHMILL_SHUFFLE_DRAWN ? 0 : length;
    order.drop_last = (flags & 4) != 0;
    order.epoch_border = (flags & 8) != 0 ? BATCHMILL_BORDER_CROSS : BATCHMILL_BORDER_STOP;
    order.on_error = (enum batchmill_on_error)(flags >> 4 & 3) % 3;
    if ((length & 3) == 1)
        order.n_epochs = length >> 2; // 0: endless
    else if ((length & 3) == 2)
        order.n_iters = length >> 2;
    if ((flags & 64) != 0) {
        order.shard_count = 3;
        order.shard_index = length % 4; // the last is one too many
    }
    order.traced = (flags & 128) != 0;
    *ret_order = order;
}

static void open_take(struct fuzz_bytes *input, bool run, struct bm_buffer *bytes)
{
    static const char *const pipelines[] = {"train", "noisy", "faulty", "empty", "missing"};
    static const char *const cursors[] = {NULL, NULL, "a", "b"};
    unsigned which = (unsigned)fuzz_take(input, 1), from = (unsigned)fuzz_take(input, 1);
    char position[24];
    struct batchmill_order order;
    order_take(input, &order);
    struct bm_client_open open = {.pipeline = pipelines[which % 5],
                                  .cursor = cursors[which / 5 % 4],
                                  .order = &order,
                                  .nonce = from >> 6,
                                  .same_host = (from & 16) != 0};
    if ((from & 32) != 0 && !run) {
        snprintf(position, sizeof position, "p%u.%u", from & 7, (unsigned)fuzz_take(input, 1));
        order.position = position;
    }
    order.traced = order.traced && !run;
    if (run)
        bm_client_encode_run(open.pipeline, &order, open.nonce, bytes, NULL);
    else
        bm_client_encode_open(&open, bytes, NULL);
}

static void next_take(struct fuzz_bytes *input, struct bm_buffer *bytes)
{
    static const uint32_t waits_ms[] = {0, 1, 1000, 30000, 30001};
    char id[3];
    const struct opened *opened = opened_take(input, id);
    unsigned how = (unsigned)fuzz_take(input, 1), ahead = (unsigned)fuzz_take(input, 1);
    const uint64_t held[] = {0, opened->asked / 2 + 1, opened->asked + 2};
    const uint64_t acks[] = {opened->seen, opened->asked, opened->seen + 1, UINT64_MAX};
    struct bm_client_next next = {
        .stream = id,
        .first = (ahead & 128) != 0 ? opened->asked : opened->seen + ahead % 8,
        .max_batches = how % 5,
        .wait_ms = waits_ms[how / 5 % 5],
        .ack = acks[how / 25 % 4],
        .max_bytes = (ahead & 64) != 0 ? ahead : 0,
        .same_host = (ahead & 32) != 0,
        .nheld = how % 4,
        .held = held,
    };
    bm_client_encode_next(&next, bytes, NULL);
}

static void named_take(struct fuzz_bytes *input, struct bm_buffer *bytes)
{
    char id[3];
    unsigned what = (unsigned)fuzz_take(input, 1);
    const struct opened *opened = opened_take(input, id);
    switch (what % 6) {
    case 0:
        bm_client_encode_close(id, opened->seen, what >= 128, bytes, NULL);
        break;
    case 1:
        bm_client_encode_get_run(id, what * 100, bytes, NULL);
        break;
    case 2:
        bm_client_encode_cancel_run(id, bytes, NULL);
        break;
    case 3:
        bm_client_encode_list(bytes, NULL);
        break;
    case 4:
        bm_client_encode_describe("faulty", bytes, NULL);
        break;
    default:
        bm_client_encode_status(bytes, NULL);
    }
}

static void time_pass(struct fuzz_bytes *input)
{
    unsigned nsteps = (unsigned)fuzz_take(input, 1);
    if (nsteps > STEPS_MAX) // the clock jumps; what was due meanwhile is late
        host.executor.now_ns += (uint64_t)nsteps * 250000000;
    for (unsigned i = 0; i < nsteps % (STEPS_MAX + 1); i++)
        (void)fake_executor_step(&host.executor);
}

static void call_abandon(struct fuzz_bytes *input)
{
    struct bm_executor *executor = &host.executor.base;
    unsigned which = (unsigned)fuzz_take(input, 1);
    struct call *call = &host.calls[which % CALLS_MAX];
    executor->enter(executor);
    if (which < host.ncalls && call->nanswers == 0)
        bm_session_abandon(host.session, &call->exchange);
    else if (which == UINT8_MAX)
        bm_session_drain(host.session);
    executor->leave(executor);
}

static void operation(struct fuzz_bytes *input)
{
    struct bm_buffer bytes;
    unsigned which = (unsigned)fuzz_take(input, 1) % 8;
    if (which >= 6) {
        if (which == 6)
            time_pass(input);
        else
            call_abandon(input);
        return;
    }
    bm_buffer_init(&bytes);
    if (which == 0) {
        size_t size = fuzz_take(input, 2), left = (size_t)(input->end - input->at);
        size = size < left ? size : left;
        bm_buffer_add(&bytes, input->at, size);
        input->at += size;
    } else if (which <= 2) {
        open_take(input, which == 2, &bytes);
    } else if (which <= 4) {
        next_take(input, &bytes);
    } else {
        named_take(input, &bytes);
    }
    request_send(bytes.data, bytes.size);
    bm_buffer_fini(&bytes);
}

// ---- The session ----

static uint64_t host_random(struct bm_session_host *self)
{
    (void)self;
    return bm_mix64(++host.random);
}

static void host_flush(void *context)
{
    bm_session_flush(context);
}

static void host_init(struct fuzz_bytes *input)
{
    static const uint64_t budgets[] = {0, 1, 2000, 100000};
    memset(&host, 0, sizeof host);
    host.base = (struct bm_session_host){.reply = host_reply, .random = host_random};
    unsigned how = (unsigned)fuzz_take(input, 1);
    fake_executor_init(&host.executor, 1 + how % 4, fuzz_take(input, 1));
    const struct bm_scheduler_config scheduler = {.executor = &host.executor.base,
                                                  .memory_bytes = budgets[how / 4 % 4]};
    BM_ASSERT(bm_scheduler_new(&scheduler, &host.scheduler, NULL) == BM_OK);
    host.executor.scheduler = host.scheduler;
    const struct bm_session_config config = {
        .scheduler = host.scheduler,
        .executor = &host.executor.base,
        .catalog = catalog_once(),
        .host = &host.base,
        .same_host = &same_host,
        .workers = 1 + how % 4,
    };
    BM_ASSERT(bm_session_new(&config, &host.session, NULL) == BM_OK);
    host.executor.flush = host_flush;
    host.executor.flush_context = host.session;
}

static void host_fini(void)
{
    struct bm_executor *executor = &host.executor.base;
    unsigned nsteps = 0;
    executor->enter(executor);
    bm_session_close(host.session);
    BM_ASSERT(bm_session_idle(host.session));
    executor->leave(executor);
    while (fake_executor_step(&host.executor))
        BM_ASSERT(++nsteps < END_STEPS);
    for (unsigned i = 0; i < host.ncalls; i++)
        BM_ASSERT(host.calls[i].nanswers == 1);
    BM_ASSERT(bm_scheduler_idle(host.scheduler));
    BM_ASSERT(bm_scheduler_status(host.scheduler).memory_used_bytes == 0);
    bm_session_free(host.session);
    bm_scheduler_free(host.scheduler);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_bytes input = {data, data + size};
    host_init(&input);
    while (input.at < input.end && host.ncalls < CALLS_MAX)
        operation(&input);
    host_fini();
    return 0;
}
