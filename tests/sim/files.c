// Files in memory, and what is mapped of them, that belong to processes: the system's functions as
// the linker's --wrap turns them here. So a killed process leaves none behind, and another's number
// of a file means what it means between real processes. Pid and descriptors are the same in each
// replay, as they are in messages.
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "sim/world.h"

enum { PID = 1000, FIRST_FD = 300, FILES_MAX = 1024, MAPS_MAX = 65536 };

void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t size);
int __real_memfd_create(const char *name, unsigned flags);
int __real_open(const char *path, int flags, ...);
int __real_close(int fd);
int __real_stat(const char *path, struct stat *ret_info);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t size);
int __wrap_memfd_create(const char *name, unsigned flags);
int __wrap_open(const char *path, int flags, ...);
int __wrap_close(int fd);
int __wrap_stat(const char *path, struct stat *ret_info);
pid_t __wrap_getpid(void);

static struct map {
    void *at;
    size_t size;
    const struct sim_process *owner;
} maps[MAPS_MAX];
static size_t nmaps;
static const struct sim_process *owners[FILES_MAX]; // by descriptor

static int file_own(int fd)
{
    if (fd < 0 || sim.current == NULL)
        return fd;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);
    __real_close(fd);
    BM_ASSERT(own < FILES_MAX);
    if (own >= 0)
        owners[own] = sim.current;
    return own;
}

void sim_files_kill(const struct sim_process *process)
{
    for (size_t i = nmaps; i-- > 0;) {
        if (maps[i].owner != process)
            continue;
        __real_munmap(maps[i].at, maps[i].size);
        maps[i] = maps[--nmaps];
    }
    for (int fd = FIRST_FD; fd < FILES_MAX; fd++) {
        if (owners[fd] == process)
            __wrap_close(fd);
    }
}

size_t sim_files_count(const struct sim_process *process)
{
    size_t n = 0;
    for (size_t i = 0; i < nmaps; i++)
        n += maps[i].owner == process;
    for (int fd = FIRST_FD; fd < FILES_MAX; fd++)
        n += owners[fd] == process;
    return n;
}

// ---- The C library's names ----

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (sim.current != NULL && sim_memory_refuses())
        return MAP_FAILED;
    void *map = __real_mmap(at, size, protection, flags, fd, offset);
    if (map == MAP_FAILED || sim.current == NULL)
        return map;
    BM_ASSERT(nmaps < MAPS_MAX);
    maps[nmaps++] = (struct map){map, size, sim.current};
    return map;
}

int __wrap_munmap(void *at, size_t size)
{
    for (size_t i = 0; i < nmaps; i++) {
        if (maps[i].at == at) {
            maps[i] = maps[--nmaps];
            break;
        }
    }
    return __real_munmap(at, size);
}

int __wrap_memfd_create(const char *name, unsigned flags)
{
    if (sim_memory_refuses())
        return -1;
    return file_own(__real_memfd_create(name, flags));
}

// The path as this process knows it.
static const char *path_own(const char *path, char to[64])
{
    unsigned pid;
    int fd;
    if (sscanf(path, "/proc/%u/fd/%d", &pid, &fd) != 2 || pid != PID)
        return path;
    snprintf(to, 64, "/proc/self/fd/%d", fd);
    return to;
}

int __wrap_open(const char *path, int flags, ...)
{
    char own[64];
    mode_t mode = 0;
    if ((flags & O_CREAT) != 0) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    return file_own(__real_open(path_own(path, own), flags, mode));
}

int __wrap_close(int fd)
{
    if (fd >= FIRST_FD && fd < FILES_MAX)
        owners[fd] = NULL;
    return __real_close(fd);
}

int __wrap_stat(const char *path, struct stat *ret_info)
{
    char own[64];
    return __real_stat(path_own(path, own), ret_info);
}

pid_t __wrap_getpid(void)
{
    return PID;
}
