/* postern kms-proxy: KMS for unmodified SDKs, on a local socket. */
#include "cli/cli.h"
#include "cli/kms_settings.h"
#include "cli/notes.h"
#include "kms/attested.h"
#include "kms/proxy.h"
#include "net/sock.h"
#include "net/sock_file.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define LISTEN   "tcp://127.0.0.1:8080"
#define HOUR_MS  UINT64_C(3600000)
#define LEAST_MS 1000
#define MODE     0600

enum option_value {
    LISTEN_AT = 1,
    ANY_CALLER,
    CONNECTIONS,
    IDLE_TIMEOUT,
    REQUEST_TIMEOUT,
    DRAIN_TIMEOUT,
    KEY_PER_CALL,
};

static const struct option options[] = {
    {"listen", required_argument, NULL, LISTEN_AT},
    {"any-caller", no_argument, NULL, ANY_CALLER},
    {"connections", required_argument, NULL, CONNECTIONS},
    {"idle-timeout", required_argument, NULL, IDLE_TIMEOUT},
    {"request-timeout", required_argument, NULL, REQUEST_TIMEOUT},
    {"drain-timeout", required_argument, NULL, DRAIN_TIMEOUT},
    {"key-per-call", no_argument, NULL, KEY_PER_CALL},
    {"region", required_argument, NULL, KMS_OPTION_REGION},
    KMS_CLIENT_OPTIONS,
    {NULL, 0, NULL, 0},
};

struct kms_proxy_command {
    struct cli *cli;
    struct notes notes;
    struct kms_settings settings;
    struct kms_proxy_options proxy;
    struct addr at;
    bool any_caller;
};

/* ---- The command line ---- */

