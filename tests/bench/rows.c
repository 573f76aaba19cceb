// rows.c -- the table: every figure, what it is compared with, and the goals.
#include "bench/bench.h"

#define MB "MB/s"
#define RATE "batches/s"
#define IMAGES "images/s"
#define ROWS "rows/s"
#define COUNT(array) ((unsigned)(sizeof(array) / sizeof((array)[0])))

// ---- Work ----

// A gibibyte of data each, and as many batches of numbers as take about as long.
static const struct bench_stream tcp_64k = {"blocks", 1024, 16384, 4, 8192, 0, 255, BENCH_MB};
static const struct bench_stream tcp_1m = {"blocks", 1024, 16384, 64, 1024, 0, 15, BENCH_MB};
static const struct bench_stream tcp_16m = {"blocks", 1024, 16384, 1024, 64, 0, 3, BENCH_MB};
static const struct bench_stream f32_8m = {"floats", 2048, 32768, 256, 128, 0, 3, BENCH_MB};
static const struct bench_stream noop = {"noop3", 1000000, 8, 32, 50000, 3, 1023, BENCH_BATCHES};
// The same at a tenth of the length, for those who take as long for it.
static const struct bench_stream noop_short = {"noop3", 1000000, 8,    32,
                                               5000,    3,       1023, BENCH_BATCHES};
// 16 in flight is a window of 16; each waits 10 ms without a worker.
static const struct bench_stream wait = {"wait", 1000000, 8, 1, 1600, 1, 15, BENCH_BATCHES};

// Pictures of 224 x 224 in 3 channels, of bytes or of floats.
static const struct bench_stream images_u8 = {"images_u8", 2000, 150528, 64, 64, 0, 3, BENCH_ITEMS};
static const struct bench_stream images_plain = {"images_u8_plain", 2000, 150528, 64, 64, 0, 3,
                                                 BENCH_ITEMS};
static const struct bench_stream images_f32 = {"images_f32", 2000, 602112, 64,
                                               64,           0,    3,      BENCH_ITEMS};
static const struct bench_images_work raw_u8 = {&images_u8, false}, raw_f32 = {&images_f32, true};

// Rows of 6 floats, 16 and 3 of one-hot, and a number; or windows of 257 tokens.
#define TABLE(pipeline_, nbatches_)                                                                \
    {                                                                                              \
        (pipeline_), 336776, 108, 1024, (nbatches_), 0, 15, BENCH_ITEMS                            \
    }
static const struct bench_stream table_csv = TABLE("table_csv", 8192);
static const struct bench_stream table_npy = TABLE("table_npy", 8192);
static const struct bench_stream table_sqlite = TABLE("table_sqlite", 1024);
static const struct bench_stream table_arrow = TABLE("table_arrow", 8192);
static const struct bench_stream table_peers = TABLE("table", 2048);
static const struct bench_stream sqlite_keyset = TABLE("table", 256);
static const struct bench_stream table_peers_rows = TABLE("table", 64);
static const struct bench_stream tokens = {"table_tokens", 336776, 2056, 1024,
                                           1024,           0,      15,   BENCH_ITEMS};
static const struct bench_stream tokens_rows = {"table_tokens", 336776, 2056, 1024, 64, 0, 15,
                                                BENCH_ITEMS};

static const struct bench_actions actions_1 = {false, 1}, actions_100 = {false, 100},
                                  actions_10k = {false, 10000}, locked_1 = {true, 1},
                                  locked_10k = {true, 10000};

// ---- Peers ----

enum { GRPC, FLIGHT, TFDATA, TORCH, BATCHFLOW, TABLES, NPEERS };

#define PYTHON "exec build/peers/bin/python tests/bench/peers/"

