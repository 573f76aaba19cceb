#include "server/messages.h"

#include <stdio.h>
#include <stdlib.h>

void bm_request_fini(struct bm_request *request)
{
    if (request->kind == BM_CALL_TAKE_TASK)
        bm_task_result_unref(request->task.result);
    free(request->token);
    free(request->decoded);
    *request = (struct bm_request){0};
}

void bm_reply_fini(struct bm_reply *reply)
{
    switch (reply->kind) {
    case BM_CALL_LIST_PIPELINES:
        for (unsigned i = 0; i < reply->list.n; i++)
            bm_pipeline_unref(reply->list.pipelines[i]);
        free(reply->list.pipelines);
        free(reply->list.by_client);
        break;
    case BM_CALL_DESCRIBE_PIPELINE:
        bm_pipeline_unref(reply->described);
        break;
    case BM_CALL_OPEN_STREAM:
    case BM_CALL_RUN:
        bm_pipeline_unref(reply->opened.pipeline);
        free(reply->opened.position_stem);
        break;
    case BM_CALL_NEXT_BATCHES:
        bm_pipeline_unref(reply->batches.pipeline);
        for (unsigned i = 0; i < reply->batches.noutcomes; i++)
            bm_outcome_unref(reply->batches.outcomes[i]);
        free(reply->batches.outcomes);
        break;
    case BM_CALL_GET_RUN:
        bm_pipeline_unref(reply->run.pipeline);
        bm_outcome_unref(reply->run.error);
        free(reply->run.numbers);
        break;
    case BM_CALL_TAKE_TASK:
        bm_task_unref(reply->given.task);
        break;
    case BM_CALL_GET_STATUS:
        free(reply->status.remotes);
        break;
    case BM_CALL_NONE:
    case BM_CALL_LEND_ACTIONS:
    case BM_CALL_END_LENDING:
    case BM_CALL_REGISTER_PIPELINE:
    case BM_CALL_UNREGISTER_PIPELINE:
    case BM_CALL_CLOSE_STREAM:
    case BM_CALL_CANCEL_RUN:
        break;
    }
    *reply = (struct bm_reply){0};
}

void bm_reply_fail(struct bm_reply *reply, const struct bm_error *err)
{
    reply->code = err->status;
    snprintf(reply->message, sizeof reply->message, "%s%s%s", err->where,
             err->where[0] == '\0' ? "" : ": ", err->text);
}
