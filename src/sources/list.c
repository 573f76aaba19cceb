// list.c -- files that a text lists, a line each, with labels or without.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/utf8.h"
#include "sources/file.h"
#include "sources/labelled.h"
#include "sources/types.h"

enum { SEPARATOR_NONE, SEPARATOR_TAB, SEPARATOR_COMMA, SEPARATOR_SPACE, SEPARATOR_AUTO };

struct list_config {
    char *path, *root, *component;
    int separator, identity;
};

static const struct bm_param list_params[] = {
    BM_PARAM(struct list_config, path, BM_PARAM_TEXT, .required = true,
             .doc = "the text: the path of a file in each line, and perhaps its label behind it; "
                    "empty lines are left out"),
    BM_PARAM(struct list_config, root, BM_PARAM_TEXT,
             .doc = "the folder that the paths are in, none of which may lead out of it by `..`; "
                    "default: the one that the text is in"),
    BM_PARAM(struct list_config, separator, BM_PARAM_CHOICE, .fallback = "auto",
             .choices = {[SEPARATOR_NONE] = "none",
                         [SEPARATOR_TAB] = "tab",
                         [SEPARATOR_COMMA] = "comma",
                         [SEPARATOR_SPACE] = "space",
                         [SEPARATOR_AUTO] = "auto"},
             .doc = "between path and label, where it comes last in the line; none: there are no "
                    "labels; auto: the first of tab, comma and space that the first line has"),
    BM_PARAM(struct list_config, component, BM_PARAM_NAME, .fallback = "image",
             .doc = "name of the component with the bytes of the files"),
    BM_PARAM(struct list_config, identity, BM_PARAM_CHOICE, .fallback = "names",
             .choices = {[BM_LABELLED_NAMES] = "names", [BM_LABELLED_CONTENTS] = "contents"},
             .doc = "what tells these data from others: names and sizes of the files and their "
                    "labels, or also every byte, which reads them all at the start"),
};

struct reading {
    const struct list_config *config;
    struct bm_labelled *list;
    struct bm_content content;
    char *root;
    const char *name; // of the text, for errors
    uint64_t line;
    char separator;                   // 0: none
    bool words;                       // some label is no integer
    struct bm_vocabulary *vocabulary; // of all labels
    uint64_t capacity;                // of list->labels
};

static enum bm_status line_fail(const struct reading *reading, const char *expected,
                                const char *got, struct bm_error *err)
{
    char where[BM_ERROR_WHERE_MAX];
    return bm_fail(err, BM_INVALID_ARGUMENT,
                   bm_file_where(reading->name, where, "line %" PRIu64, reading->line),
                   "expected %s, got \"%.100s\"", expected, got);
}

// ---- One line ----

static char separator_of(const struct list_config *config, const char *line)
{
    static const char separators[] = {
        [SEPARATOR_TAB] = '\t', [SEPARATOR_COMMA] = ',', [SEPARATOR_SPACE] = ' '};
    if (config->separator != SEPARATOR_AUTO)
        return separators[config->separator];
    for (int i = SEPARATOR_TAB; i <= SEPARATOR_SPACE; i++) {
        if (strchr(line, separators[i]) != NULL)
            return separators[i];
    }
    return '\0';
}

// What openat() may be given: the path below the root.
static const char *path_below(const struct reading *reading, const char *path)
{
    const char *root = reading->root;
    size_t length = strlen(root);
    if (path[0] == '/') {
        while (length > 0 && root[length - 1] == '/')
            length--;
        if (strncmp(path, root, length) != 0 || path[length] != '/')
            return NULL;
        path += length;
        path += strspn(path, "/");
    }
    for (const char *at = path; at != NULL; at = strchr(at, '/')) {
        at += at[0] == '/';
        if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || at[2] == '\0'))
            return NULL;
    }
    return path;
}

static enum bm_status label_add(struct reading *reading, const char *label, struct bm_error *err)
{
    struct bm_labelled *list = reading->list;
    if (list->files.n >= reading->capacity) {
        uint64_t capacity = reading->capacity == 0 ? 64 : 2 * reading->capacity;
        int64_t *grown = realloc(list->labels, capacity * sizeof grown[0]);
        if (grown == NULL)
            return bm_fail(err, BM_RESOURCE_EXHAUSTED, reading->name, "out of memory for labels");
        list->labels = grown;
        reading->capacity = capacity;
    }
    char *end;
    errno = 0;
    strtoll(label, &end, 10);
    reading->words = reading->words || end == label || *end != '\0' || errno != 0;
    uint64_t index = 0;
    enum bm_status status =
        bm_vocabulary_add(reading->vocabulary, label, strlen(label), &index, err);
    list->labels[list->files.n] = (int64_t)index;
    return status;
}