struct bench_peer bench_peers[NPEERS] = {
    [GRPC] = {.name = "gRPC C++", .command = "exec build/peers/grpc_peer 2>build/peers/grpc.log"},
    [FLIGHT] = {.name = "Arrow Flight", .command = PYTHON "flight.py 2>build/peers/flight.log"},
    [TFDATA] = {.name = "tf.data service", .command = PYTHON "tfdata.py 2>build/peers/tfdata.log"},
    [TORCH] = {.name = "PyTorch DataLoader",
               .command = PYTHON "dataloader.py 2>build/peers/dataloader.log"},
    [BATCHFLOW] = {.name = "BatchFlow prefetch",
                   .command = PYTHON "batchflow_local.py 2>build/peers/batchflow.log"},
    [TABLES] = {.name = "tables in DataLoader",
                .command = "exec build/peers/table/bin/python tests/bench/peers/table.py "
                           "2>build/peers/table.log"},
};
const unsigned bench_npeers = NPEERS;

// ---- Figures ----

enum figure {
    RAW_64K,
    TCP_64K,
    GRPC_64K,
    RAW_1M,
    TCP_1M,
    GRPC_1M,
    RAW_16M,
    TCP_16M,
    GRPC_16M,
    NOOP_REMOTE,
    NOOP_TFDATA,
    NOOP_FLIGHT,
    NOOP_FLIGHT_TABLE,
    NOOP_BATCHFLOW,
    NOOP_TORCH,
    RAW_8M,
    F32_8M,
    F32_FLIGHT,
    F32_TFDATA,
    F32_TFDATA_DEFAULT,
    F32_TORCH,
    IMAGES_RAW,
    IMAGES_U8,
    IMAGES_TFDATA,
    IMAGES_TORCH,
    IMAGES_PLAIN,
    IMAGES_PLAIN_TFDATA,
    IMAGES_RAW_F32,
    IMAGES_F32,
    IMAGES_F32_TFDATA,
    IMAGES_F32_TORCH,
    TABLE_CSV,
    TABLE_CSV_FIRST,
    TABLE_PANDAS_CSV,
    TABLE_PANDAS_CSV_FIRST,
    TABLE_PANDAS_CSV_ROWS,
    TABLE_PANDAS_CSV_PREPARED,
    TABLE_PANDAS_CSV_PREPARED_FIRST,
    TABLE_PANDAS_CSV_ALONE,
    TABLE_PYARROW_CSV,
    TABLE_PYARROW_CSV_FIRST,
    TABLE_NPY,
    TABLE_NPY_FIRST,
    TABLE_NUMPY,
    TABLE_NUMPY_FIRST,
    TABLE_NUMPY_ROWS,
    TABLE_SQLITE,
    TABLE_SQLITE_FIRST,
    TABLE_SQLITE_READ,
    TABLE_SQLITE_READ_FIRST,
    TABLE_SQLITE_KEYSET,
    TABLE_SQLITE_KEYSET_FIRST,
    TABLE_ARROW,
    TABLE_ARROW_FIRST,
    TABLE_PYARROW_FEATHER,
    TABLE_PYARROW_FEATHER_FIRST,
    TABLE_PYARROW_PARQUET,
    TABLE_PYARROW_PARQUET_FIRST,
    TABLE_TOKENS,
    TABLE_TOKENS_FIRST,
    TABLE_NUMPY_TOKENS,
    TABLE_NUMPY_TOKENS_FIRST,
    TABLE_NUMPY_TOKENS_ROWS,
    WAIT_10MS,
    ACTION_1,
    ACTION_100,
    ACTION_10K,
    ACTION_1_LOCKED,
    ACTION_10K_LOCKED,
    STREAMS_SERVED,
    STREAMS_FAIRNESS,
    STREAMS_RSS,
    STREAMS_P99_100,
    STREAMS_P99,
    NNG_ECHO,
    LATENCY_1K,
    RING_1M,
    SAME_HOST_1M,
    EPOCH_FIRST,
    EPOCH_RSS,
    EPOCH_RSS_SMALL,
    NFIGURES
};

