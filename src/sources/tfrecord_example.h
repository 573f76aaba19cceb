// tfrecord_example.h -- the features of a tf.train.Example, found in its bytes. Layer: sources.
//
// Nothing is copied: a feature is where its list lies. What a later protobuf adds is passed over;
// of a feature that is there twice the last one counts.
// Threads: any thread.
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum bm_tf_kind { BM_TF_NONE, BM_TF_BYTES, BM_TF_FLOAT, BM_TF_INT64 }; // numbers of the oneof

struct bm_tf_feature { // all zero: it is not there
    enum bm_tf_kind kind;
    const unsigned char *at, *end; // the list's message
};

const char *bm_tf_kind_name(enum bm_tf_kind kind); // "int64_list"

// Fills features[i] with the one called names[i]. False: the bytes are no Example.
bool bm_tf_example_find(const unsigned char *data, uint64_t size, const char *const *names,
                        unsigned n, struct bm_tf_feature *features);
// Calls `take` for each feature; a name is not NUL-terminated. False: likewise.
bool bm_tf_example_list(const unsigned char *data, uint64_t size,
                        void (*take)(void *taker, const char *name, uint64_t length,
                                     const struct bm_tf_feature *feature),
                        void *taker);

// The values of a feature, one after the other. False: there is none left, or it is `broken`.
struct bm_tf_values {
    const unsigned char *at, *end, *packed_end;
    bool broken;
};
void bm_tf_values_init(struct bm_tf_values *values, const struct bm_tf_feature *feature);
bool bm_tf_next_int64(struct bm_tf_values *values, int64_t *ret_value);
bool bm_tf_next_float(struct bm_tf_values *values, float *ret_value);
bool bm_tf_next_bytes(struct bm_tf_values *values, const unsigned char **ret_data,
                      uint64_t *ret_size);
// How many there are. False: the list is broken.
bool bm_tf_count(const struct bm_tf_feature *feature, uint64_t *ret_n);
