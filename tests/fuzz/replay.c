/* Run a fuzz target on files, and on all files of directories: how every compiler and system replays the corpus as an
 * ordinary test, and how a single finding is looked at.
 *
 *     fuzz_replay_TARGET FILE|DIRECTORY...
 *
 * Each file's name is printed before it is tried, so that the last line names the one that ended the program. */
#include "fuzz.h"

#include <dirent.h>

enum {
    INPUT_BYTES_MAX = 1 << 20
};

static unsigned file_count;

static bool run_file(const char *path)
{
    static uint8_t room[INPUT_BYTES_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "%s: cannot be opened\n", path);
        return false;
    }
    size_t size_bytes = fread(room, 1, sizeof room, file);
    bool is_read = !ferror(file) && size_bytes < sizeof room;
    fclose(file);
    if (!is_read) {
        fprintf(stderr, "%s: cannot be read, or has more than %d bytes\n", path, INPUT_BYTES_MAX - 1);
        return false;
    }
    /* exactly as long as the input, so that a read past its end is seen */
    uint8_t *bytes = malloc(size_bytes > 0 ? size_bytes : 1);
    if (bytes == NULL) {
        return false;
    }
    memcpy(bytes, room, size_bytes);
    printf("%s\n", path);
    (void)LLVMFuzzerTestOneInput(bytes, size_bytes);
    free(bytes);
    file_count++;
    return true;
}

static bool run_path(const char *path)
{
    DIR *directory = opendir(path);
    bool is_good = true;
    if (directory == NULL) {
        return run_file(path);
    }
    for (const struct dirent *entry = readdir(directory); entry != NULL && is_good; entry = readdir(directory)) {
        char name[1024];
        int length = snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.') {
            is_good = length > 0 && (size_t)length < sizeof name && run_file(name);
        }
    }
    closedir(directory);
    return is_good;
}

int main(int argc, char **argv)
{
    test_begin();
    for (int i = 1; i < argc; i++) {
        if (!run_path(argv[i])) {
            return 1;
        }
    }
    printf("%u inputs\n", file_count);
    return file_count > 0 ? 0 : 1;
}
