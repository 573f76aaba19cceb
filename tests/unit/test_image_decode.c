// What decode_image promises, alone and joined with the steps that take a part of each picture.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "fakes/action_fixture.h"
#include "fakes/heap.h"
#include "support.h"

#define REFUSES(actions, where, text) action_fixture_refuses(&fixture, actions, where, text)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct action_fixture fixture;

static int make_fixture(void **state)
{
    (void)state;
    action_fixture_init(&fixture);
    fixture.seed = 7;
    return 0;
}

static int free_fixture(void **state)
{
    (void)state;
    action_fixture_fini(&fixture);
    return 0;
}

static void build(const char *actions)
{
    enum bm_status status = action_fixture_build(&fixture, actions);
    if (status != BM_OK)
        fail_msg("%s: %s: %s", actions, fixture.error.where, fixture.error.text);
}

static void run(const char *actions, uint64_t nitems)
{
    build(actions);
    enum bm_result result = action_fixture_run(&fixture, nitems, 0);
    if (result != BM_RESULT_OK)
        fail_msg("%s: %s: %s", actions, fixture.work.error.where, fixture.work.error.text);
}

static void assert_bytes(const char *name, const uint8_t *expected, size_t n, int tolerance)
{
    const uint8_t *bytes = action_fixture_values(&fixture, name);
    for (size_t i = 0; i < n; i++) {
        if (abs(bytes[i] - expected[i]) > tolerance)
            fail_msg("%s[%zu] is %d, expected %d", name, i, bytes[i], expected[i]);
    }
}

static void assert_shape(const char *name, const char *expected)
{
    struct bm_buffer shown;
    bm_buffer_init(&shown);
    const struct bm_component *component = action_fixture_component(&fixture, name);
    assert_non_null(component);
    bm_component_print(component, &shown);
    assert_string_equal(bm_buffer_text(&shown), expected);
    bm_buffer_fini(&shown);
}

// ---- Files ----

enum { FILES_MAX = 6 };

static struct {
    uint8_t bytes[16384];
    uint64_t offsets[FILES_MAX + 1];
    char names[256];
    uint64_t name_offsets[FILES_MAX + 1];
} files;

// Files of tests/data/pictures; "" is an empty one.
static void give_files(const char *const *names, unsigned n)
{
    const char *root = getenv("BATCHMILL_SOURCE_DIR");
    for (unsigned i = 0; i < n; i++) {
        char path[500];
        size_t size = 0;
        if (names[i][0] != '\0') {
            snprintf(path, sizeof path, "%s/tests/data/pictures/%s", root == NULL ? "." : root,
                     names[i]);
            FILE *file = fopen(path, "rb");
            if (file == NULL)
                fail_msg("%s: cannot open", path);
            size = fread(files.bytes + files.offsets[i], 1, sizeof files.bytes - files.offsets[i],
                         file);
            fclose(file);
        }
        files.offsets[i + 1] = files.offsets[i] + size;
        strcpy(files.names + files.name_offsets[i], names[i]);
        files.name_offsets[i + 1] = files.name_offsets[i] + strlen(names[i]);
    }
    const struct given given[] = {
        {"image", BM_BYTES, 0, {0}, files.bytes, files.offsets},
        {"name", BM_STRING, 0, {0}, files.names, files.name_offsets},
    };
    action_fixture_give(n, given, 2);
}

static const char *const good_files[] = {"wide.jpg", "turned.jpg", "grey.png", "wide.jpg"};

static void decode_image_gives_pixels_and_sizes(void **state)
{
    (void)state;
    give_files(good_files, 4);
    run("[decode_image: {components: image}]", 4);
    assert_shape("image", "image uint8 [varies, 3]");
    assert_shape("image.size", "image.size int32 [2]");
    assert_memory_equal(action_fixture_values(&fixture, "image.size"),
                        ((int32_t[]){60, 90, 50, 33, 41, 37, 60, 90}), 8 * sizeof(int32_t));
    const uint8_t *pixels = action_fixture_values(&fixture, "image");
    enum { GREY = (5400 + 1650) * 3, AGAIN = GREY + 1517 * 3 };
    assert_memory_equal(pixels, &pixels[AGAIN], sizeof(uint8_t[5400 * 3]));
    const uint8_t *grey = &pixels[GREY];
    for (unsigned i = 0; i < 1517 * 3; i++)
        assert_int_equal(grey[i], grey[i - i % 3]);
    run("[decode_image: {components: image, mode: grey, orientation: ignore}]", 4);
    assert_shape("image", "image uint8 [varies, 1]");
    assert_memory_equal(action_fixture_values(&fixture, "image.size"),
                        ((int32_t[]){60, 90, 33, 50, 41, 37, 60, 90}), 8 * sizeof(int32_t));
}