static enum bm_status line_read(struct reading *reading, char *line, struct bm_error *err)
{
    struct bm_files *files = &reading->list->files;
    if (!bm_utf8_valid(line, strlen(line)))
        return line_fail(reading, "UTF-8 text, as names are given to clients", "other bytes", err);
    if (files->n == 0)
        reading->separator = separator_of(reading->config, line);
    if (reading->separator != '\0') {
        char *label = strrchr(line, reading->separator);
        if (label == NULL || label[1] == '\0')
            return line_fail(reading, "a path and a label, as in the first line", line, err);
        *label++ = '\0';
        enum bm_status status = label_add(reading, label, err);
        if (status != BM_OK)
            return status;
    }
    const char *path = path_below(reading, line);
    if (path == NULL || path[0] == '\0')
        return line_fail(reading, "a path below `root`", line, err);
    // One that is not there is an error of its item, like one that goes later.
    struct stat info;
    bool there = fstatat(files->folder, path, &info, 0) == 0 && S_ISREG(info.st_mode);
    return bm_files_add(files, path, there ? (uint64_t)info.st_size : 0, err);
}

// ---- The text ----

static enum bm_status lines_read(struct reading *reading, struct bm_error *err)
{
    enum bm_status status = BM_OK;
    char *at = reading->content.data, *end = at + reading->content.size;
    while (at < end && status == BM_OK) {
        char *newline = memchr(at, '\n', (size_t)(end - at));
        char *next = newline == NULL ? end : newline + 1;
        if (newline == NULL)
            newline = end;
        reading->line++;
        if (memchr(at, '\0', (size_t)(newline - at)) != NULL)
            return line_fail(reading, "text", "a byte 0", err);
        *newline = '\0';
        if (newline > at && newline[-1] == '\r')
            newline[-1] = '\0';
        if (*at != '\0')
            status = line_read(reading, at, err);
        at = next;
    }
    return status;
}

// Labels are numbers if all of them are; otherwise words, numbered in the order of the words.
static enum bm_status labels_finish(struct reading *reading, struct bm_error *err)
{
    struct bm_labelled *list = reading->list;
    if (reading->words)
        return bm_labelled_sort(list, reading->vocabulary, err);
    for (uint64_t i = 0; i < list->files.n; i++) {
        const char *name = bm_vocabulary_name(reading->vocabulary, (uint64_t)list->labels[i]);
        list->labels[i] = strtoll(name, NULL, 10);
    }
    return BM_OK;
}

static enum bm_status list_build(struct reading *reading, struct bm_error *err)
{
    struct bm_labelled *list = reading->list;
    enum bm_status status = bm_vocabulary_new(&reading->vocabulary, err);
    if (status == BM_OK)
        status = lines_read(reading, err);
    if (status == BM_OK && list->files.n == 0)
        status = bm_fail(err, BM_INVALID_ARGUMENT, reading->name,
                         "expected at least one path, got none");
    if (status == BM_OK && list->labels != NULL)
        status = labels_finish(reading, err);
    if (status == BM_OK)
        status = bm_labelled_finish(list, reading->config->component,
                                    reading->words ? reading->vocabulary : NULL,
                                    reading->config->identity, err);
    bm_vocabulary_unref(reading->vocabulary);
    return status;
}

// From malloc(); NULL: out of memory.
static char *root_of(const struct list_config *config)
{
    const char *slash = strrchr(config->path, '/');
    if (config->root != NULL)
        return strdup(config->root);
    return slash == NULL ? strdup(".") : strndup(config->path, (size_t)(slash - config->path) + 1);
}

static enum bm_status list_open(const void *config_, const char *directory, const char *where,
                                struct bm_source **ret_source, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    struct reading reading = {.config = config_};
    struct bm_file file;
    enum bm_status status = bm_file_open(&file, directory, reading.config->path,
                                         bm_params_where(where, "path", text), err);
    if (status != BM_OK)
        return status;
    reading.root = root_of(reading.config);
    if (reading.root == NULL)
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    else
        status = bm_labelled_new(&bm_list_source, directory, reading.root,
                                 bm_params_where(where, "root", text), &reading.list, err);
    if (status != BM_OK)
        goto out;
    reading.name = file.name;
    status = bm_file_load(&file, &reading.content, err);
    if (status == BM_OK)
        status = list_build(&reading, err);
    bm_content_free(&reading.content);
    if (status == BM_OK)
        *ret_source = &reading.list->base;
    else
        bm_labelled_close(&reading.list->base);
out:
    free(reading.root);
    bm_file_close(&file);
    return status;
}

const struct bm_source_type bm_list_source = {
    .name = "list",
    .doc = "Files that a text lists, in its order: component `image` (bytes, not decoded), `label` "
           "(int64: the numbers in the text, or those of its words, in their order) and `name` "
           "(string). A file that is not there is an error of its item.",
    .params = list_params,
    .nparams = sizeof list_params / sizeof list_params[0],
    .config_bytes = sizeof(struct list_config),
    .open = list_open,
    .close = bm_labelled_close,
    .read = bm_labelled_read,
    .numbers = bm_labelled_numbers,
};
