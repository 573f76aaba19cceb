// table.c -- rows of a table, from a server that is started for it: how long until the first batch
// is here, and how many rows a second come then. table_data.py makes the tables and the pipelines.
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"

enum { CONFIG_MAX = 8192 };

#define FOLDER "build/bench-table/"
#define PEERS_PYTHON "build/peers/table/bin/python"

void bench_table_make(void)
{
    // Python of the peers, where it is there, can also write what only they read.
    int status = system("python=" PEERS_PYTHON "; [ -x $python ] || python=python3; "
                        "exec $python tests/bench/table_data.py >&2");
    if (status != 0)
        fprintf(stderr, "bench: the tables cannot be made: python3 and numpy are needed\n");
}

static void config_read(const char *pipeline, char *ret_yaml)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, FOLDER "%s.yaml", pipeline);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        bench_die(path, "table_data.py did not make it");
    ret_yaml[fread(ret_yaml, 1, CONFIG_MAX - 1, file)] = '\0';
    fclose(file);
}

void bench_table(const struct bench_setup *setup, const void *work, double *values)
{
    const struct bench_stream *stream = work;
    static char config_yaml[CONFIG_MAX];
    struct bench_server server;
    struct bench_taking taking;
    config_read(stream->pipeline, config_yaml);
    double start = bench_now();
    bench_server_start(&server, config_yaml, NULL);
    bench_stream_take(server.url, stream, bench_stream_batches(setup, stream), true, &taking);
    bench_server_stop(&server);
    values[0] = bench_stream_value(stream, (double)taking.nbatches / (taking.end - taking.opened));
    values[1] = taking.first - start;
}
