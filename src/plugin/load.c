// load.c -- plug-ins from files. Layer: plugin (the only file that includes dlfcn.h).
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "plugin/internal.h"

// ---- Who could have put it there ----

// `what` is what it is, at the beginning of a sentence.
static enum bm_status owner_check(const struct stat *info, const char *what, const char *path,
                                  struct bm_error *err)
{
    // In a folder like /tmp everybody may write, but nobody may replace what is another's.
    bool sticky = S_ISDIR(info->st_mode) && (info->st_mode & S_ISVTX) != 0;
    if ((info->st_mode & (S_IWGRP | S_IWOTH)) != 0 && !sticky)
        return bm_fail(err, BM_PERMISSION_DENIED, path,
                       "%s can be written by others: expected it to be its owner's alone "
                       "(chmod go-w), got mode %04o",
                       what, (unsigned)(info->st_mode & 07777));
    if (info->st_uid != 0 && info->st_uid != geteuid())
        return bm_fail(err, BM_PERMISSION_DENIED, path,
                       "%s: expected it to be root's or this user's (%u), got user %u's", what,
                       (unsigned)geteuid(), (unsigned)info->st_uid);
    return BM_OK;
}

static enum bm_status folder_check(const char *path, struct bm_error *err)
{
    struct stat info;
    char *folder = strdup(path);
    if (folder == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, path, "out of memory");
    char *slash = strrchr(folder, '/');
    slash[slash == folder ? 1 : 0] = '\0';
    enum bm_status status = stat(folder, &info) != 0
                                ? bm_fail(err, BM_INVALID_ARGUMENT, folder, "cannot read: %m")
                                : owner_check(&info, "the plug-in's folder", folder, err);
    free(folder);
    return status;
}

// ---- What is in it ----

static enum bm_status file_hash(int fd, const char *path, uint64_t *ret_hash, struct bm_error *err)
{
    enum { BLOCK = 64 * 1024 };
    unsigned char *block = malloc(BLOCK);
    struct bm_hash *hash = bm_hash_new();
    enum bm_status status = BM_OK;
    ssize_t got = 1;
    if (block == NULL || hash == NULL) {
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, path, "out of memory");
        goto out;
    }
    while (got != 0) {
        got = read(fd, block, BLOCK);
        if (got < 0 && errno != EINTR) {
            status = bm_fail(err, BM_INVALID_ARGUMENT, path, "cannot read: %m");
            goto out;
        }
        if (got > 0)
            bm_hash_add(hash, block, (size_t)got);
    }
    *ret_hash = bm_hash_end(hash) | 1; // 0 is for the product's own code
out:
    bm_hash_free(hash);
    free(block);
    return status;
}

static enum bm_status file_check(const char *path, uint64_t *ret_hash, struct bm_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a FIFO must not hold us up
    if (fd < 0)
        return bm_fail(err, BM_NOT_FOUND, path, "cannot open the plug-in: %m");
    struct stat info;
    enum bm_status status;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        status = bm_fail(err, BM_INVALID_ARGUMENT, path, "expected a shared object, got no file");
    else
        status = owner_check(&info, "the plug-in", path, err);
    if (status == BM_OK)
        status = folder_check(path, err);
    if (status == BM_OK)
        status = file_hash(fd, path, ret_hash, err);
    close(fd);
    return status;
}

// ---- Loading ----

static enum bm_status file_open(const char *path, const struct batchmill_plugin **ret_tables,
                                struct bm_error *err)
{
    const struct batchmill_plugin *(*entry)(unsigned abi);
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (object == NULL) // NOLINTNEXTLINE(concurrency-mt-unsafe): glibc keeps one text per thread
        return bm_fail(err, BM_INVALID_ARGUMENT, path, "cannot load the plug-in: %s", dlerror());
    *(void **)&entry = dlsym(object, "batchmill_plugin");
    if (entry == NULL) {
        dlclose(object);
        return bm_fail(err, BM_INVALID_ARGUMENT, path,
                       "expected a plug-in that exports batchmill_plugin(), got one without");
    }
    // From here on it stays: it may have started threads, and its texts are in our tables.
    *ret_tables = entry(BATCHMILL_PLUGIN_ABI);
    return *ret_tables == NULL
               ? bm_fail(err, BM_FAILED_PRECONDITION, path,
                         "the plug-in does not work with ABI %u, which is the newest here",
                         BATCHMILL_PLUGIN_ABI)
               : BM_OK;
}

enum bm_status bm_plugin_load(struct bm_registry *registry, const char *path,
                              struct bm_plugin *ret_plugin, struct bm_error *err)
{
    const struct batchmill_plugin *tables = NULL;
    uint64_t code = 0;
    char *real = realpath(path, NULL);
    if (real == NULL)
        return bm_fail(err, errno == ENOMEM ? BM_RESOURCE_EXHAUSTED : BM_NOT_FOUND, path,
                       "cannot find the plug-in: %m");
    enum bm_status status = file_check(real, &code, err);
    if (status == BM_OK)
        status = file_open(real, &tables, err);
    if (status == BM_OK)
        status = bm_plugin_register(registry, tables, code, real, ret_plugin, err);
    free(real);
    return status;
}

static int is_object(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return length > 3 && strcmp(entry->d_name + length - 3, ".so") == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name); // alike in every locale
}

static enum bm_status folder_load(struct bm_registry *registry, const char *path,
                                  struct bm_error *err)
{
    struct dirent **entries = NULL;
    int n = scandir(path, &entries, is_object, by_name);
    if (n < 0)
        return bm_fail(err, BM_NOT_FOUND, path, "cannot read the folder of plug-ins: %m");
    enum bm_status status = n > 0 ? BM_OK
                                  : bm_fail(err, BM_NOT_FOUND, path,
                                            "expected plug-ins (*.so) in the folder, got none");
    for (int i = 0; i < n && status == BM_OK; i++) {
        struct bm_plugin plugin;
        char *file = bm_source_path(path, entries[i]->d_name);
        status = file == NULL ? bm_fail(err, BM_RESOURCE_EXHAUSTED, path, "out of memory")
                              : bm_plugin_load(registry, file, &plugin, err);
        free(file);
    }
    for (int i = 0; i < n; i++)
        free(entries[i]);
    free(entries);
    return status;
}

enum bm_status bm_plugins_load(struct bm_registry *registry, const char *path, struct bm_error *err)
{
    struct bm_plugin plugin;
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return folder_load(registry, path, err);
    return bm_plugin_load(registry, path, &plugin, err);
}
