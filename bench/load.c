/* bench_load's command line; see load.h. */
#include "load_session.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPTION_CONNECT = 1,
    OPTION_LISTEN,
    OPTION_STREAMS,
    OPTION_COUNT,
    OPTION_AT_ONCE,
    OPTION_BYTES,
    OPTION_CARRY,
    OPTION_SECONDS,
    OPTION_FROM_FILE,
    OPTION_ROUTE,
    OPTION_BESIDE,
    OPTION_BESIDE_LISTEN,
    OPTION_STALLED,
    OPTION_BODY,
    OPTION_EXPECT,
    OPTION_CERTIFICATE,
    OPTION_HEADER
};

static const struct option long_options[] = {{"connect", required_argument, NULL, OPTION_CONNECT},
                                             {"listen", required_argument, NULL, OPTION_LISTEN},
                                             {"streams", required_argument, NULL, OPTION_STREAMS},
                                             {"count", required_argument, NULL, OPTION_COUNT},
                                             {"at-once", required_argument, NULL, OPTION_AT_ONCE},
                                             {"bytes", required_argument, NULL, OPTION_BYTES},
                                             {"carry", required_argument, NULL, OPTION_CARRY},
                                             {"seconds", required_argument, NULL, OPTION_SECONDS},
                                             {"from-file", no_argument, NULL, OPTION_FROM_FILE},
                                             {"route", required_argument, NULL, OPTION_ROUTE},
                                             {"beside", required_argument, NULL, OPTION_BESIDE},
                                             {"beside-listen", required_argument, NULL, OPTION_BESIDE_LISTEN},
                                             {"stalled", no_argument, NULL, OPTION_STALLED},
                                             {"body", required_argument, NULL, OPTION_BODY},
                                             {"expect", required_argument, NULL, OPTION_EXPECT},
                                             {"certificate", required_argument, NULL, OPTION_CERTIFICATE},
                                             {"header", required_argument, NULL, OPTION_HEADER},
                                             {NULL, 0, NULL, 0}};

static uint64_t number(const char *text, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value == 0 || value > most) {
        die("'%s' is not a number from 1 to %llu", text, (unsigned long long)most);
    }
    return value;
}

static void set_option(struct options *options, int option, const char *value)
{
    switch (option) {
    case OPTION_CONNECT:
        options->connect_text = value;
        break;
    case OPTION_LISTEN:
        options->listen = address_parse(value);
        break;
    case OPTION_STREAMS:
        options->streams = (unsigned)number(value, 1000);
        break;
    case OPTION_COUNT:
        options->count = (unsigned)number(value, 1000000);
        break;
    case OPTION_AT_ONCE:
        options->at_once = (unsigned)number(value, 1000);
        break;
    case OPTION_BYTES:
        options->bytes = number(value, 1ull << 40);
        break;
    case OPTION_CARRY:
        options->carry = number(value, 1ull << 30);
        break;
    case OPTION_SECONDS:
        options->seconds = (double)number(value, 600);
        break;
    case OPTION_FROM_FILE:
        options->from_file = true;
        break;
    case OPTION_ROUTE:
        options->route = value;
        break;
    case OPTION_BESIDE:
        options->beside = value;
        break;
    case OPTION_BESIDE_LISTEN:
        options->beside_listen = address_parse(value);
        break;
    case OPTION_STALLED:
        options->stalled = true;
        break;
    case OPTION_BODY: /* which may be none */
        options->body = strcmp(value, "0") == 0 ? 0 : number(value, 1ull << 30);
        break;
    case OPTION_EXPECT:
        options->expect = (unsigned)number(value, 599);
        break;
    case OPTION_CERTIFICATE:
        options->certificate = value;
        break;
    case OPTION_HEADER:
        options->header = value;
        break;
    default:
        exit(2);
    }
}

struct mode {
    const char *name;
    int (*run)(const struct options *options);
    bool connects, routed, only_connects;
};

static const struct mode modes[] = {
    {"bulk", run_bulk, true, false, false},
    {"short", run_short, true, false, false},
    {"idle", run_idle, true, false, false},
    {"sink", run_sink, false, false, false},
    {"echo", run_echo, false, false, false},
    {"session-bulk", run_session_bulk, true, true, false},
    {"session-short", run_session_short, true, true, false},
    {"session-idle", run_session_idle, true, true, false},
    {"session-echo", run_session_echo, true, true, false},
    {"http", run_http, true, false, true},
    {"upload", run_upload, true, false, true},
    {"http-server", run_http_server, false, false, false},
};

static const struct mode *find_mode(const char *name)
{
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(modes[i].name, name) == 0) {
            return &modes[i];
        }
    }
    return NULL;
}

static void usage(void)
{
    fputs("usage: bench_load MODE [--connect ADDRESS] [--listen ADDRESS] [options]; MODE:", stderr);
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        fprintf(stderr, " %s", modes[i].name);
    }
    fputc('\n', stderr);
}

int main(int argc, char **argv)
{
    struct options options = {.streams = 1,
                              .count = 1000,
                              .at_once = 32,
                              .bytes = 1ull << 30,
                              .carry = 65536,
                              .seconds = 60,
                              .expect = 200};
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        set_option(&options, option, optarg);
    }
    const struct mode *mode = optind + 1 == argc ? find_mode(argv[optind]) : NULL;
    if (mode == NULL || (options.listen.length == 0 && !mode->only_connects) ||
        (mode->connects && options.connect_text == NULL) || (mode->routed && options.route == NULL)) {
        usage();
        return 2;
    }
    if (mode->connects && !mode->routed) {
        options.connect = address_parse(options.connect_text);
    }
    prepare_process();
    return mode->run(&options);
}
