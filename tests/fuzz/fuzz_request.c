// Any bytes as a request: decoded or refused with an error that says where.
#include <stdlib.h>
#include <string.h>

#include "server/codec.h"
#include "server/position.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bm_request request;
    struct bm_error error;
    if (bm_request_decode(data, size, &request, &error) != BM_OK) {
        BM_ASSERT(error.where[0] != '\0' && error.text[0] != '\0');
        return 0;
    }
    if (request.kind == BM_CALL_OPEN_STREAM) {
        struct bm_position position;
        if (bm_position_parse(request.open.position, &position, &error) == BM_OK) {
            // What was read is what would be written.
            char *stem = bm_position_stem(&position);
            BM_ASSERT(stem == NULL || strncmp(request.open.position, stem, strlen(stem)) == 0);
            free(stem);
        }
    }
    bm_request_fini(&request);
    return 0;
}
