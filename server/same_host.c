#include "server/same_host.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

bool bm_same_host_open(uint64_t bytes_min, struct bm_same_host *ret_same_host)
{
    enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL };
    struct bm_same_host probe = {.pid = (uint32_t)getpid()};
    if (getrandom(probe.nonce, sizeof probe.nonce, 0) != sizeof probe.nonce)
        return false;
    int fd = memfd_create("batchmill-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return false;
    if (write(fd, probe.nonce, sizeof probe.nonce) != sizeof probe.nonce ||
        fcntl(fd, F_ADD_SEALS, SEALS) != 0) {
        close(fd);
        return false;
    }
    probe.fd = (uint32_t)fd;
    probe.pool = bm_shared_pool_new(bytes_min);
    if (probe.pool == NULL) {
        close(fd);
        return false;
    }
    *ret_same_host = probe;
    return true;
}

void bm_same_host_close(struct bm_same_host *same_host)
{
    close((int)same_host->fd);
    bm_shared_pool_free(same_host->pool);
}
