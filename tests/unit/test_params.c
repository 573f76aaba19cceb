#include "pipeline/params.h"

#include <string.h>

#include "fakes/fake_types.h"
#include "fakes/heap.h"
#include "support.h"

// One parameter of every kind.
struct all {
    bool flag;
    int64_t count, any;
    double factor, positive;
    char *text, *label, *plain;
    enum bm_dtype dtype;
    int mode;
    struct bm_integers shape;
    struct bm_floats means;
    struct bm_texts names, files;
    struct bm_text_map columns;
    const struct bm_value *free_form;
    uint64_t room;
};

#define PARAM(field, kind, ...) BM_PARAM(struct all, field, kind, __VA_ARGS__)

static const struct bm_param params[] = {
    PARAM(flag, BM_PARAM_BOOL, .fallback = "true", .doc = "a flag"),
    PARAM(count, BM_PARAM_INTEGER, .required = true, .min = 1, .max = 10, .doc = "how many"),
    PARAM(any, BM_PARAM_INTEGER, .fallback = "-3", .doc = "any"),
    PARAM(factor, BM_PARAM_FLOAT, .fallback = "0.5", .doc = "a factor"),
    PARAM(positive, BM_PARAM_FLOAT, .fallback = "1", .min = 0, .max = __builtin_inf(), .doc = "p"),
    PARAM(text, BM_PARAM_TEXT, .doc = "a text"),
    PARAM(label, BM_PARAM_NAME, .fallback = "label", .doc = "a name"),
    PARAM(plain, BM_PARAM_TEXT, .fallback = "", .doc = "an empty text"),
    PARAM(dtype, BM_PARAM_DTYPE, .doc = "a dtype"),
    PARAM(mode, BM_PARAM_CHOICE, .fallback = "wrap", .choices = {"clip", "wrap"}, .doc = "how"),
    PARAM(shape, BM_PARAM_INTEGERS, .min = 0, .max = 100, .doc = "a shape"),
    PARAM(means, BM_PARAM_FLOATS, .fallback = "0.25", .doc = "means"),
    PARAM(names, BM_PARAM_NAMES, .doc = "names"),
    PARAM(files, BM_PARAM_TEXTS, .doc = "files"),
    PARAM(columns, BM_PARAM_TEXT_MAP, .doc = "columns"),
    PARAM(free_form, BM_PARAM_VALUE, .doc = "anything"),
    PARAM(room, BM_PARAM_BYTES, .fallback = "4KiB", .doc = "bytes"),
};
enum { NPARAMS = sizeof params / sizeof params[0] };

static void done(struct all *all, struct bm_value *value)
{
    bm_params_free(params, NPARAMS, all);
    bm_value_free(value);
}

static struct bm_value *parse(const char *yaml, struct all *ret_all)
{
    struct bm_error error;
    struct bm_value *value = fake_types_value(yaml);
    if (bm_params_parse(params, NPARAMS, value, NULL, ret_all, &error) != BM_OK)
        fail_msg("%s: %s", error.where, error.text);
    return value;
}

static void assert_refused(const char *yaml, const char *where, const char *text)
{
    struct all all;
    struct bm_error error;
    struct bm_value *value = fake_types_value(yaml);
    assert_int_equal(bm_params_parse(params, NPARAMS, value, NULL, &all, &error),
                     BM_INVALID_ARGUMENT);
    assert_string_equal(error.where, where);
    assert_string_equal(error.text, text);
    bm_value_free(value);
}

