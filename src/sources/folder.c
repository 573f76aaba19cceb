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
#include "sources/labelled.h"
#include "sources/types.h"

enum { CLASSES_SUBFOLDER, CLASSES_NONE };

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
             .choices = {[BM_LABELLED_NAMES] = "names", [BM_LABELLED_CONTENTS] = "contents"},
             .doc = "what tells these data from others: names and sizes of the files, or also "
                    "every byte, which reads them all at the start"),
};

enum { FOLDER_NPARAMS = sizeof folder_params / sizeof folder_params[0] };

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
static enum bm_status entry_take(struct bm_labelled *folder, const struct folder_config *config,
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

static enum bm_status folder_find(struct bm_labelled *folder, const struct folder_config *config,
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

// By name: "a-b/x" comes before "a/x", but "a" before "a-b".
static enum bm_status folder_label(struct bm_labelled *folder, struct bm_vocabulary *vocabulary,
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
        folder->labels[i] = (int64_t)label;
    }
    return bm_labelled_sort(folder, vocabulary, err);
}

// ---- Opening ----

static enum bm_status folder_build(struct bm_labelled *folder, const struct folder_config *config,
                                   struct bm_error *err)
{
    struct bm_vocabulary *vocabulary = NULL;
    enum bm_status status = BM_OK;
    bm_files_sort(&folder->files);
    if (config->classes != CLASSES_NONE) {
        status = bm_vocabulary_new(&vocabulary, err);
        if (status == BM_OK)
            status = folder_label(folder, vocabulary, err);
    }
    if (status == BM_OK)
        status = bm_labelled_finish(folder, config->component, vocabulary, config->identity, err);
    bm_vocabulary_unref(vocabulary);
    return status;
}

static enum bm_status folder_open(const void *config_, const char *directory, const char *where,
                                  struct bm_source **ret_source, struct bm_error *err)
{
    const struct folder_config *config = config_;
    char text[BM_ERROR_WHERE_MAX];
    where = bm_params_where(where, "path", text);
    struct bm_labelled *folder;
    enum bm_status status =
        bm_labelled_new(&bm_folder_source, directory, config->path, where, &folder, err);
    if (status != BM_OK)
        return status;
    char *path = bm_source_path(directory, config->path);
    status = path == NULL ? bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory")
                          : folder_find(folder, config, path, where, err);
    free(path);
    if (status == BM_OK)
        status = folder_build(folder, config, err);
    if (status != BM_OK) {
        bm_labelled_close(&folder->base);
        return status;
    }
    *ret_source = &folder->base;
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
    .close = bm_labelled_close,
    .read = bm_labelled_read,
    .numbers = bm_labelled_numbers,
};
