/* posternd's command line. */
#include "base/diag.h"
#include "base/output.h"
#include "base/text.h"
#include "config/config.h"
#include "daemon/server.h"
#include "daemon/vsock_proxy.h"
#include "forward/credentials.h"
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define EXIT_FAILED 1
#define EXIT_USAGE  2

static const char usage[] =
    "usage: posternd --config FILE [--check]\n"
    "       posternd vsock-proxy ...\n"
    "\n"
    "  --config FILE   the configuration, see postern.yaml(5)\n"
    "  --check         say what is wrong with it, and do nothing else\n"
    "  --version       print the version\n"
    "  --help          print this\n"
    "\n"
    "SIGHUP reads the file again, SIGTERM finishes open streams and exits, a second one exits at once.\n";

struct arguments {
    const char *config;
    bool check;
};

/* Returns -1 to go on, or the exit code. */
static int parse_arguments(int argc, char **argv, struct arguments *ret)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, 'k'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "c:hV", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            ret->config = optarg;
            break;
        case 'k':
            ret->check = true;
            break;
        case 'V':
            printf("posternd %s\n", POSTERN_VERSION);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "posternd: unexpected argument '%s'\n%s", argv[optind], usage);
        return EXIT_USAGE;
    }
    if (ret->config == NULL || ret->config[0] == '\0') {
        fprintf(stderr, "posternd: no configuration: give --config FILE\n%s", usage);
        return EXIT_USAGE;
    }
    return -1;
}

static struct config *load(const char *file)
{
    struct config *config = NULL;
    struct diags diags;
    struct text text = TEXT_INIT;
    diags_init(&diags, file);
    if (config_load(file, &config, &diags) != 0) {
        diags_format(&diags, &text);
        fputs(text_string(&text), stderr);
        config = NULL;
    }
    text_release(&text);
    diags_release(&diags);
    return config;
}

static int run(const struct arguments *arguments)
{
    struct config *config = load(arguments->config);
    if (config == NULL) {
        return EXIT_FAILED;
    }
    if (arguments->check) {
        struct text notes = TEXT_INIT;
        config_notes(config, &notes);
        fputs(text_string(&notes), stderr);
        text_release(&notes);
        printf("%s: OK\n", arguments->config);
        config_unref(config);
        return output_exit("posternd", 0);
    }
    credentials_prepare();
    struct server_options options = {.config = config, .config_file = arguments->config};
    return server_run(&options);
}

/* The words that vsock_proxy_main() is to have: from its own name on, which is that of the link, or the first
 * argument. NULL: posternd is meant. */
static char **find_vsock_proxy(int argc, char **argv)
{
    for (int i = 0; i < argc && i < 2; i++) {
        const char *slash = i == 0 ? strrchr(argv[i], '/') : NULL;
        if (strcmp(slash != NULL ? slash + 1 : argv[i], "vsock-proxy") == 0) {
            return argv + i;
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    char **vsock_proxy = find_vsock_proxy(argc, argv);
    if (vsock_proxy != NULL) {
        return vsock_proxy_main(argc - (int)(vsock_proxy - argv), vsock_proxy);
    }
    struct arguments arguments = {.config = NULL};
    int code = parse_arguments(argc, argv, &arguments);
    return code >= 0 ? output_exit("posternd", code) : run(&arguments);
}
