// A target without libFuzzer: runs it over the files, and the files of the folders, that are given.
// So every build and every sanitizer replays the corpora, and every input that once failed.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz/fuzz.h"

static unsigned ninputs;

static void file_replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat info;
    if (file == NULL || fstat(fileno(file), &info) != 0) {
        fprintf(stderr, "%s: cannot open: %s\n", path, strerror(errno));
        exit(EXIT_FAILURE);
    }
    size_t size = (size_t)info.st_size;
    uint8_t *data = malloc(size + (size == 0)); // as long as the input: a byte more is an error
    if (data == NULL || fread(data, 1, size, file) != size) {
        fprintf(stderr, "%s: cannot read: %s\n", path, strerror(errno));
        exit(EXIT_FAILURE);
    }
    fclose(file);
    printf("%s\n", path);
    fflush(stdout); // the last one named is the one that failed
    LLVMFuzzerTestOneInput(data, size);
    ninputs++;
    free(data);
}

static int is_input(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void path_replay(const char *path)
{
    struct dirent **entries;
    int nentries = scandir(path, &entries, is_input, alphasort);
    if (nentries < 0) {
        file_replay(path);
        return;
    }
    for (int i = 0; i < nentries; i++) {
        char *name;
        if (asprintf(&name, "%s/%s", path, entries[i]->d_name) < 0)
            exit(EXIT_FAILURE);
        file_replay(name);
        free(name);
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        path_replay(argv[i]);
    if (ninputs == 0) {
        fprintf(stderr, "expected files or folders with inputs, got none\n");
        return EXIT_FAILURE;
    }
    printf("%u inputs\n", ninputs);
    return EXIT_SUCCESS;
}