static void decoding_a_part_gives_the_bytes_of_decoding_all(void **state)
{
    (void)state;
    static const char *const steps[] = {
        "random_resized_crop: {components: image, size: 24}",
        "random_resized_crop: {components: image, size: [5, 31], interpolation: bicubic}",
        "random_resized_crop: {components: image, size: 16, interpolation: nearest}",
        "random_resized_crop: {components: image, size: 8, antialias: false}",
        "resize: {components: image, size: [20, 30]}",
        "resize: {components: image, size: [120, 7], interpolation: bicubic}",
        "center_crop: {components: image, size: [45, 40], value: 3}",
        "center_crop: {components: image, size: 8}",
        "pad: {components: image, size: [99, 98], value: [1, 2, 3]}",
    };
    static uint8_t expected[4 * 99 * 98 * 3];
    give_files(good_files, 4);
    fixture.shuffle = true;
    for (unsigned i = 0; i < COUNT(steps); i++) {
        char actions[300];
        snprintf(actions, sizeof actions,
                 "[{decode_image: {components: image}, use_lock: true}, {%s}]", steps[i]);
        run(actions, 4);
        assert_int_equal(bm_pipeline_nsteps(fixture.pipeline), 3);
        uint64_t fingerprint = bm_pipeline_fingerprint(fixture.pipeline);
        size_t n = fixture.work.batch.tensors[0].size_bytes;
        assert_in_range(n, 1, sizeof expected);
        memcpy(expected, action_fixture_values(&fixture, "image"), n);
        snprintf(actions, sizeof actions, "[{decode_image: {components: image}}, {%s}]", steps[i]);
        for (fixture.tile_rows = 0; fixture.tile_rows < 4; fixture.tile_rows += 3) {
            run(actions, 4);
            assert_int_equal(bm_pipeline_nsteps(fixture.pipeline), 2);
            assert_true(bm_pipeline_step_spreads(fixture.pipeline, 1));
            assert_int_equal(bm_pipeline_fingerprint(fixture.pipeline), fingerprint);
            assert_memory_equal(action_fixture_values(&fixture, "image"), expected, n);
        }
    }
}

static void resize_and_center_crop_decode_only_the_middle(void **state)
{
    (void)state;
    static const char *const steps[][2] = {
        {"size: 30, mode: short_side", "size: 24"},
        {"size: 33, mode: short_side, interpolation: bicubic", "size: [21, 35], value: 9"},
        {"size: 14, mode: short_side, interpolation: nearest", "size: [9, 8]"},
        {"size: 100, mode: short_side, antialias: false", "size: [64, 31]"},
        {"size: [50, 33]", "size: [20, 11]"}, // as large as one of them is
        {"size: [20, 90], interpolation: nearest", "size: 40, value: [1, 2, 3]"},
        {"size: [19, 90]", "size: [7, 60]"},
    };
    static const char *const locks[][2] = {
        {", use_lock: a", ", use_lock: a"}, {", use_lock: a", ""}, {"", ", use_lock: a"}, {"", ""}};
    static const unsigned nsteps[] = {4, 3, 4, 2}; // of resize alone, by the short side
    static uint8_t expected[4 * 64 * 64 * 3];
    give_files(good_files, 4);
    for (unsigned i = 0; i < COUNT(steps); i++) {
        size_t n = 0;
        for (unsigned j = 0; j < COUNT(locks); j++) {
            char actions[400];
            snprintf(actions, sizeof actions,
                     "[{decode_image: {components: image}%s}, {resize: {components: image, %s}%s}, "
                     "{center_crop: {components: image, %s}}]",
                     locks[j][0], steps[i][0], locks[j][1], steps[i][1]);
            run(actions, 4);
            if (i < 4)
                assert_int_equal(bm_pipeline_nsteps(fixture.pipeline), nsteps[j]);
            if (j == 0) {
                n = fixture.work.batch.tensors[0].size_bytes;
                assert_in_range(n, 1, sizeof expected);
                memcpy(expected, action_fixture_values(&fixture, "image"), n);
            }
            assert_int_equal(fixture.work.batch.tensors[0].size_bytes, n);
            assert_memory_equal(action_fixture_values(&fixture, "image"), expected, n);
        }
    }
}