static void every_kind_is_read(void **state)
{
    (void)state;
    struct all all;
    memset(&all, 0xff, sizeof all);
    struct bm_value *value = parse(
        "{flag: false, count: 7, any: 0x10, factor: 2, positive: 1e3, text: 'a b', label: x.1,"
        " plain: 12, dtype: uint8, mode: clip, shape: [2, 3], means: [1, .5], names: [a, b],"
        " files: [/x, 'y z'], columns: {price: 3, name: who}, free_form: {a: 1}, room: 2MB}",
        &all);
    assert_false(all.flag);
    assert_int_equal(all.count, 7);
    assert_int_equal(all.any, 16);
    assert_true(all.factor == 2);
    assert_true(all.positive == 1000);
    assert_string_equal(all.text, "a b");
    assert_string_equal(all.label, "x.1");
    assert_string_equal(all.plain, "12"); // a number is a text, too, as it was written
    assert_int_equal(all.dtype, BM_UINT8);
    assert_int_equal(all.mode, 0);
    assert_int_equal(all.shape.n, 2);
    assert_int_equal(all.shape.values[1], 3);
    assert_int_equal(all.means.n, 2);
    assert_true(all.means.values[1] == 0.5);
    assert_string_equal(all.names.values[1], "b");
    assert_int_equal(all.files.n, 2);
    assert_string_equal(all.files.values[1], "y z");
    assert_int_equal(all.columns.n, 2);
    assert_string_equal(all.columns.keys[0], "price");
    assert_string_equal(all.columns.values[0], "3");
    assert_ptr_equal(all.free_form, bm_value_find(value, "free_form"));
    assert_int_equal(all.room, 2000000);
    done(&all, value);
}

static void what_is_absent_or_null_gets_its_default_or_stays_zero(void **state)
{
    (void)state;
    struct all all;
    memset(&all, 0xff, sizeof all);
    struct bm_value *value = parse("{count: 1, factor: null, text: ~}", &all);
    assert_true(all.flag);
    assert_int_equal(all.any, -3);
    assert_true(all.factor == 0.5);
    assert_null(all.text);
    assert_string_equal(all.label, "label");
    assert_string_equal(all.plain, "");
    assert_int_equal(all.dtype, BM_DTYPE_NONE);
    assert_int_equal(all.mode, 1);
    assert_int_equal(all.shape.n, 0);
    assert_int_equal(all.means.n, 1);
    assert_true(all.means.values[0] == 0.25);
    assert_int_equal(all.names.n, 0);
    assert_int_equal(all.columns.n, 0);
    assert_null(all.free_form);
    assert_int_equal(all.room, 4096);
    done(&all, value);
}

static void a_single_value_reads_as_a_list_of_one(void **state)
{
    (void)state;
    struct all all;
    struct bm_value *value = parse("{count: 1, shape: 5, names: x, files: 'a b', means: []}", &all);
    assert_int_equal(all.shape.n, 1);
    assert_int_equal(all.shape.values[0], 5);
    assert_int_equal(all.names.n, 1);
    assert_string_equal(all.files.values[0], "a b");
    assert_int_equal(all.means.n, 0);
    done(&all, value);
}

static void without_any_parameters_the_required_ones_are_missed(void **state)
{
    (void)state;
    struct all all;
    struct bm_error error;
    assert_int_equal(bm_params_parse(params, NPARAMS, NULL, "f.yaml:2: noop", &all, &error),
                     BM_INVALID_ARGUMENT);
    assert_string_equal(error.where, "f.yaml:2: noop");
    assert_string_equal(error.text, "expected \"count\" (how many), got nothing");
    assert_refused("{}", "test:1", "expected \"count\" (how many), got nothing");
    assert_refused("~", "test:1", "expected \"count\" (how many), got nothing");
    assert_refused("{count: ~}", "test:1", "expected \"count\" (how many), got nothing");
    assert_int_equal(bm_params_parse(NULL, 0, NULL, "w", &all, &error), BM_OK);
}

static void unknown_names_are_refused_with_the_known_ones(void **state)
{
    (void)state;
    assert_refused("{count: 1,\n cuont: 2}", "test:2: cuont",
                   "expected one of flag, count, any, factor, positive, text, label, plain, dtype, "
                   "mode, shape, means, names, files, columns, free_form, room, got \"cuont\"");
    struct bm_error error;
    struct bm_value *value = fake_types_value("{a: 1}");
    assert_int_equal(bm_params_parse(NULL, 0, value, NULL, NULL, &error), BM_INVALID_ARGUMENT);
    assert_string_equal(error.text, "expected no parameters, got \"a\"");
    bm_value_free(value);
}

