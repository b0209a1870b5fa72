/* The end of a program's standard output: see output.h. */
#include "base/output.h"

#include "base/error.h"
#include <errno.h>

int output_finish(FILE *out)
{
    if (fflush(out) != 0) {
        return errno != 0 ? -errno : -EIO;
    }
    return ferror(out) ? -EIO : 0;
}

int output_exit(const char *program, int code)
{
    int r = output_finish(stdout);

    if (r == 0 || code != 0) {
        return code;
    }
    fprintf(stderr, "%s: cannot write the output: %s\n", program, error_words(r));
    return 1;
}
