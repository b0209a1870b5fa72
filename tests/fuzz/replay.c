/*
 * Stands in for libFuzzer's main: runs every file of the corpus directories given once. A finding is a
 * crash or a sanitizer's report; an empty corpus is an error, since it would prove nothing.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned run_file(const char *path)
{
    struct stat status;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return 0;
    }
    if (fstat(fileno(file), &status) != 0 || !S_ISREG(status.st_mode)) {
        fclose(file);
        return 0;
    }
    /* Exactly as large as the input, so that a sanitizer sees the first byte read past it. */
    size_t size = (size_t)status.st_size;
    uint8_t *data = malloc(size > 0 ? size : 1);
    if (data == NULL || fread(data, 1, size, file) != size) {
        perror(path);
        exit(1);
    }
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 1;
}

static unsigned run_directory(const char *directory)
{
    unsigned ran = 0;
    DIR *dir = opendir(directory);
    if (dir == NULL) {
        perror(directory);
        exit(1);
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        ran += run_file(path);
    }
    closedir(dir);
    return ran;
}

int main(int argc, char **argv)
{
    unsigned ran = 0;
    for (int i = 1; i < argc; i++) {
        ran += run_directory(argv[i]);
    }
    printf("%u inputs\n", ran);
    return ran > 0 ? 0 : 1;
}