static void wrong_kinds_are_refused_where_they_stand(void **state)
{
    (void)state;
    assert_refused("3", "test:1", "expected a map of parameters, got 3");
    assert_refused("{count: 1,\n factor: abc}", "test:2: factor",
                   "expected a finite number, got the text \"abc\"");
    assert_refused("{count: 1.5}", "test:1: count",
                   "expected a whole number from 1 to 10, got 1.5");
    assert_refused("{count: 1, room: 4 KiB}", "test:1: room",
                   "expected a number of bytes such as 1048576, 512MiB or 4GiB, got the text "
                   "\"4 KiB\"");
    assert_refused("{count: 1, flag: 1}", "test:1: flag", "expected true or false, got 1");
    assert_refused("{count: 1, factor: .inf}", "test:1: factor",
                   "expected a finite number, got .inf");
    assert_refused("{count: 1, factor: .nan}", "test:1: factor",
                   "expected a finite number, got .nan");
    assert_refused("{count: 1, text: [a]}", "test:1: text", "expected a text, got a list of 1");
    assert_refused("{count: 1, label: 'a b'}", "test:1: label",
                   "expected a name of 1 to 128 of the characters A-Z a-z 0-9 . _ -, "
                   "got the text \"a b\"");
    assert_refused("{count: 1, mode: fold}", "test:1: mode",
                   "expected one of clip, wrap, got the text \"fold\"");
    assert_refused("{count: 1, mode: {}}", "test:1: mode", "expected one of clip, wrap, got a map");
    assert_refused("{count: 1, columns: [a]}", "test:1: columns",
                   "expected a map of texts, got a list of 1");
    assert_refused("{count: 1, columns: {a: [b]}}", "test:1: columns.a",
                   "expected a text, got a list");
    assert_refused("{count: 1, shape: [1, two]}", "test:1: shape[1]",
                   "expected a whole number from 0 to 100, got the text \"two\"");
    assert_refused("{count: 1, names: [a, ~]}", "test:1: names[1]",
                   "expected a name of 1 to 128 of the characters A-Z a-z 0-9 . _ -, got nothing");
    assert_refused("{count: 1, means: {a: 1}}", "test:1: means",
                   "expected a finite number, got a map");
}

static void an_unknown_dtype_is_refused_with_the_known_ones(void **state)
{
    (void)state;
    struct all all;
    struct bm_error error;
    struct bm_value *value = fake_types_value("{count: 1, dtype: float33}");
    assert_int_equal(bm_params_parse(params, NPARAMS, value, NULL, &all, &error),
                     BM_INVALID_ARGUMENT);
    assert_string_equal(error.where, "test:1: dtype");
    assert_non_null(strstr(error.text, "bool, int8"));
    assert_non_null(strstr(error.text, "got the text \"float33\""));
    bm_value_free(value);
}

static void ranges_include_their_ends(void **state)
{
    (void)state;
    struct all all;
    struct bm_value *value = parse("{count: 10, positive: 0, shape: [0, 100]}", &all);
    done(&all, value);
    value = parse("{count: 1}", &all);
    done(&all, value);
    assert_refused("{count: 0}", "test:1: count", "expected a whole number from 1 to 10, got 0");
    assert_refused("{count: 11}", "test:1: count", "expected a whole number from 1 to 10, got 11");
    assert_refused("{count: 1, positive: -0.1}", "test:1: positive",
                   "expected a number of at least 0, got -0.1");
    assert_refused("{count: 1, shape: 101}", "test:1: shape",
                   "expected a whole number from 0 to 100, got 101");
    assert_refused("{count: 1, any: 9223372036854775808}", "test:1: any",
                   "expected a whole number from -2^63 to 2^63 - 1, got 9223372036854775808");
}

// ---- Hashes ----

static uint64_t hash(const char *yaml)
{
    struct all all;
    struct bm_value *value = parse(yaml, &all);
    struct bm_hash *state = bm_hash_new();
    bm_params_hash(params, NPARAMS, &all, state);
    uint64_t digest = bm_hash_end(state);
    bm_hash_free(state);
    done(&all, value);
    return digest;
}

static void equal_configurations_hash_alike_however_they_are_written(void **state)
{
    (void)state;
    uint64_t digest = hash("{count: 1}");
    assert_true(hash("{factor: 0.50, count: 0x1, mode: wrap, flag: true}") == digest);
    assert_true(hash("{count: 1, means: [0.25], names: [], label: 'label'}") == digest);
}

