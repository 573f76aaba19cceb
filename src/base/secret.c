#include "base/secret.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static enum bm_status secret_check(int fd, const char *path, const char *what, struct bm_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, path, "cannot read: %m");
    if (!S_ISREG(info.st_mode))
        return bm_fail(err, BM_INVALID_ARGUMENT, path,
                       "expected a regular file with a %s, got something else", what);
    if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return bm_fail(err, BM_PERMISSION_DENIED, path,
                       "expected a %s that only its owner can read (chmod 600), got mode %04o",
                       what, (unsigned)(info.st_mode & 07777));
    if (info.st_uid != 0 && info.st_uid != geteuid())
        return bm_fail(err, BM_PERMISSION_DENIED, path,
                       "expected a %s that is root's or this user's (%u), got user %u's", what,
                       (unsigned)geteuid(), (unsigned)info.st_uid);
    return BM_OK;
}

enum bm_status bm_secret_open(const char *path, const char *what, int *ret_fd, struct bm_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a FIFO must not hold us up
    if (fd < 0)
        return bm_fail(err, BM_NOT_FOUND, path, "cannot open the %s: %m", what);
    enum bm_status status = secret_check(fd, path, what, err);
    if (status == BM_OK)
        *ret_fd = fd;
    else
        close(fd);
    return status;
}
