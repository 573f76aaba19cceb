// A run: a stream that the server drains; the client asks how far it is.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/c/internal.h"

enum { PROGRESS_MS = 200 };

// `encoded` is what encoding `request` gave.
static enum batchmill_code run_ask(struct batchmill_client *client, enum batchmill_code encoded,
                                   struct bm_buffer *request, uint32_t wait_ms,
                                   struct bm_client_message **ret_reply,
                                   struct batchmill_error *error)
{
    if (encoded != BATCHMILL_OK)
        return encoded;
    return bm_client_exchange(client, request, wait_ms, client->timeout_ms, ret_reply, error);
}

static enum batchmill_code run_start(struct batchmill_client *client, const char *pipeline,
                                     const struct batchmill_order *order, struct bm_buffer *request,
                                     struct bm_client_run *ret_run, struct batchmill_error *error)
{
    struct bm_client_message *reply = NULL;
    enum batchmill_code code =
        run_ask(client, bm_client_encode_run(pipeline, order, bm_client_nonce(), request, error),
                request, 0, &reply, error);
    if (code == BATCHMILL_OK)
        code = bm_client_decode_run(bm_client_message_data(reply), bm_client_message_size(reply),
                                    ret_run, error);
    bm_client_message_unref(reply);
    return code;
}

static enum batchmill_code run_look(struct batchmill_client *client,
                                    const struct bm_client_run *run, struct bm_buffer *request,
                                    struct bm_client_run_report *ret_report,
                                    struct batchmill_error *error)
{
    struct bm_client_message *reply = NULL;
    enum batchmill_code code =
        run_ask(client, bm_client_encode_get_run(run->run, PROGRESS_MS, request, error), request,
                PROGRESS_MS, &reply, error);
    if (code == BATCHMILL_OK)
        code = bm_client_decode_get_run(bm_client_message_data(reply),
                                        bm_client_message_size(reply), ret_report, error);
    bm_client_message_unref(reply);
    if (code == BATCHMILL_NOT_FOUND)
        return bm_client_fail(error, BATCHMILL_ABORTED,
                              "%s: the server does not know the run any more: it was started again "
                              "meanwhile; run again",
                              client->url);
    if (code == BATCHMILL_OK) {
        ret_report->result->seed = run->seed;
        ret_report->result->expected_batches = run->batches;
    }
    return code;
}

static void run_cancel(struct batchmill_client *client, const struct bm_client_run *run,
                       struct bm_buffer *request)
{
    struct bm_client_message *reply = NULL;
    // If this does not arrive, the run ends with its lease.
    run_ask(client, bm_client_encode_cancel_run(run->run, request, NULL), request, 0, &reply, NULL);
    bm_client_message_unref(reply);
}

static enum batchmill_code run_finish(const struct bm_client_run_report *report,
                                      struct batchmill_run_result **ret_result,
                                      struct batchmill_error *error)
{
    if (report->state == BM_CLIENT_RUN_CANCELLED) {
        batchmill_run_free(report->result);
        return bm_client_fail(error, BATCHMILL_CANCELLED, "the run was cancelled");
    }
    *ret_result = report->result;
    if (report->state == BM_CLIENT_RUN_DONE)
        return BATCHMILL_OK;
    if (!report->has_failure)
        return bm_client_fail(error, BATCHMILL_UNKNOWN,
                              "a batch failed, the server did not say why");
    if (error != NULL)
        *error = report->failure;
    return report->failure.code;
}

enum batchmill_code batchmill_run(struct batchmill_client *client, const char *pipeline,
                                  const struct batchmill_order *order, batchmill_progress *progress,
                                  void *context, struct batchmill_run_result **ret_result,
                                  struct batchmill_error *error)
{
    enum batchmill_code code = bm_client_check(client, error);
    if (code == BATCHMILL_OK)
        code = bm_client_check_order(pipeline, order, error);
    if (code != BATCHMILL_OK)
        return code;
    if (ret_result == NULL)
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT,
                              "ret_result: expected one, got NULL");
    struct bm_buffer request;
    struct bm_client_run run;
    struct bm_client_run_report report = {0};
    bm_buffer_init(&request);
    code = run_start(client, pipeline, order, &request, &run, error);
    while (code == BATCHMILL_OK) {
        code = run_look(client, &run, &request, &report, error);
        if (code != BATCHMILL_OK)
            break;
        if (report.state != BM_CLIENT_RUN_RUNNING) {
            code = run_finish(&report, ret_result, error);
            break;
        }
        bool goes_on = progress == NULL || progress(context, report.result);
        batchmill_run_free(report.result);
        if (!goes_on) {
            run_cancel(client, &run, &request);
            code = bm_client_fail(error, BATCHMILL_CANCELLED, "the run was cancelled");
        }
    }
    bm_buffer_fini(&request);
    return code;
}

void batchmill_run_free(struct batchmill_run_result *result)
{
    free(result);
}
