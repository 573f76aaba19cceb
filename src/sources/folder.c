// folder.c -- a folder of files as items, as image classifiers keep their data: a subfolder for
// each class.
#include <errno.h>
#include <fts.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/utf8.h"
#include "sources/files.h"
#include "sources/identity.h"
#include "sources/types.h"

enum { CLASSES_SUBFOLDER, CLASSES_NONE };
enum { IDENTITY_NAMES, IDENTITY_CONTENTS };

struct folder_config {
    char *path, *component;
    struct bm_texts extensions;
    int classes, identity;
    bool follow_links;
};

static const struct bm_param folder_params[] = {
    BM_PARAM(struct folder_config, path, BM_PARAM_TEXT, .required = true, .doc = "the folder"),
    BM_PARAM(struct folder_config, extensions, BM_PARAM_TEXTS,
             .doc = "how names of items end, in either case; other files are left out; default "
                    "jpg, jpeg and png"),
    BM_PARAM(struct folder_config, component, BM_PARAM_NAME, .fallback = "image",
             .doc = "name of the component with the bytes of the files"),
    BM_PARAM(struct folder_config, classes, BM_PARAM_CHOICE, .fallback = "subfolder",
             .choices = {[CLASSES_SUBFOLDER] = "subfolder", [CLASSES_NONE] = "none"},
             .doc = "subfolder: a component `label` with the number of the subfolder, from 0 in "
                    "the order of their names, which are its vocabulary; none: no labels"),
    BM_PARAM(struct folder_config, follow_links, BM_PARAM_BOOL, .fallback = "true",
             .doc = "whether symbolic links are followed; false: one is an error. A loop is one "
                    "always"),
    BM_PARAM(struct folder_config, identity, BM_PARAM_CHOICE, .fallback = "names",
             .choices = {[IDENTITY_NAMES] = "names", [IDENTITY_CONTENTS] = "contents"},
             .doc = "what tells these data from others: names and sizes of the files, or also "
                    "every byte, which reads them all at the start"),
};

enum { FOLDER_NPARAMS = sizeof folder_params / sizeof folder_params[0] };

struct folder {
    struct bm_source base;
    struct bm_files files;
    int label, name;  // components; -1: none
    uint32_t *labels; // [n], or NULL
};

// ---- Finding the files ----

static bool name_fits(const struct folder_config *config, const char *name)
{
    static char *const usual[] = {"jpg", "jpeg", "png"};
    const char *dot = strrchr(name, '.');
    unsigned n = config->extensions.n == 0 ? 3 : config->extensions.n;
    char *const *extensions = config->extensions.n == 0 ? usual : config->extensions.values;
    for (unsigned i = 0; i < n && dot != NULL; i++) {
        const char *extension = extensions[i] + (extensions[i][0] == '.');
        if (strcasecmp(dot + 1, extension) == 0)
            return true;
    }
    return false;
}

// What fts says about one entry of the tree; `root` is the length of the folder's own path.
static enum bm_status entry_take(struct folder *folder, const struct folder_config *config,
                                 const FTSENT *entry, size_t root, struct bm_error *err)
{
    const char *name = entry->fts_path + root;
    name += name[0] == '/';
    switch (entry->fts_info) {
    case FTS_D:
    case FTS_DP:
    case FTS_DOT:
        return BM_OK;
    case FTS_F:
        if (!bm_utf8_valid(name, strlen(name)))
            return bm_fail(err, BM_INVALID_ARGUMENT, entry->fts_path,
                           "expected names in UTF-8, as they are given to clients");
        return name_fits(config, name)
                   ? bm_files_add(&folder->files, name, (uint64_t)entry->fts_statp->st_size, err)
                   : BM_OK;
    case FTS_DC:
        return bm_fail(err, BM_INVALID_ARGUMENT, entry->fts_path,
                       "leads back to %s, which it lies in", entry->fts_cycle->fts_path);
    case FTS_SL:
        return bm_fail(err, BM_INVALID_ARGUMENT, entry->fts_path,
                       "expected no symbolic link, as follow_links is false");
    case FTS_SLNONE:
        return bm_fail(err, BM_NOT_FOUND, entry->fts_path, "is a link to nothing");
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        errno = entry->fts_errno;
        return bm_fail(err, BM_FAILED_PRECONDITION, entry->fts_path, "cannot be read: %m");
    default: // devices, pipes, sockets: no items, whatever they are called
        return BM_OK;
    }
}

