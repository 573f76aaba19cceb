#include "fakes/stderr.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

char *stderr_of(void (*run)(void *arg), void *arg)
{
    FILE *file = tmpfile(); // no pipe: whatever is written fits
    assert_non_null(file);
    int saved = dup(STDERR_FILENO);
    fflush(stderr);
    dup2(fileno(file), STDERR_FILENO);
    run(arg);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    long size = lseek(fileno(file), 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);
    assert_non_null(text);
    rewind(file);
    assert_int_equal(fread(text, 1, (size_t)size, file), size);
    fclose(file);
    return text;
}

struct child {
    void (*run)(void *arg);
    void *arg;
    int status;
};

static void child_run(void *arg)
{
    struct child *child = arg;
    pid_t pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        signal(SIGABRT, SIG_DFL);
        child->run(child->arg);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &child->status, 0) != pid)
        child->status = 0;
}

void assert_aborts(void (*run)(void *arg), void *arg, const char *text)
{
    struct child child = {.run = run, .arg = arg};
    char *said = stderr_of(child_run, &child);
    assert_true(WIFSIGNALED(child.status));
    assert_int_equal(WTERMSIG(child.status), SIGABRT);
    if (strstr(said, text) == NULL)
        fail_msg("expected \"%s\" on stderr, got \"%s\"", text, said);
    free(said);
}
