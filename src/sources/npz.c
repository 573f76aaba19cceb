// npz.c -- several arrays in one file, as numpy.savez() and numpy.savez_compressed() write them: a
// zip archive of what numpy.save() writes.
#include <stdlib.h>
#include <string.h>

#include "base/name.h"
#include "sources/array_source.h"
#include "sources/types.h"
#include "sources/zip.h"

struct npz_config {
    char *path;
    struct bm_text_map components;
    char *id;
};

static const struct bm_param npz_params[] = {
    BM_PARAM(struct npz_config, path, BM_PARAM_TEXT, .required = true,
             .doc = "the file; compressed arrays of it are kept in memory"),
    BM_PARAM(struct npz_config, components, BM_PARAM_TEXT_MAP,
             .doc = "{name: array, ...}; item i is row i of each of them. Default: all arrays "
                    "under their own names"),
    BM_PARAM(struct npz_config, id, BM_PARAM_TEXT,
             .doc = "a text to change whenever the data change; without it the file is read "
                    "through at the start, to know equal data again"),
};

#define SUFFIX ".npy"

// "x" for "x.npy"; 0: it is none.
static size_t stem_length(const char *member)
{
    size_t length = strlen(member), suffix = strlen(SUFFIX);
    return length > suffix && strcmp(member + length - suffix, SUFFIX) == 0 ? length - suffix : 0;
}

// ---- Which member is which component ----

static void names_free(struct bm_text_map *names)
{
    for (unsigned i = 0; i < names->n; i++) {
        free(names->keys[i]);
        free(names->values[i]);
    }
    free(names->keys);
    free(names->values);
}

static enum bm_status names_add(struct bm_text_map *names, const char *name, size_t length,
                                const char *member, const char *where, struct bm_error *err)
{
    char *key = strndup(name, length), *value = strdup(member);
    if (key == NULL || value == NULL) {
        free(key);
        free(value);
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    }
    names->keys[names->n] = key;
    names->values[names->n++] = value;
    return BM_OK;
}

static enum bm_status names_of_all(const struct bm_zip *zip, struct bm_text_map *names,
                                   const char *where, struct bm_error *err)
{
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < zip->n && status == BM_OK; i++) {
        size_t length = stem_length(zip->members[i].name);
        if (length == 0)
            return bm_fail(err, BM_INVALID_ARGUMENT, where,
                           "expected arrays (names that end in " SUFFIX "), got %.80s; say with "
                           "`components` which ones you want",
                           zip->members[i].name);
        status = names_add(names, zip->members[i].name, length, zip->members[i].name, where, err);
    }
    return status;
}

// An array is written without its suffix, as NumPy does.
static enum bm_status names_given(const struct bm_zip *zip, const struct bm_text_map *given,
                                  struct bm_text_map *names, const char *where,
                                  struct bm_error *err)
{
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < given->n && status == BM_OK; i++) {
        const char *found = NULL;
        for (unsigned m = 0; m < zip->n; m++) {
            const char *member = zip->members[m].name;
            size_t length = stem_length(member);
            if (length == strlen(given->values[i]) &&
                strncmp(member, given->values[i], length) == 0)
                found = member;
        }
        if (found == NULL)
            return bm_fail(err, BM_NOT_FOUND, where, "expected an array of the file, got \"%.80s\"",
                           given->values[i]);
        status = names_add(names, given->keys[i], strlen(given->keys[i]), found, where, err);
    }
    return status;
}

static enum bm_status names_find(const struct bm_zip *zip, const struct npz_config *config,
                                 struct bm_text_map *names, const char *where, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    unsigned n = config->components.n > 0 ? config->components.n : zip->n;
    if (n == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected at least one array, got none");
    if (n > BM_COMPONENTS_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected at most %d arrays, got %u",
                       BM_COMPONENTS_MAX, n);
    names->keys = calloc(n, sizeof names->keys[0]);
    names->values = calloc(n, sizeof names->values[0]);
    if (names->keys == NULL || names->values == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    bm_params_where(where, "components", text);
    return config->components.n > 0 ? names_given(zip, &config->components, names, text, err)
                                    : names_of_all(zip, names, text, err);
}

// ---- The source ----

static enum bm_status npz_open(const void *config_, const char *directory, const char *where,
                               struct bm_source **ret_source, struct bm_error *err)
{
    const struct npz_config *config = config_;
    char text[BM_ERROR_WHERE_MAX];
    struct bm_file file;
    struct bm_zip zip = {0};
    struct bm_text_map names = {0};
    enum bm_status status =
        bm_file_open(&file, directory, config->path, bm_params_where(where, "path", text), err);
    if (status != BM_OK)
        return status;
    status = bm_zip_open(&file, &zip, err);
    if (status == BM_OK)
        status = names_find(&zip, config, &names, where, err);
    if (status == BM_OK) {
        const struct bm_array_format format = {
            .type = &bm_npz_source, .zip = &zip, .parse = bm_npy_parse};
        const struct bm_array_config arrays = {
            .path = config->path, .components = names, .id = config->id};
        status = bm_array_open(&format, &arrays, directory, where, ret_source, err);
    }
    names_free(&names);
    bm_zip_free(&zip);
    bm_file_close(&file);
    return status;
}

const struct bm_source_type bm_npz_source = {
    .name = "npz",
    .doc = "Arrays that numpy.savez() or numpy.savez_compressed() wrote into one file, in C order "
           "and of little-endian numbers; the first axis counts the items. Rows of arrays that are "
           "not compressed are read when they are asked for.",
    .params = npz_params,
    .nparams = sizeof npz_params / sizeof npz_params[0],
    .config_bytes = sizeof(struct npz_config),
    .open = npz_open,
    .close = bm_array_close,
    .read = bm_array_read,
};