static enum bm_status folder_find(struct folder *folder, const struct folder_config *config,
                                  char *path, const char *where, struct bm_error *err)
{
    char *const roots[] = {path, NULL};
    FTS *tree =
        fts_open(roots, (config->follow_links ? FTS_LOGICAL : FTS_PHYSICAL) | FTS_NOCHDIR, NULL);
    if (tree == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "cannot look through %s: %m", path);
    enum bm_status status = BM_OK;
    size_t root = strlen(path);
    errno = 0;
    for (const FTSENT *entry; status == BM_OK && (entry = fts_read(tree)) != NULL; errno = 0)
        status = entry_take(folder, config, entry, root, err);
    if (status == BM_OK && errno != 0)
        status = bm_fail(err, BM_FAILED_PRECONDITION, where, "cannot look through %s: %m", path);
    fts_close(tree);
    if (status == BM_OK && folder->files.n == 0)
        status = bm_fail(err, BM_INVALID_ARGUMENT, where,
                         "expected at least one file whose name ends in %s, got none in %s",
                         config->extensions.n == 0 ? ".jpg, .jpeg or .png" : "one of `extensions`",
                         path);
    return status;
}

// ---- Classes ----

static enum bm_status folder_label(struct folder *folder, struct bm_vocabulary *vocabulary,
                                   struct bm_error *err)
{
    folder->labels = malloc(folder->files.n * sizeof folder->labels[0]);
    if (folder->labels == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for labels");
    for (uint64_t i = 0; i < folder->files.n; i++) {
        const char *name = bm_files_name(&folder->files, i);
        const char *slash = strchr(name, '/');
        uint64_t label = 0;
        if (slash == NULL)
            return bm_fail(err, BM_INVALID_ARGUMENT, name,
                           "expected every file in a subfolder of its class, or classes: none");
        enum bm_status status =
            bm_vocabulary_add(vocabulary, name, (size_t)(slash - name), &label, err);
        if (status != BM_OK)
            return status;
        folder->labels[i] = (uint32_t)label;
    }
    // By name: "a-b/x" comes before "a/x", but "a" before "a-b".
    uint64_t *sorted = malloc(bm_vocabulary_count(vocabulary) * sizeof sorted[0]);
    if (sorted == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for labels");
    enum bm_status status = bm_vocabulary_sort(vocabulary, sorted, err);
    for (uint64_t i = 0; i < folder->files.n && status == BM_OK; i++)
        folder->labels[i] = (uint32_t)sorted[folder->labels[i]];
    free(sorted);
    return status;
}

// ---- Opening ----

static enum bm_status schema_append(struct folder *folder, const char *name, enum bm_dtype dtype,
                                    struct bm_vocabulary *vocabulary, struct bm_error *err)
{
    struct bm_component component = {
        .dtype = dtype, .ragged = bm_dtype_is_text(dtype), .vocabulary = vocabulary};
    memcpy(component.name, name, strlen(name) + 1);
    return bm_schema_add(&folder->base.schema, &component, err);
}

static enum bm_status folder_build(struct folder *folder, const struct folder_config *config,
                                   struct bm_error *err)
{
    struct bm_vocabulary *vocabulary = NULL;
    enum bm_status status = schema_append(folder, config->component, BM_BYTES, NULL, err);
    folder->label = config->classes == CLASSES_NONE ? -1 : 1;
    folder->name = config->classes == CLASSES_NONE ? 1 : 2;
    if (status == BM_OK && folder->label >= 0) {
        status = bm_vocabulary_new(&vocabulary, err);
        if (status == BM_OK)
            status = folder_label(folder, vocabulary, err);
        if (status == BM_OK)
            status = schema_append(folder, "label", BM_INT64, vocabulary, err);
        bm_vocabulary_unref(vocabulary);
    }
    return status == BM_OK ? schema_append(folder, "name", BM_STRING, NULL, err) : status;
}

static enum bm_status folder_identify(struct folder *folder, const struct folder_config *config,
                                      struct bm_error *err)
{
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    bm_identity_add_source(hash, &folder->base);
    enum bm_status status =
        bm_files_identify(&folder->files, config->identity == IDENTITY_CONTENTS, hash, err);
    folder->base.identity = bm_hash_end(hash);
    bm_hash_free(hash);
    return status;
}

static void folder_close(struct bm_source *source)
{
    struct folder *folder = (struct folder *)source;
    bm_files_close(&folder->files);
    bm_schema_fini(&source->schema);
    free(folder->labels);
    free(folder);
}

static enum bm_status folder_open(const void *config_, const char *directory, const char *where,
                                  struct bm_source **ret_source, struct bm_error *err)
{
    const struct folder_config *config = config_;
    char text[BM_ERROR_WHERE_MAX];
    where = bm_params_where(where, "path", text);
    struct folder *folder = calloc(1, sizeof *folder);
    char *path = bm_source_path(directory, config->path);
    if (folder == NULL || path == NULL) {
        free(folder);
        free(path);
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    }
    folder->base.type = &bm_folder_source;
    bm_schema_init(&folder->base.schema);
    enum bm_status status = bm_files_open(&folder->files, directory, config->path, where, err);
    if (status == BM_OK)
        status = folder_find(folder, config, path, where, err);
    free(path);
    bm_files_sort(&folder->files);
    folder->base.nitems = folder->files.n;
    if (status == BM_OK)
        status = folder_build(folder, config, err);
    if (status == BM_OK)
        status = folder_identify(folder, config, err);
    if (status != BM_OK) {
        folder_close(&folder->base);
        return status;
    }
    *ret_source = &folder->base;
    return BM_OK;
}

static enum bm_status folder_read(const struct bm_source *source, struct bm_batch *batch,
                                  int64_t *ret_row, struct bm_error *err)
{
    const struct folder *folder = (const struct folder *)source;
    for (uint64_t row = 0; row < batch->nitems && folder->label >= 0; row++) {
        int64_t label = folder->labels[batch->items[row]];
        memcpy(batch->tensors[folder->label].data + row * sizeof label, &label, sizeof label);
    }
    enum bm_status status = bm_files_read_names(&folder->files, batch, (unsigned)folder->name, err);
    return status == BM_OK ? bm_files_read(&folder->files, batch, 0, ret_row, err) : status;
}

static enum bm_status folder_numbers(const struct bm_source *source, unsigned c,
                                     double *ret_numbers, struct bm_error *err)
{
    (void)err;
    const struct folder *folder = (const struct folder *)source;
    for (uint64_t i = 0; i < source->nitems; i++) {
        if ((int)c == folder->label)
            ret_numbers[i] = folder->labels[i];
        else if ((int)c == folder->name)
            ret_numbers[i] = (double)strlen(bm_files_name(&folder->files, i));
        else
            ret_numbers[i] = (double)folder->files.entries[i].size_bytes;
    }
    return BM_OK;
}

const struct bm_source_type bm_folder_source = {
    .name = "folder",
    .doc = "The files of a folder and its subfolders, in the order of their names: component "
           "`image` (bytes, not decoded), `label` (int64) by subfolder, `name` (string).",
    .params = folder_params,
    .nparams = FOLDER_NPARAMS,
    .config_bytes = sizeof(struct folder_config),
    .open = folder_open,
    .close = folder_close,
    .read = folder_read,
    .numbers = folder_numbers,
};
