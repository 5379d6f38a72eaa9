/*
 * A fuzz target without a fuzzer: every input that is named goes once through it. So a target that
 * no longer compiles, or breaks over what it has met before, is seen by the unit tests. usage:
 * fuzz_NAME FILE|FOLDER...
 */
#include "check.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

/* As the fuzzer's: longer inputs are not in the corpora. */
#define INPUT_MAX (1 << 20)

static unsigned inputs;

static void replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *input = malloc(INPUT_MAX), *exact;
    size_t len;

    CHECK(file != NULL && input != NULL);
    len = fread(input, 1, INPUT_MAX, file);
    CHECK(ferror(file) == 0 && feof(file) != 0);
    CHECK(fclose(file) == 0);
    /* Of its own size, so that sanitizers see one byte too many. */
    exact = realloc(input, len + (len == 0));
    CHECK(exact != NULL);
    (void)LLVMFuzzerTestOneInput(exact, len);
    free(exact);
    inputs++;
}

static void replay_folder(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    char file[PATH_MAX];

    CHECK(folder != NULL);
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        CHECK(snprintf(file, sizeof file, "%s/%s", path, entry->d_name) < (int)sizeof file);
        replay_file(file);
    }
    CHECK(closedir(folder) == 0);
}

int main(int argc, char **argv)
{
    struct stat status;

    for (int i = 1; i < argc; i++) {
        CHECK(stat(argv[i], &status) == 0);
        if (S_ISDIR(status.st_mode))
            replay_folder(argv[i]);
        else
            replay_file(argv[i]);
    }
    printf("%u inputs\n", inputs);
    return inputs == 0; /* nothing was tried: not a pass */
}
