// lend.c -- does an action for a server's pipelines: here, it adds an amount to what comes.
//
//     batchmill serve examples/lend/pipelines.yaml
//     example_lend tcp://127.0.0.1:7310            (as many as you like)
//     batchmill gen brighter --batch-size 64
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batchmill/lend.h"

// The parameters come as JSON; a program that has more than one uses a library for it.
static double amount_of(const char *params)
{
    const char *colon = strchr(params, ':');
    return colon == NULL ? 0 : strtod(colon + 1, NULL);
}

static void brighten(struct batchmill_task *task)
{
    struct batchmill_task_info info;
    struct batchmill_error error;
    void *data;
    batchmill_task_info(task, &info);
    const struct batchmill_tensor *pixels =
        batchmill_batch_tensor(batchmill_task_batch(task), "pixels");
    if (pixels == NULL || pixels->dtype != BATCHMILL_FLOAT32) {
        batchmill_task_fail(task, BATCHMILL_INVALID_ARGUMENT, -1, "expected float32 pixels");
        return;
    }
    if (batchmill_task_write(task, "pixels", pixels->dtype, pixels->ndim, pixels->shape, NULL,
                             &data, &error) != BATCHMILL_OK) {
        batchmill_task_fail(task, error.code, -1, error.text);
        return;
    }
    const float *from = pixels->data;
    float *to = data, amount = (float)amount_of(info.params);
    for (size_t i = 0; i < pixels->size_bytes / sizeof *to; i++)
        to[i] = from[i] + amount;
    batchmill_task_done(task);
}

int main(int argc, char **argv)
{
    const char *url = argc > 1 ? argv[1] : "tcp://127.0.0.1:7310";
    const struct batchmill_lent_action action = {.name = "brighten"};
    struct batchmill_client *mill = NULL;
    struct batchmill_lender *lender = NULL;
    struct batchmill_task *task;
    struct batchmill_error error;
    enum batchmill_code code = batchmill_connect(url, NULL, &mill, &error);
    if (code == BATCHMILL_OK)
        code = batchmill_lend(mill, &action, 1, 2, &lender, &error);
    while (code == BATCHMILL_OK &&
           (code = batchmill_take(lender, UINT32_MAX, &task, &error)) == BATCHMILL_OK)
        brighten(task);
    fprintf(stderr, "%s: %s\n", batchmill_code_name(code), error.text);
    batchmill_lender_close(lender);
    batchmill_disconnect(mill);
    return EXIT_FAILURE;
}
