/* posternctl inside of a test: a command line in, its exit code and what it wrote out. */
#ifndef RUN_CTL_H
#define RUN_CTL_H

#include "ctl/ctl.h"
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct ran {
    int code;
    char *out;
    char *err;
};

/* Arguments end with NULL. Release with ran_release(). */
static void run_ctl(struct ran *ran, ...)
{
    char *argv[24] = {strdup("posternctl")}; /* getopt_long() changes the order */
    int argc = 1;
    size_t out_size, err_size;
    va_list arguments;
    va_start(arguments, ran);
    const char *argument;
    while ((argument = va_arg(arguments, const char *)) != NULL) {
        argv[argc++] = strdup(argument);
    }
    va_end(arguments);
    FILE *out = open_memstream(&ran->out, &out_size);
    FILE *err = open_memstream(&ran->err, &err_size);
    if (out == NULL || err == NULL) {
        abort();
    }
    ran->code = ctl_main(argc, argv, out, err);
    fclose(out);
    fclose(err);
    while (argc > 0) {
        free(argv[--argc]);
    }
}

UNUSED static json_t *parse_json(const char *text)
{
    json_error_t error;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        fprintf(stderr, "%s in:\n%s\n", error.text, text);
        abort();
    }
    return json;
}

static void ran_release(struct ran *ran)
{
    free(ran->out);
    free(ran->err);
}

#endif