#define OURS(row_, unit_, measure_, work_)                                                         \
    {                                                                                              \
        .name = (row_), .row = (row_), .unit = (unit_), .measure = (measure_), .work = (work_)     \
    }
#define LIMIT(name_, row_, unit_, measure_, work_)                                                 \
    {                                                                                              \
        .name = (name_), .row = (row_), .unit = (unit_), .measure = (measure_), .work = (work_)    \
    }
#define PEER(name_, row_, unit_, peer_, work_, variant_)                                           \
    {                                                                                              \
        .name = (name_), .row = (row_), .unit = (unit_), .work = (work_),                          \
        .peer = &bench_peers[peer_], .variant = (variant_)                                         \
    }
#define PART(row_, part_, unit_, measure_, work_)                                                  \
    {                                                                                              \
        .name = (row_), .part = (part_), .row = (row_), .unit = (unit_), .measure = (measure_),    \
        .work = (work_)                                                                            \
    }
// Further values of the measurement before.
#define FURTHER(name_, row_, unit_, value_)                                                        \
    {                                                                                              \
        .name = (name_), .row = (row_), .unit = (unit_), .value = (value_)                         \
    }
#define PART_FURTHER(row_, part_, unit_, value_)                                                   \
    {                                                                                              \
        .name = (row_), .part = (part_), .row = (row_), .unit = (unit_), .value = (value_)         \
    }
// How long it took until there was one.
#define FIRST_BATCH(name_)                                                                         \
    {                                                                                              \
        .name = (name_), .part = "first batch", .row = "table", .unit = "s", .value = 1            \
    }
#define PEER_FIRST_BATCH(name_)                                                                    \
    {                                                                                              \
        .name = (name_), .part = "first batch", .row = "table", .unit = "s", .value = 1,           \
        .peer = &bench_peers[TABLES]                                                               \
    }

