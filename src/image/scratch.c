#include "image/scratch.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "image/codec.h"

enum {
    SCRATCH_ALIGNMENT = 64,
    SCRATCH_KEPT_MAX = 64 << 20, // of each use; more goes with the next picture that needs less
};

enum bm_status bm_image_scratch_new(struct bm_image_scratch **ret_scratch, struct bm_error *err)
{
    struct bm_image_scratch *scratch = calloc(1, sizeof *scratch);
    if (scratch == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    *ret_scratch = scratch;
    return BM_OK;
}

void bm_image_scratch_free(struct bm_image_scratch *scratch)
{
    if (scratch == NULL)
        return;
    for (unsigned use = 0; use < BM_SCRATCH_USES; use++)
        free(scratch->memory[use].data);
#if BM_WITH_JPEG
    bm_jpeg_free(scratch->jpeg);
#endif
    free(scratch);
}

enum bm_status bm_scratch_get(struct bm_image_scratch *scratch, enum bm_scratch_use use,
                              size_t size, void **ret_data, struct bm_error *err)
{
    size_t kept = scratch->memory[use].size;
    if (kept < size || kept == 0 || (kept > SCRATCH_KEPT_MAX && size <= SCRATCH_KEPT_MAX / 2)) {
        free(scratch->memory[use].data);
        scratch->memory[use].data = NULL;
        scratch->memory[use].size = 0;
        uint64_t room; // a quarter more, so that slowly growing pictures seldom ask again
        if (!bm_size_add(size, size / 4 + SCRATCH_ALIGNMENT, &room))
            return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
        room &= ~(uint64_t)(SCRATCH_ALIGNMENT - 1);
        void *data = aligned_alloc(SCRATCH_ALIGNMENT, room);
        if (data == NULL)
            return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL,
                           "out of memory: %zu bytes for a picture", size);
        // Vectors reach past the pixels, and multiply what they find there by 0.
        memset(data, 0, room);
        scratch->memory[use].data = data;
        scratch->memory[use].size = room;
    }
    *ret_data = scratch->memory[use].data;
    return BM_OK;
}

enum bm_status bm_scratch_pixels(struct bm_image_scratch *scratch, enum bm_scratch_use use,
                                 uint32_t height, uint32_t width, unsigned channels,
                                 struct bm_pixels *ret_pixels, struct bm_error *err)
{
    // Sides are at most 65,500, so nothing overflows.
    size_t stride = (size_t)bm_size_align((uint64_t)width * channels, SCRATCH_ALIGNMENT);
    void *data = NULL;
    enum bm_status status =
        bm_scratch_get(scratch, use, stride * height + BM_SCRATCH_SLACK, &data, err);
    if (status != BM_OK)
        return status;
    *ret_pixels = (struct bm_pixels){data, stride, height, width, channels};
    return BM_OK;
}