static void every_difference_shows_in_the_hash(void **state)
{
    (void)state;
    const char *const all[] = {
        "{count: 1}",
        "{count: 2}",
        "{count: 1, flag: false}",
        "{count: 1, any: 3}",
        "{count: 1, factor: 0}",
        "{count: 1, factor: -0.0}",
        "{count: 1, positive: 0.5}",
        "{count: 1, text: ''}",
        "{count: 1, text: a}",
        "{count: 1, label: a}",
        "{count: 1, dtype: int8}",
        "{count: 1, mode: clip}",
        "{count: 1, shape: [1]}",
        "{count: 1, shape: [1, 1]}",
        "{count: 1, means: []}",
        "{count: 1, means: 1}",
        "{count: 1, names: [a, b]}",
        "{count: 1, names: [ab]}",
        "{count: 1, files: [a, b]}",
        "{count: 1, columns: {a: b}}",
        "{count: 1, columns: {b: a}}",
        "{count: 1, free_form: a}",
        "{count: 1, free_form: [a]}",
        "{count: 1, free_form: {a: b}}",
        "{count: 1, free_form: {b: a}}",
        "{count: 1, free_form: {c: a}}",
        "{count: 1, room: 4097}",
    };
    enum { N = sizeof all / sizeof all[0] };
    uint64_t digests[N];
    for (unsigned i = 0; i < N; i++) {
        digests[i] = hash(all[i]);
        for (unsigned j = 0; j < i; j++) {
            if (digests[i] == digests[j])
                fail_msg("%s and %s hash alike", all[i], all[j]);
        }
    }
}

// ---- For people ----

static void the_table_documents_itself(void **state)
{
    (void)state;
    struct bm_buffer out;
    bm_buffer_init(&out);
    bm_params_print(params, 5, &out);
    assert_string_equal(bm_buffer_text(&out),
                        "  flag      bool, default true: a flag\n"
                        "  count     integer from 1 to 10, required: how many\n"
                        "  any       integer, default -3: any\n"
                        "  factor    float, default 0.5: a factor\n"
                        "  positive  float of at least 0, default 1: p\n");
    bm_buffer_clear(&out);
    bm_params_print(params + 7, 3, &out);
    assert_string_equal(bm_buffer_text(&out), "  plain  text, default \"\": an empty text\n"
                                              "  dtype  dtype: a dtype\n"
                                              "  mode   one of clip, wrap, default wrap: how\n");
    bm_buffer_fini(&out);
}

static void the_owners_errors_point_at_a_parameter_too(void **state)
{
    (void)state;
    char text[BM_ERROR_WHERE_MAX];
    assert_string_equal(bm_params_where("f.yaml:3: a[2].scale", "factor", text),
                        "f.yaml:3: a[2].scale.factor");
    assert_string_equal(bm_params_where("", "factor", text), "factor");
    assert_string_equal(bm_params_where(NULL, "factor", text), "factor");
}

static void out_of_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    struct bm_value *value = fake_types_value("{count: 1, text: a, shape: [1], names: [a, b],"
                                              " files: b, columns: {a: b, c: d}}");
    bool failed;
    uint64_t n = 0;
    do {
        struct all all;
        bm_fake_heap_fail_at(++n);
        enum bm_status status = bm_params_parse(params, NPARAMS, value, NULL, &all, NULL);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_int_equal(status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
        if (status == BM_OK)
            bm_params_free(params, NPARAMS, &all);
    } while (failed);
    assert_true(n > 20);
    bm_value_free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_read),
        cmocka_unit_test(what_is_absent_or_null_gets_its_default_or_stays_zero),
        cmocka_unit_test(a_single_value_reads_as_a_list_of_one),
        cmocka_unit_test(without_any_parameters_the_required_ones_are_missed),
        cmocka_unit_test(unknown_names_are_refused_with_the_known_ones),
        cmocka_unit_test(wrong_kinds_are_refused_where_they_stand),
        cmocka_unit_test(an_unknown_dtype_is_refused_with_the_known_ones),
        cmocka_unit_test(ranges_include_their_ends),
        cmocka_unit_test(equal_configurations_hash_alike_however_they_are_written),
        cmocka_unit_test(every_difference_shows_in_the_hash),
        cmocka_unit_test(the_table_documents_itself),
        cmocka_unit_test(the_owners_errors_point_at_a_parameter_too),
        cmocka_unit_test(out_of_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests_name("params", tests, NULL, NULL);
}
