/* Any answer's body as a problem document: texts that are terminated, and that a terminal can bear. */
#include "cli/problem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *text)
{
    if (memchr(text, '\0', PROBLEM_TEXT_MAX) == NULL) {
        abort();
    }
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct problem problem;
    problem_read(&problem, (const char *)data, size);
    check(problem.title);
    check(problem.detail);
    check(problem.code);
    check(problem.advice);
    return 0;
}