// In the order of measuring: what is compared stands side by side, so that a slow spell of the
// machine hits both.
struct bench_figure bench_figures[NFIGURES] = {
    [RAW_64K] = LIMIT("raw_tcp_64k", "tcp_64k", MB, bench_raw_tcp, &tcp_64k),
    [TCP_64K] = OURS("tcp_64k", MB, bench_stream_remote, &tcp_64k),
    [GRPC_64K] = PEER("grpc_64k", "tcp_64k", MB, GRPC, &tcp_64k, "-"),
    [RAW_1M] = LIMIT("raw_tcp_1m", "tcp_1m", MB, bench_raw_tcp, &tcp_1m),
    [TCP_1M] = OURS("tcp_1m", MB, bench_stream_remote, &tcp_1m),
    [GRPC_1M] = PEER("grpc_1m", "tcp_1m", MB, GRPC, &tcp_1m, "-"),
    [RAW_16M] = LIMIT("raw_tcp_16m", "tcp_16m", MB, bench_raw_tcp, &tcp_16m),
    [TCP_16M] = OURS("tcp_16m", MB, bench_stream_remote, &tcp_16m),
    [GRPC_16M] = PEER("grpc_16m", "tcp_16m", MB, GRPC, &tcp_16m, "-"),
    [NOOP_REMOTE] = OURS("noop_remote", RATE, bench_stream_remote, &noop),
    [NOOP_TFDATA] = PEER("tfdata_noop", "noop_remote", RATE, TFDATA, &noop_short, "plain"),
    [NOOP_FLIGHT] = PEER("flight_noop", "noop_remote", RATE, FLIGHT, &noop, "actions"),
    [NOOP_FLIGHT_TABLE] = PEER("flight_table_noop", "noop_remote", RATE, FLIGHT, &noop, "table"),
    [NOOP_BATCHFLOW] = PEER("batchflow_noop", "noop_remote", RATE, BATCHFLOW, &noop_short, "-"),
    [NOOP_TORCH] = PEER("dataloader_noop", "noop_remote", RATE, TORCH, &noop_short, "-"),
    [RAW_8M] = LIMIT("raw_tcp_8m", "f32_8m", MB, bench_raw_tcp, &f32_8m),
    [F32_8M] = OURS("f32_8m", MB, bench_stream_remote, &f32_8m),
    [F32_FLIGHT] = PEER("flight_f32_8m", "f32_8m", MB, FLIGHT, &f32_8m, "-"),
    [F32_TFDATA] = PEER("tfdata_f32_8m", "f32_8m", MB, TFDATA, &f32_8m, "plain"),
    [F32_TFDATA_DEFAULT] = PEER("tfdata_default_f32_8m", "f32_8m", MB, TFDATA, &f32_8m, "default"),
    [F32_TORCH] = PEER("dataloader_f32_8m", "f32_8m", MB, TORCH, &f32_8m, "-"),
    [IMAGES_RAW] = LIMIT("raw_jpeg_u8", "images", IMAGES, bench_raw_jpeg, &raw_u8),
    [IMAGES_U8] = LIMIT("images_u8", "images", IMAGES, bench_stream_remote, &images_u8),
    [IMAGES_TFDATA] = PEER("tfdata_images_u8", "images", IMAGES, TFDATA, &images_u8, "u8"),
    [IMAGES_TORCH] = PEER("dataloader_images_u8", "images", IMAGES, TORCH, &images_u8, "u8"),
    [IMAGES_PLAIN] = LIMIT("images_u8_plain", "images", IMAGES, bench_stream_remote, &images_plain),
    [IMAGES_PLAIN_TFDATA] =
        PEER("tfdata_images_u8_plain", "images", IMAGES, TFDATA, &images_plain, "u8_plain"),
    [IMAGES_RAW_F32] = LIMIT("raw_jpeg_f32", "images", IMAGES, bench_raw_jpeg, &raw_f32),
    [IMAGES_F32] = LIMIT("images_f32", "images", IMAGES, bench_stream_remote, &images_f32),
    [IMAGES_F32_TFDATA] = PEER("tfdata_images_f32", "images", IMAGES, TFDATA, &images_f32, "f32"),
    [IMAGES_F32_TORCH] = PEER("dataloader_images_f32", "images", IMAGES, TORCH, &images_f32, "f32"),
    [TABLE_CSV] = LIMIT("table_csv", "table", ROWS, bench_table, &table_csv),
    [TABLE_CSV_FIRST] = FIRST_BATCH("table_csv"),
    [TABLE_PANDAS_CSV] =
        PEER("pandas_csv", "table", ROWS, TABLES, &table_peers, "pandas_csv.batches"),
    [TABLE_PANDAS_CSV_FIRST] = PEER_FIRST_BATCH("pandas_csv"),
    [TABLE_PANDAS_CSV_ROWS] =
        PEER("pandas_csv_rows", "table", ROWS, TABLES, &table_peers_rows, "pandas_csv.rows"),
    [TABLE_PANDAS_CSV_PREPARED] =
        PEER("pandas_csv_prepared", "table", ROWS, TABLES, &table_peers, "pandas_csv.prepared"),
    [TABLE_PANDAS_CSV_PREPARED_FIRST] = PEER_FIRST_BATCH("pandas_csv_prepared"),
    [TABLE_PANDAS_CSV_ALONE] =
        PEER("pandas_csv_no_workers", "table", ROWS, TABLES, &table_peers, "pandas_csv.alone"),
    [TABLE_PYARROW_CSV] =
        PEER("pyarrow_csv", "table", ROWS, TABLES, &table_peers, "pyarrow_csv.batches"),
    [TABLE_PYARROW_CSV_FIRST] = PEER_FIRST_BATCH("pyarrow_csv"),
    [TABLE_NPY] = LIMIT("table_npy", "table", ROWS, bench_table, &table_npy),
    [TABLE_NPY_FIRST] = FIRST_BATCH("table_npy"),
    [TABLE_NUMPY] = PEER("numpy", "table", ROWS, TABLES, &table_peers, "npy.batches"),
    [TABLE_NUMPY_FIRST] = PEER_FIRST_BATCH("numpy"),
    [TABLE_NUMPY_ROWS] = PEER("numpy_rows", "table", ROWS, TABLES, &table_peers_rows, "npy.rows"),
    [TABLE_SQLITE] = LIMIT("table_sqlite", "table", ROWS, bench_table, &table_sqlite),
    [TABLE_SQLITE_FIRST] = FIRST_BATCH("table_sqlite"),
    [TABLE_SQLITE_READ] =
        PEER("sqlite_read", "table", ROWS, TABLES, &table_peers, "sqlite.batches"),
    [TABLE_SQLITE_READ_FIRST] = PEER_FIRST_BATCH("sqlite_read"),
    [TABLE_SQLITE_KEYSET] =
        PEER("sqlite_keyset", "table", ROWS, TABLES, &sqlite_keyset, "sqlite.keyset"),
    [TABLE_SQLITE_KEYSET_FIRST] = PEER_FIRST_BATCH("sqlite_keyset"),
    [TABLE_ARROW] = LIMIT("table_arrow", "table", ROWS, bench_table, &table_arrow),
    [TABLE_ARROW_FIRST] = FIRST_BATCH("table_arrow"),
    [TABLE_PYARROW_FEATHER] =
        PEER("pyarrow_feather", "table", ROWS, TABLES, &table_peers, "feather.batches"),
    [TABLE_PYARROW_FEATHER_FIRST] = PEER_FIRST_BATCH("pyarrow_feather"),
    [TABLE_PYARROW_PARQUET] =
        PEER("pyarrow_parquet", "table", ROWS, TABLES, &table_peers, "parquet.batches"),
    [TABLE_PYARROW_PARQUET_FIRST] = PEER_FIRST_BATCH("pyarrow_parquet"),
    [TABLE_TOKENS] = LIMIT("table_tokens", "table", ROWS, bench_table, &tokens),
    [TABLE_TOKENS_FIRST] = FIRST_BATCH("table_tokens"),
    [TABLE_NUMPY_TOKENS] = PEER("numpy_tokens", "table", ROWS, TABLES, &tokens, "tokens.batches"),
    [TABLE_NUMPY_TOKENS_FIRST] = PEER_FIRST_BATCH("numpy_tokens"),
    [TABLE_NUMPY_TOKENS_ROWS] =
        PEER("numpy_tokens_rows", "table", ROWS, TABLES, &tokens_rows, "tokens.rows"),
    [WAIT_10MS] = OURS("wait_10ms", RATE, bench_stream_remote, &wait),
    [ACTION_1] = PART("action_cost", "1 stream", "us CPU", bench_engine, &actions_1),
    [ACTION_100] = PART("action_cost", "100 streams", "us CPU", bench_engine, &actions_100),
    [ACTION_10K] = PART("action_cost", "10000 streams", "us CPU", bench_engine, &actions_10k),
    [ACTION_1_LOCKED] =
        PART("action_cost", "1 stream, one lock", "us CPU", bench_engine, &locked_1),
    [ACTION_10K_LOCKED] =
        PART("action_cost", "10000 streams, one lock", "us CPU", bench_engine, &locked_10k),
    [STREAMS_SERVED] = PART("streams_10k", "served", "streams", bench_streams, 0),
    [STREAMS_FAIRNESS] = PART_FURTHER("streams_10k", "fairness", "Jain", 1),
    [STREAMS_RSS] = PART_FURTHER("streams_10k", "above the budget", "MB RSS", 2),
    [STREAMS_P99_100] = FURTHER("p99_of_100_streams", "streams_10k", "us", 3),
    [STREAMS_P99] = PART_FURTHER("streams_10k", "p99", "us", 4),
    [NNG_ECHO] = LIMIT("nng_echo_1k", "latency_1k", "us p50", bench_nng_echo, 0),
    [LATENCY_1K] = OURS("latency_1k", "us p50", bench_latency, 0),
    [RING_1M] = LIMIT("shm_ring_1m", "same_host_1m", MB, bench_shm_ring, &tcp_1m),
    [SAME_HOST_1M] = OURS("same_host_1m", MB, bench_stream_same_host, &tcp_1m),
    [EPOCH_FIRST] = PART("epoch_1e9", "first batch", "ms", bench_epoch, 0),
    [EPOCH_RSS] = PART_FURTHER("epoch_1e9", "memory", "MB RSS", 1),
    [EPOCH_RSS_SMALL] = FURTHER("memory_of_1e3", "epoch_1e9", "MB RSS", 2),
};
const unsigned bench_nfigures = NFIGURES;

