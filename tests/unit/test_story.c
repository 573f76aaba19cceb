// The seed's story, told on virtual time, event by event: what prefetch means.
#include <stdio.h>
#include <string.h>

#include "fakes/mill.h"
#include "support.h"

// ---- Events as the seed writes them; batches count from 1 there and here ----

static struct {
    struct bm_observer observer;
    char text[8192];
    size_t size;
} story;

static void story_event(struct bm_observer *self, const struct bm_event *event)
{
    (void)self;
    char line[80] = "";
    unsigned batch = (unsigned)event->seq + 1;
    if (event->kind == BM_EVENT_CREATED)
        snprintf(line, sizeof line, "batch %u is created\n", batch);
    else if (event->kind == BM_EVENT_STARTED && event->step > 0) // step 0 reads the source
        snprintf(line, sizeof line, "action %u started for batch %u\n", event->step, batch);
    else if (event->kind == BM_EVENT_FINISHED && event->step > 0)
        snprintf(line, sizeof line, "action %u finished for batch %u\n", event->step, batch);
    size_t length = strlen(line);
    BM_ASSERT(story.size + length < sizeof story.text);
    memcpy(story.text + story.size, line, length + 1);
    story.size += length;
}

static void story_line(const char *line) // what the consumer does, between the events
{
    size_t length = strlen(line);
    memcpy(story.text + story.size, line, length + 1);
    story.size += length;
}

static struct mill mill;
static struct bm_pipeline *pipeline;

// Batch 1 is slower than batch 2 in action 1, as in the seed's example; later ones are equal.
static uint64_t story_duration(const struct bm_job *job)
{
    if (bm_job_next_step(job) == 0)
        return 0;
    return 100 + (bm_job_next_step(job) == 1 ? 10 * (bm_job_seq(job) % 2) : 0);
}

static int setup(void **state)
{
    (void)state;
    memset(&story, 0, sizeof story);
    story.observer.event = story_event;
    mill_init(&mill, 2, 1, 0, &story.observer);
    mill.executor.eager = true;
    mill.executor.duration = story_duration;
    pipeline = mill_pipeline(&mill, "some", 20, "[step, step, step]");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
    return 0;
}

static void take(struct bm_stream *stream, uint64_t seq)
{
    struct bm_outcome *outcome = NULL;
    assert_int_equal(mill_take(&mill, stream, seq, &outcome), BM_GOT_OUTCOME);
    assert_int_equal(outcome->seq, seq);
    bm_outcome_unref(outcome);
    char line[40];
    snprintf(line, sizeof line, "-> batch %u\n", (unsigned)seq + 1);
    story_line(line);
}

static void without_prefetch_everything_starts_one_after_another(void **state)
{
    (void)state;
    struct bm_stream *stream = mill_open(&mill, pipeline, (struct mill_stream){.prefetch = 0});
    fake_executor_settle(&mill.executor, UINT64_MAX);
    assert_string_equal(story.text, ""); // nothing runs before the first ask
    take(stream, 0);
    fake_executor_settle(&mill.executor, UINT64_MAX);
    take(stream, 1);
    assert_string_equal(story.text, "batch 1 is created\n"
                                    "action 1 started for batch 1\n"
                                    "action 1 finished for batch 1\n"
                                    "action 2 started for batch 1\n"
                                    "action 2 finished for batch 1\n"
                                    "action 3 started for batch 1\n"
                                    "action 3 finished for batch 1\n"
                                    "-> batch 1\n"
                                    "batch 2 is created\n"
                                    "action 1 started for batch 2\n"
                                    "action 1 finished for batch 2\n"
                                    "action 2 started for batch 2\n"
                                    "action 2 finished for batch 2\n"
                                    "action 3 started for batch 2\n"
                                    "action 3 finished for batch 2\n"
                                    "-> batch 2\n");
    mill_close(&mill, stream);
}

// The seed's second listing, to the letter; what it leaves out is when the consumer comes back:
// here at once, so batch 3 is created when batch 1 has finished and was taken.
static void with_prefetch_1_two_batches_interleave_and_the_third_waits_for_the_first(void **state)
{
    (void)state;
    struct bm_stream *stream = mill_open(&mill, pipeline, (struct mill_stream){.prefetch = 1});
    take(stream, 0);
    take(stream, 1);
    take(stream, 2);
    assert_string_equal(story.text, "batch 1 is created\n"
                                    "batch 2 is created\n"
                                    "action 1 started for batch 1\n"
                                    "action 1 started for batch 2\n"
                                    "action 1 finished for batch 1\n"
                                    "action 2 started for batch 1\n"
                                    "action 1 finished for batch 2\n"
                                    "action 2 started for batch 2\n"
                                    "action 2 finished for batch 1\n"
                                    "action 3 started for batch 1\n"
                                    "action 2 finished for batch 2\n"
                                    "action 3 started for batch 2\n"
                                    "action 3 finished for batch 1\n"
                                    "-> batch 1\n"
                                    "batch 3 is created\n"
                                    "action 1 started for batch 3\n"
                                    "action 3 finished for batch 2\n"
                                    "-> batch 2\n" // after that batch 4 could start
                                    "batch 4 is created\n"
                                    "action 1 started for batch 4\n"
                                    "action 1 finished for batch 3\n"
                                    "action 2 started for batch 3\n"
                                    "action 1 finished for batch 4\n"
                                    "action 2 started for batch 4\n"
                                    "action 2 finished for batch 3\n"
                                    "action 3 started for batch 3\n"
                                    "action 2 finished for batch 4\n"
                                    "action 3 started for batch 4\n"
                                    "action 3 finished for batch 3\n"
                                    "-> batch 3\n");
    mill_close(&mill, stream);
}

static void a_stalled_consumer_gets_prefetch_and_one_more_created_in_all(void **state)
{
    (void)state;
    for (unsigned prefetch = 0; prefetch <= 5; prefetch++) {
        struct bm_stream *stream =
            mill_open(&mill, pipeline, (struct mill_stream){.prefetch = prefetch});
        assert_int_equal(bm_stream_counts(stream).created, 0);
        for (unsigned held = 0; held < 3; held++) {
            take(stream, held);
            fake_executor_settle(&mill.executor, UINT64_MAX); // the workers do all they may
            assert_int_equal(bm_stream_counts(stream).created, prefetch + 1 + held);
            assert_int_equal(bm_stream_counts(stream).in_flight, prefetch + 1);
        }
        mill_close(&mill, stream);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_prefetch_everything_starts_one_after_another),
        TEST(with_prefetch_1_two_batches_interleave_and_the_third_waits_for_the_first),
        TEST(a_stalled_consumer_gets_prefetch_and_one_more_created_in_all),
    };
    return cmocka_run_group_tests_name("story", tests, NULL, NULL);
}