static void shrinking_while_decoding_is_the_same_for_the_middle(void **state)
{
    (void)state;
    static uint8_t expected[4 * 5 * 5 * 3];
    give_files(good_files, 4);
    run("[{decode_image: {components: image, dct_scale: true}}, {resize: {components: image, size: "
        "[9, 11]}}, {center_crop: {components: image, size: 5}, use_lock: a}]",
        4);
    memcpy(expected, action_fixture_values(&fixture, "image"), sizeof expected);
    run("[{decode_image: {components: image, dct_scale: true}}, {resize: {components: image, size: "
        "[9, 11]}}, {center_crop: {components: image, size: 5}}]",
        4);
    assert_bytes("image", expected, sizeof expected, 0);
    run("[{decode_image: {components: image}}, {resize: {components: image, size: [9, 11]}}, "
        "{center_crop: {components: image, size: 5}}]",
        4); // the option does something
    assert_memory_not_equal(action_fixture_values(&fixture, "image"), expected, sizeof expected);
}

static void a_whole_pipeline_is_one_pass_over_each_item(void **state)
{
    (void)state;
    give_files(good_files, 4);
    run("[{decode_image: {components: image}}, {random_resized_crop: {components: image, size: "
        "24}}, {flip: {components: image}}, {layout: {components: image, to: chw}}, {normalize: "
        "{components: image, mean: 0.5, std: 0.25, scale: 255}}]",
        4);
    assert_shape("image", "image float32 [3, 24, 24]");
    assert_int_equal(bm_pipeline_nsteps(fixture.pipeline), 2);
    assert_true(bm_pipeline_step_spreads(fixture.pipeline, 1));
}

static void *spread_help(void *spread)
{
    unsigned piece;
    while (bm_spread_claim(spread, &piece))
        (void)bm_spread_run(spread, piece);
    return NULL;
}

static void workers_share_a_batch_and_come_to_the_same_bytes(void **state)
{
    (void)state;
    enum { NITEMS = 6, NTHREADS = 3, SIDE = 24 };
    static const char *const names[NITEMS] = {"wide.jpg", "turned.jpg", "grey.png",
                                              "wide.jpg", "turned.jpg", "wide.jpg"};
    static float expected[NITEMS * SIDE * SIDE * 3];
    give_files(names, NITEMS);
    run("[{decode_image: {components: image}}, {random_resized_crop: {components: image, size: "
        "24}}, {color_jitter: {components: image, hue: 0.2, contrast: 0.5}}, {layout: {components: "
        "image, to: chw}}, {normalize: {components: image, mean: 0.5, std: 0.25, scale: 255}}]",
        NITEMS);
    assert_int_equal(fixture.work.batch.tensors[0].size_bytes, sizeof expected);
    memcpy(expected, action_fixture_values(&fixture, "image"), sizeof expected);
    const struct bm_order_params params = {.batch_size = NITEMS,
                                           .n_epochs = 1,
                                           .seed = 7,
                                           .n_iters = BM_ORDER_UNSET,
                                           .shard_count = 1};
    struct bm_order order;
    struct bm_work work;
    struct bm_thread threads[NTHREADS];
    assert_int_equal(bm_order_init(&order, &params, NITEMS, NULL), BM_OK);
    assert_int_equal(bm_work_init(&work, fixture.pipeline, &order, 0, NULL), BM_OK);
    work.stream = "stream-1";
    assert_int_equal(bm_work_step(&work, 0), BM_RESULT_OK);
    struct bm_spread *spread = bm_spread_new(&work, 1, NITEMS);
    assert_non_null(spread);
    for (unsigned i = 0; i < NTHREADS; i++)
        assert_int_equal(bm_thread_start(&threads[i], "worker", spread_help, spread, NULL), BM_OK);
    for (unsigned i = 0; i < NTHREADS; i++)
        bm_thread_join(&threads[i]);
    assert_int_equal(bm_spread_end(spread), BM_RESULT_OK);
    assert_memory_equal(work.batch.tensors[0].data, expected, sizeof expected);
    bm_work_fini(&work);
}