// ---- Goals ----

#define AT_LEAST(figure_, to_, goal_)                                                              \
    {                                                                                              \
        .figure = (figure_), .to = (to_), .goal = (goal_)                                          \
    }
#define AT_MOST(figure_, to_, goal_)                                                               \
    {                                                                                              \
        .figure = (figure_), .to = (to_), .goal = (goal_), .at_most = true                         \
    }
#define NEAR_LIMIT(figure_, to_, goal_)                                                            \
    {                                                                                              \
        .figure = (figure_), .to = (to_), .goal = (goal_), .guarded = true                         \
    }
// A limit that needs no measurement.
#define IDEAL(figure_, constant_, text_, goal_)                                                    \
    {                                                                                              \
        .figure = (figure_), .to = -1, .constant = (constant_), .to_text = (text_),                \
        .goal = (goal_), .guarded = true                                                           \
    }
#define BELOW(figure_, constant_, text_)                                                           \
    {                                                                                              \
        .figure = (figure_), .to = -1, .constant = (constant_), .to_text = (text_), .goal = 1,     \
        .at_most = true                                                                            \
    }
#define NOT_FAR_ABOVE(figure_, to_, goal_)                                                         \
    {                                                                                              \
        .figure = (figure_), .to = (to_), .goal = (goal_), .at_most = true, .guarded = true        \
    }
