// The memory budget of who gives none: half of what this process may use, as replies on their way,
// the programs and the kernel's caches need the rest.
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "server/config.h"

// What a control group allows; UINT64_MAX: nothing is said there ("max", or no such file).
static uint64_t limit_read(const char *path)
{
    uint64_t limit = UINT64_MAX;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return limit;
    if (fscanf(file, "%" SCNu64, &limit) != 1) // NOLINT(cert-err34-c): UINT64_MAX on overflow
        limit = UINT64_MAX;
    fclose(file);
    return limit;
}

uint64_t bm_config_default_memory(void)
{
    uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    static const char *const limits[] = {
        "/sys/fs/cgroup/memory.max",                   // version 2
        "/sys/fs/cgroup/memory/memory.limit_in_bytes", // version 1
    };
    for (unsigned i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        uint64_t limit = limit_read(limits[i]);
        bytes = limit < bytes ? limit : bytes;
    }
    return bytes / 2;
}
