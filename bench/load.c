/* bench_load's command line; see load.h. */
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum {
    OPTION_CONNECT = 1,
    OPTION_LISTEN,
    OPTION_STREAMS,
    OPTION_COUNT,
    OPTION_AT_ONCE,
    OPTION_BYTES,
    OPTION_CARRY,
    OPTION_SECONDS,
    OPTION_FROM_FILE
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
                                             {NULL, 0, NULL, 0}};

void die(const char *format, ...)
{
    va_list arguments;
    fputs("bench_load: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

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
        options->connect = address_parse(value);
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
    default:
        exit(2);
    }
}

static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    struct options options = {
        .streams = 1, .count = 1000, .at_once = 32, .bytes = 1ull << 30, .carry = 65536, .seconds = 60};
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        set_option(&options, option, optarg);
    }
    if (optind + 1 != argc || options.connect.length == 0 || options.listen.length == 0) {
        fputs("usage: bench_load bulk|short|idle --connect ADDRESS --listen ADDRESS [options]\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    raise_descriptors();
    if (strcmp(argv[optind], "bulk") == 0) {
        return run_bulk(&options);
    }
    if (strcmp(argv[optind], "short") == 0) {
        return run_short(&options);
    }
    if (strcmp(argv[optind], "idle") == 0) {
        return run_idle(&options);
    }
    die("'%s' is not a mode: bulk, short or idle", argv[optind]);
}