#define INFORM(figure_, to_)                                                                       \
    {                                                                                              \
        .figure = (figure_), .to = (to_)                                                           \
    }

const struct bench_goal bench_goals[] = {
    NEAR_LIMIT(TCP_64K, RAW_64K, 0.80),
    INFORM(TCP_64K, GRPC_64K),
    NEAR_LIMIT(TCP_1M, RAW_1M, 0.80),
    AT_LEAST(TCP_1M, GRPC_1M, 1.5),
    NEAR_LIMIT(TCP_16M, RAW_16M, 0.80),
    AT_LEAST(TCP_16M, GRPC_16M, 1.4),
    AT_LEAST(NOOP_REMOTE, NOOP_TFDATA, 100),
    AT_LEAST(NOOP_REMOTE, NOOP_FLIGHT, 20),
    INFORM(NOOP_REMOTE, NOOP_FLIGHT_TABLE),
    AT_LEAST(NOOP_REMOTE, NOOP_BATCHFLOW, 50),
    INFORM(NOOP_REMOTE, NOOP_TORCH),
    NEAR_LIMIT(F32_8M, RAW_8M, 0.80),
    AT_LEAST(F32_8M, F32_FLIGHT, 1.2),
    AT_LEAST(F32_8M, F32_TFDATA, 1.5),
    AT_LEAST(F32_8M, F32_TFDATA_DEFAULT, 2.5),
    INFORM(F32_8M, F32_TORCH),
    NEAR_LIMIT(IMAGES_U8, IMAGES_RAW, 0.90),
    AT_LEAST(IMAGES_U8, IMAGES_TFDATA, 2.6),
    AT_LEAST(IMAGES_U8, IMAGES_TORCH, 1.3),
    AT_LEAST(IMAGES_PLAIN, IMAGES_PLAIN_TFDATA, 1.5),
    NEAR_LIMIT(IMAGES_F32, IMAGES_RAW_F32, 0.85),
    INFORM(IMAGES_F32, IMAGES_F32_TFDATA),
    INFORM(IMAGES_F32, IMAGES_F32_TORCH),
    INFORM(TABLE_CSV, TABLE_PANDAS_CSV),
    INFORM(TABLE_CSV_FIRST, TABLE_PANDAS_CSV_FIRST),
    INFORM(TABLE_CSV, TABLE_PANDAS_CSV_ROWS),
    INFORM(TABLE_CSV, TABLE_PANDAS_CSV_PREPARED),
    INFORM(TABLE_CSV_FIRST, TABLE_PANDAS_CSV_PREPARED_FIRST),
    INFORM(TABLE_CSV, TABLE_PANDAS_CSV_ALONE),
    INFORM(TABLE_CSV, TABLE_PYARROW_CSV),
    INFORM(TABLE_CSV_FIRST, TABLE_PYARROW_CSV_FIRST),
    INFORM(TABLE_NPY, TABLE_NUMPY),
    INFORM(TABLE_NPY_FIRST, TABLE_NUMPY_FIRST),
    INFORM(TABLE_NPY, TABLE_NUMPY_ROWS),
    INFORM(TABLE_SQLITE, TABLE_SQLITE_READ),
    INFORM(TABLE_SQLITE_FIRST, TABLE_SQLITE_READ_FIRST),
    INFORM(TABLE_SQLITE, TABLE_SQLITE_KEYSET),
    INFORM(TABLE_SQLITE_FIRST, TABLE_SQLITE_KEYSET_FIRST),
    INFORM(TABLE_ARROW, TABLE_PYARROW_FEATHER),
    INFORM(TABLE_ARROW_FIRST, TABLE_PYARROW_FEATHER_FIRST),
    INFORM(TABLE_ARROW, TABLE_PYARROW_PARQUET),
    INFORM(TABLE_ARROW_FIRST, TABLE_PYARROW_PARQUET_FIRST),
    INFORM(TABLE_TOKENS, TABLE_NUMPY_TOKENS),
    INFORM(TABLE_TOKENS_FIRST, TABLE_NUMPY_TOKENS_FIRST),
    INFORM(TABLE_TOKENS, TABLE_NUMPY_TOKENS_ROWS),
    IDEAL(WAIT_10MS, 1600, "1600/s", 0.98),
    BELOW(ACTION_1, 1, "1 us"),
    BELOW(ACTION_100, 1, "1 us"),
    AT_MOST(ACTION_100, ACTION_1, 1.2),
    BELOW(ACTION_10K, 1, "1 us"),
    NOT_FAR_ABOVE(ACTION_10K, ACTION_1, 1.2),
    BELOW(ACTION_1_LOCKED, 1, "1 us"),
    BELOW(ACTION_10K_LOCKED, 1, "1 us"),
    AT_MOST(ACTION_10K_LOCKED, ACTION_1_LOCKED, 1.2),
    IDEAL(STREAMS_SERVED, 10000, "10000", 1),
    IDEAL(STREAMS_FAIRNESS, 1, "1", 0.95),
    BELOW(STREAMS_RSS, 64, "64 MB"),
    AT_MOST(STREAMS_P99, STREAMS_P99_100, 2),
    NOT_FAR_ABOVE(LATENCY_1K, NNG_ECHO, 1.15),
    AT_LEAST(SAME_HOST_1M, TCP_1M, 3),
    INFORM(SAME_HOST_1M, RING_1M),
    BELOW(EPOCH_FIRST, 10, "10 ms"),
    AT_MOST(EPOCH_RSS, EPOCH_RSS_SMALL, 1.1),
};
const unsigned bench_ngoals = COUNT(bench_goals);