static void broken_files_are_errors_that_name_them(void **state)
{
    (void)state;
    static const char *const names[] = {"wide.jpg", "cut.jpg", "SOURCES.md", ""};
    static const char *const steps[] = {"", ", {resize: {components: image, size: 8}}"};
    give_files(names, 4);
    for (unsigned i = 0; i < COUNT(steps); i++) {
        char actions[200];
        snprintf(actions, sizeof actions, "[{decode_image: {components: image}}%s]", steps[i]);
        build(actions);
        for (uint64_t item = 0; item < 4; item++) {
            enum bm_result result = action_fixture_run(&fixture, 1, item);
            if (item == 0) {
                assert_int_equal(result, BM_RESULT_OK);
                continue;
            }
            assert_int_equal(result, BM_RESULT_FAIL);
            assert_int_equal(fixture.work.failed_action, 0);
            assert_int_equal(fixture.work.failed_item, item);
            assert_non_null(strstr(fixture.work.error.text, names[item]));
            assert_int_equal(fixture.work.error.status,
                             item == 1 ? BM_DATA_LOSS : BM_INVALID_ARGUMENT);
        }
        snprintf(actions, sizeof actions,
                 "[{decode_image: {components: image, broken: skip_batch}}%s]", steps[i]);
        build(actions);
        assert_int_equal(action_fixture_run(&fixture, 1, 0), BM_RESULT_OK);
        assert_int_equal(action_fixture_run(&fixture, 2, 0), BM_RESULT_SKIP);
    }
}

static void broken_files_may_be_left_out(void **state)
{
    (void)state;
    static const char *const names[] = {"cut.jpg", "wide.jpg", "SOURCES.md", "turned.jpg", ""};
    static const char *const good[] = {"wide.jpg", "turned.jpg"};
    static const char *const steps[] = {"", ", {resize: {components: image, size: 8}}"};
    static uint8_t expected[2 * 60 * 90 * 3];
    for (unsigned i = 0; i < COUNT(steps); i++) {
        char actions[200];
        snprintf(actions, sizeof actions,
                 "[{decode_image: {components: image, broken: drop}}%s, {flip: {components: image, "
                 "probability: 1}}]",
                 steps[i]);
        give_files(good, 2);
        run(actions, 2);
        uint64_t bytes = fixture.work.batch.tensors[0].size_bytes;
        assert_in_range(bytes, 1, sizeof expected);
        memcpy(expected, action_fixture_values(&fixture, "image"), bytes);
        give_files(names, 5);
        run(actions, 5);
        assert_int_equal(fixture.work.batch.nitems, 2);
        assert_int_equal(fixture.work.batch.items[0], 1);
        assert_int_equal(fixture.work.batch.items[1], 3);
        assert_int_equal(fixture.work.batch.tensors[0].size_bytes, bytes);
        assert_memory_equal(action_fixture_values(&fixture, "image"), expected, bytes);
        assert_int_equal(action_fixture_run(&fixture, 1, 0), BM_RESULT_SKIP); // none is left
    }
}

static void larger_pictures_than_allowed_are_not_decoded(void **state)
{
    (void)state;
    give_files(good_files, 4);
    run("[decode_image: {components: image, max_pixels: 5400}]", 4);
    build("[decode_image: {components: image, max_pixels: 5399}]");
    assert_int_equal(action_fixture_run(&fixture, 4, 0), BM_RESULT_FAIL);
    assert_int_equal(fixture.work.failed_item, 0);
    assert_non_null(strstr(fixture.work.error.text, "5399"));
    run("[decode_image: {components: image, max_pixels: 5399, broken: drop}]", 4);
    assert_int_equal(fixture.work.batch.nitems, 2);
}

static void shrinking_while_decoding_needs_a_step_to_shrink_for(void **state)
{
    (void)state;
    give_files(good_files, 4);
    run("[{decode_image: {components: image, dct_scale: true}}, {resize: {components: image, size: "
        "8}}]",
        4);
    REFUSES("[decode_image: {components: image, dct_scale: true}]", "", "joined with");
    REFUSES("[{decode_image: {components: image, dct_scale: true}}, {center_crop: {components: "
            "image, size: 8}}]",
            "", "joined with");
    REFUSES("[{decode_image: {components: image, dct_scale: true}}, {resize: {components: image, "
            "size: 8, mode: short_side}}]",
            "", "joined with");
}

