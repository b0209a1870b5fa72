/* Runs `postern`: see run_cli.h. */
#include "run_cli.h"

#include "cli/cli.h"
#include "fault.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define ARGUMENTS_MAX 32

static void take(FILE *from, char *to, size_t size)
{
    rewind(from);
    to[fread(to, 1, size - 1, from)] = '\0';
    assert_int_equal(fclose(from), 0);
}

void run_cli(struct ran *ran, ...)
{
    static char name[] = "postern";
    char *argv[ARGUMENTS_MAX + 1] = {name};
    int argc = 1;
    va_list args;
    va_start(args, ran);
    while (argc < ARGUMENTS_MAX && (argv[argc] = va_arg(args, char *)) != NULL) {
        argc++;
    }
    va_end(args);
    fault_spare(true);
    FILE *out = tmpfile(), *err = tmpfile();
    assert_non_null(out);
    assert_non_null(err);
    fault_spare(false);
    ran->code = cli_main(argc, argv, out, err);
    fault_spare(true);
    take(out, ran->out, sizeof ran->out);
    take(err, ran->err, sizeof ran->err);
    fault_spare(false);
}