/* Who is on this machine: with TCP, by loopback alone. */
static bool is_local(const struct addr *at)
{
    struct in_addr four;
    struct in6_addr six;
    if (at->kind == ADDR_TCP && inet_pton(AF_INET, at->host, &four) == 1) {
        return ntohl(four.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    if (at->kind == ADDR_TCP) {
        return inet_pton(AF_INET6, at->host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
    }
    return at->kind == ADDR_UNIX;
}

static int take_listen(struct kms_proxy_command *command, const char *text)
{
    struct error err = ERROR_INIT;
    if (addr_parse_listen(text, &command->at, &err) != 0) {
        return cli_usage_error(command->cli, "--listen: %s", err.text);
    }
    if (command->at.kind == ADDR_TCP && !command->at.literal) {
        return cli_usage_error(command->cli,
                               "--listen \"%s\": a name cannot be listened on: an IP address is expected",
                               text);
    }
    return CLI_DONE;
}

static int take_number(struct kms_proxy_command *command, int option)
{
    uint64_t value = 0;
    int code = CLI_DONE;
    switch (option) {
    case CONNECTIONS:
        if (cli_number(command->cli, "--connections", optarg, 1, KMS_PROXY_CONNECTIONS_MAX, &value, &code)) {
            command->proxy.connections = (unsigned)value;
        }
        break;
    case IDLE_TIMEOUT:
        (void)cli_duration(command->cli, "--idle-timeout", optarg, LEAST_MS, HOUR_MS, &command->proxy.idle_ms,
                           &code);
        break;
    case REQUEST_TIMEOUT:
        (void)cli_duration(command->cli, "--request-timeout", optarg, LEAST_MS, HOUR_MS,
                           &command->proxy.request_ms, &code);
        break;
    default:
        (void)cli_duration(command->cli, "--drain-timeout", optarg, 0, HOUR_MS, &command->proxy.drain_ms,
                           &code);
        break;
    }
    return code;
}

static int take_option(struct kms_proxy_command *command, int option)
{
    switch (option) {
    case LISTEN_AT:
        return take_listen(command, optarg);
    case ANY_CALLER:
        command->any_caller = true;
        return CLI_DONE;
    case KEY_PER_CALL:
        command->settings.client.flags |= POSTERN_KMS_KEY_PER_CALL;
        return CLI_DONE;
    case CONNECTIONS:
    case IDLE_TIMEOUT:
    case REQUEST_TIMEOUT:
    case DRAIN_TIMEOUT:
        return take_number(command, option);
    default:
        return kms_settings_take(&command->settings, command->cli, option);
    }
}

static bool parse(struct kms_proxy_command *command, int argc, char **argv, int *ret_code)
{
    struct cli *cli = command->cli;
    int option;
    *ret_code = take_listen(command, LISTEN);
    while ((option = cli_next_option(cli, argc, argv, "", options, ret_code)) > 0) {
        *ret_code = take_option(command, option);
        if (*ret_code != CLI_DONE) {
            return false;
        }
    }
    if (option == CLI_OPTIONS_STOP) {
        return false;
    }
    if (optind < argc) {
        *ret_code = cli_usage_error(cli, "kms-proxy takes no arguments, but got \"%s\"", argv[optind]);
        return false;
    }
    if (!command->any_caller && !is_local(&command->at)) {
        *ret_code = cli_usage_error(
            cli, "--listen: whoever connects may use the enclave's attestation: a loopback address or a unix "
                 "socket is expected, or --any-caller, if others are meant");
        return false;
    }
    return true;
}

/* ---- Serving ---- */

static void tell(void *data, const char *text)
{
    notes_say_some(data, "%s", text);
}

/* What was bound: the port, if any free one was asked for. */
static void say_where(struct kms_proxy_command *command, int listener)
{
    struct sockaddr_any at = {.length = sizeof at.u};
    char text[ADDR_TEXT_MAX];
    if (command->at.kind == ADDR_TCP && getsockname(listener, &at.u.base, &at.length) == 0) {
        notes_say(&command->notes, "serving KMS at http://%s", sockaddr_format(&at, text));
    } else {
        notes_say(&command->notes, "serving KMS at %s", addr_format(&command->at, text));
    }
}

/* sock_listen()'s advice is for the parent, where there is a posternctl. */
static int cannot_listen(const struct kms_proxy_command *command, int code, struct error *err)
{
    char text[ADDR_TEXT_MAX];
    return code != -EADDRINUSE ? code
                               : error_set(err, code,
                                           "cannot listen at %s: %s; another program has it, or another "
                                           "kms-proxy: end that, or give another address with --listen",
                                           addr_format(&command->at, text), error_words(code));
}

static int serve(struct kms_proxy_command *command, struct postern_kms *kms, int signals, struct error *err)
{
    const struct sock_options socket_options = {.unix_mode = MODE};
    int r = kms_attested_prepare(kms, err); /* without an NSM there is nothing to serve */
    if (r != 0) {
        return r;
    }
    int listener = sock_listen(&command->at, &socket_options, err);
    if (listener < 0) {
        return cannot_listen(command, listener, err);
    }
    bool has_file = command->at.kind == ADDR_UNIX && command->at.host[0] != '@';
    const struct sock_file file = has_file ? sock_file_at(command->at.host) : (struct sock_file){.number = 0};
    say_where(command, listener);
    r = kms_proxy_serve(kms, listener, signals, &command->proxy, err);
    if (has_file) { /* before it is closed: until then nobody else's has its number */
        sock_file_remove(command->at.host, &file);
    }
    close(listener);
    return r;
}

/* SIGTERM and SIGINT are read as bytes: they are blocked, in all threads to come as well. */
static int open_signals(sigset_t *ret_before, struct error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &set, ret_before);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd >= 0 ? fd : error_errno(err, -errno, "cannot wait for signals");
}

static int run(struct kms_proxy_command *command, struct postern_kms *kms)
{
    struct error err = ERROR_INIT;
    sigset_t before;
    int signals = open_signals(&before, &err);
    int r = signals < 0 ? signals : serve(command, kms, signals, &err);
    if (r == -ETIMEDOUT) {
        /* Threads still use the client: nothing is to be freed, nor any function to be run at exit. */
        (void)cli_failed(command->cli, "%s, and cut", err.text);
        _exit(CLI_FAILED);
    }
    if (signals >= 0) {
        close(signals);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r == 0 ? CLI_DONE : cli_failed(command->cli, "%s", err.text);
}

int cli_kms_proxy(struct cli *cli, int argc, char **argv)
{
    struct kms_proxy_command command = {.cli = cli};
    struct postern_kms *kms;
    int code = CLI_DONE;
    kms_proxy_options_init(&command.proxy);
    kms_settings_init(&command.settings);
    command.proxy.note = tell;
    command.proxy.data = &command.notes;
    if (!parse(&command, argc, argv, &code)) {
        return code;
    }
    notes_init(&command.notes, cli->err, cli_prefix(cli));
    code = kms_settings_open(&command.settings, cli, &kms);
    if (code == CLI_DONE) {
        code = run(&command, kms);
        postern_kms_close(kms);
    }
    return code;
}
