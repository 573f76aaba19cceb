// consumer.c -- one shuffled epoch of batches from a Batchmill server. Copy it and start from here.
#include <batchmill/client.h>
#include <inttypes.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    const char *url = argc > 1 ? argv[1] : "tcp://127.0.0.1:7310";
    const char *pipeline = argc > 2 ? argv[2] : "digits";
    struct batchmill_error error = {0};
    struct batchmill_client *mill = NULL;
    struct batchmill_stream *stream = NULL;
    struct batchmill_batch *batch = NULL;

    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    order.batch_size = 64;
    order.shuffle = BATCHMILL_SHUFFLE_SEEDED;
    order.seed = 7;
    order.prefetch = 3; // three more batches are prepared while this program works on one

    enum batchmill_code code = batchmill_connect(url, NULL, &mill, &error);
    if (code == BATCHMILL_OK)
        code = batchmill_gen_batch(mill, pipeline, &order, &stream, &error);
    while (code == BATCHMILL_OK &&
           (code = batchmill_next(stream, &batch, &error)) == BATCHMILL_OK) {
        printf("batch %" PRIu64 ": %zu items", batchmill_batch_seq(batch),
               batchmill_batch_nitems(batch));
        for (size_t i = 0; i < batchmill_batch_ntensors(batch); i++) {
            const struct batchmill_tensor *tensor = batchmill_batch_tensor_at(batch, i);
            printf(", %s %s %zu bytes", tensor->name, batchmill_dtype_name(tensor->dtype),
                   tensor->size_bytes); // tensor->data holds them; train here
        }
        printf("\n");
        batchmill_batch_free(batch);
    }
    if (code != BATCHMILL_END)
        fprintf(stderr, "%s: %s\n", batchmill_code_name(code), error.text);
    batchmill_stream_close(stream);
    batchmill_disconnect(mill);
    return code == BATCHMILL_END ? 0 : 1;
}