static void decode_image_takes_files_only(void **state)
{
    (void)state;
    const struct given pixels = {"image", BM_UINT8, 3, {2, 2, 3}, files.bytes, NULL};
    action_fixture_give(1, &pixels, 1);
    REFUSES("[decode_image: {components: image}]", ".components", "got image of uint8");
    give_files(good_files, 1);
    REFUSES("[decode_image: {components: name}]", ".components", "got name of string");
    REFUSES("[{resize: {components: image, size: 4}}]", ".components", "decode_image makes");
    const struct given given[] = {
        {"image", BM_BYTES, 0, {0}, files.bytes, files.offsets},
        {"image.size", BM_STRING, 0, {0}, files.names, files.name_offsets},
    };
    action_fixture_give(1, given, 2);
    REFUSES("[decode_image: {components: image}]", "decode_image", "no component image.size");
}

static void without_memory_nothing_is_built_and_nothing_leaks(void **state)
{
    (void)state;
    give_files(good_files, 1);
    action_fixture_starves(&fixture,
                           "[{decode_image: {components: image}}, {random_resized_crop: "
                           "{components: image, size: 24, ratio: [1, 2]}}, {color_jitter: "
                           "{components: image, hue: 0.1}}, {normalize: {components: image, mean: "
                           "1, std: 1}}, {layout: {components: image, to: chw}}]");
}

struct starved { // a batch on a thread of its own, whose scratch memory is new
    struct bm_work work;
    enum bm_result result;
    uint64_t n; // the allocation that fails
};

static void *starved_run(void *context)
{
    struct starved *starved = context;
    bm_fake_heap_fail_at(starved->n);
    for (unsigned step = 1; step < bm_pipeline_nsteps(starved->work.pipeline); step++) {
        starved->result = bm_work_step(&starved->work, step);
        if (starved->result != BM_RESULT_OK)
            break;
    }
    return NULL;
}

// Without memory a picture is not broken: it is an error even where broken ones are left out.
static void without_memory_no_picture_is_left_out(void **state)
{
    (void)state;
    static const char *const actions[] = {
        "[{decode_image: {components: image, broken: drop}}, {resize: {components: image, size: 9, "
        "mode: short_side}}]",
        "[{decode_image: {components: image, broken: drop}}, {random_resized_crop: {components: "
        "image, size: 9}}]",
        "[{decode_image: {components: image, broken: skip_batch}}, {resize: {components: image, "
        "size: 9, mode: short_side}}, {center_crop: {components: image, size: 8}}]",
    };
    const struct bm_order_params params = {
        .batch_size = 4, .n_epochs = 1, .n_iters = BM_ORDER_UNSET, .shard_count = 1};
    struct bm_order order;
    give_files(good_files, 4);
    assert_int_equal(bm_order_init(&order, &params, 4, NULL), BM_OK);
    for (unsigned i = 0; i < COUNT(actions); i++) {
        bool failed = true;
        build(actions[i]);
        for (uint64_t n = 1; failed; n++) {
            struct starved starved = {.n = n};
            struct bm_thread thread;
            assert_in_range(n, 1, 500);
            assert_int_equal(bm_work_init(&starved.work, fixture.pipeline, &order, 0, NULL), BM_OK);
            starved.work.stream = "stream-1";
            assert_int_equal(bm_work_step(&starved.work, 0), BM_RESULT_OK);
            assert_int_equal(bm_thread_start(&thread, "starved", starved_run, &starved, NULL),
                             BM_OK);
            bm_thread_join(&thread);
            failed = bm_fake_heap_failed();
            bm_fake_heap_fail_never();
            assert_int_equal(starved.result, failed ? BM_RESULT_FAIL : BM_RESULT_OK);
            assert_int_equal(starved.work.error.status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
            assert_int_equal(starved.work.batch.nitems, 4);
            bm_work_fini(&starved.work);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        TEST(decode_image_gives_pixels_and_sizes),
        TEST(decoding_a_part_gives_the_bytes_of_decoding_all),
        TEST(resize_and_center_crop_decode_only_the_middle),
        TEST(shrinking_while_decoding_is_the_same_for_the_middle),
        TEST(a_whole_pipeline_is_one_pass_over_each_item),
        TEST(workers_share_a_batch_and_come_to_the_same_bytes),
        TEST(broken_files_are_errors_that_name_them),
        TEST(broken_files_may_be_left_out),
        TEST(larger_pictures_than_allowed_are_not_decoded),
        TEST(shrinking_while_decoding_needs_a_step_to_shrink_for),
        TEST(decode_image_takes_files_only),
        TEST(without_memory_nothing_is_built_and_nothing_leaks),
        TEST(without_memory_no_picture_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
