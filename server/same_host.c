#include "server/same_host.h"

bool bm_same_host_open(uint64_t bytes_min, struct bm_same_host *ret_same_host)
{
    struct bm_same_host same_host;
    if (!bm_probe_open(&same_host.probe))
        return false;
    same_host.pool = bm_shared_pool_new(bytes_min);
    if (same_host.pool == NULL) {
        bm_probe_close(&same_host.probe);
        return false;
    }
    *ret_same_host = same_host;
    return true;
}

void bm_same_host_close(struct bm_same_host *same_host)
{
    bm_probe_close(&same_host->probe);
    bm_shared_pool_free(same_host->pool);
}
