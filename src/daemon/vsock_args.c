/* The command line of AWS's vsock-proxy, with its usage errors and exit codes. */
#include "daemon/vsock_args.h"

#include "base/units.h"
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#define USAGE_LINE "Usage: vsock-proxy [OPTIONS] <local_port> <remote_addr> <remote_port>\n"

static const char help[] =
    "Carries the vsock connections of enclaves to one TCP server that an allowlist names\n"
    "\n" USAGE_LINE "\n"
    "Arguments:\n"
    "  <local_port>   Vsock port to listen on, at the parent's CID 3\n"
    "  <remote_addr>  Name or IP address of the server\n"
    "  <remote_port>  TCP port of the server\n"
    "\n"
    "Options:\n"
    "  -4, --ipv4                   Use IPv4 addresses of the server only\n"
    "  -6, --ipv6                   Use IPv6 addresses of the server only\n"
    "  -w, --num_workers <workers>  Threads to run, at most one a CPU; connections are\n"
    "                               not limited by it [default: 4]\n"
    "      --config <config_file>   Allowlist of servers\n"
    "                               [default: " VSOCK_ARGS_CONFIG "]\n"
    "      --listen <address>       Listen here instead: vsock://CID:PORT, unix:///PATH,\n"
    "                               tcp://IP:PORT or hybrid:///PATH:PORT\n"
    "  -h, --help                   Print help\n"
    "  -V, --version                Print version\n";

enum option {
    OPTION_IPV4,
    OPTION_IPV6,
    OPTION_WORKERS,
    OPTION_CONFIG,
    OPTION_LISTEN,
    OPTION_HELP,
    OPTION_VERSION
};

#define OPTION_COUNT (OPTION_VERSION + 1)

static const struct {
    char letter; /* 0: none */
    const char *name;
    const char *value; /* NULL: a flag */
} options[OPTION_COUNT] = {
    [OPTION_IPV4] = {'4', "ipv4", NULL},
    [OPTION_IPV6] = {'6', "ipv6", NULL},
    [OPTION_WORKERS] = {'w', "num_workers", "workers"},
    [OPTION_CONFIG] = {0, "config", "config_file"},
    [OPTION_LISTEN] = {0, "listen", "address"},
    [OPTION_HELP] = {'h', "help", NULL},
    [OPTION_VERSION] = {'V', "version", NULL},
};

#define POSITIONAL_COUNT 3

static const char *const positional_names[POSITIONAL_COUNT] = {"local_port", "remote_addr", "remote_port"};

/* One pass over a command line. */
struct pass {
    char **next; /* the next word; the last is NULL, as in argv */
    const char *values[OPTION_COUNT];
    bool given[OPTION_COUNT];
    const char *positional[POSITIONAL_COUNT];
    unsigned positional_count;
    struct text *out;
};

static int PRINTF_LIKE(2, 3) usage(struct pass *pass, const char *format, ...)
{
    va_list args;
    text_add(pass->out, "error: ");
    va_start(args, format);
    text_addv(pass->out, format, args);
    va_end(args);
    text_add(pass->out, "\n\n" USAGE_LINE "\nFor more information, try '--help'.\n");
    return 2;
}

static int unexpected(struct pass *pass, const char *word)
{
    return usage(pass, "unexpected argument '%s' found", word);
}

/* The value of an option: what is glued to it, else the next word unless that is an option itself. */
static int take_value(struct pass *pass, enum option option, const char *glued)
{
    const char *value = glued;
    if (value == NULL && *pass->next != NULL && (pass->next[0][0] != '-' || pass->next[0][1] == '\0')) {
        value = *pass->next++;
    }
    if (value == NULL) {
        return usage(pass, "a value is required for '--%s <%s>' but none was supplied", options[option].name,
                     options[option].value);
    }
    pass->values[option] = value;
    return VSOCK_ARGS_RUN;
}

static int take_option(struct pass *pass, enum option option, const char *glued)
{
    if (option == OPTION_HELP) {
        text_add(pass->out, help);
        return 0;
    }
    if (option == OPTION_VERSION) {
        text_add(pass->out, "vsock-proxy (postern) " POSTERN_VERSION "\n");
        return 0;
    }
    if (pass->given[option]) {
        return usage(pass, "the argument '--%s' cannot be used multiple times", options[option].name);
    }
    pass->given[option] = true;
    return options[option].value != NULL ? take_value(pass, option, glued) : VSOCK_ARGS_RUN;
}

static int take_long(struct pass *pass, const char *word)
{
    const char *name = word + 2;
    size_t length = strcspn(name, "=");
    const char *glued = name[length] == '=' ? name + length + 1 : NULL;
    for (enum option i = 0; i < OPTION_COUNT; i++) {
        if (strlen(options[i].name) != length || memcmp(options[i].name, name, length) != 0) {
            continue;
        }
        if (glued != NULL && options[i].value == NULL) {
            return usage(pass, "unexpected value '%s' for '--%s' found; no more were expected", glued,
                         options[i].name);
        }
        return take_option(pass, i, glued);
    }
    return unexpected(pass, word);
}

/* -4, -w 8, -w8, -w=8, and flags run together: -4w8. */
static int take_letters(struct pass *pass, const char *word)
{
    int rc = VSOCK_ARGS_RUN;
    for (const char *letter = word + 1; *letter != '\0' && rc == VSOCK_ARGS_RUN; letter++) {
        enum option i = 0;
        while (i < OPTION_COUNT && options[i].letter != *letter) {
            i++;
        }
        if (i == OPTION_COUNT) {
            return usage(pass, "unexpected argument '-%c' found", *letter);
        }
        if (options[i].value != NULL) {
            const char *glued = letter[1] == '=' ? letter + 2 : letter + 1;
            return take_option(pass, i, letter[1] == '\0' ? NULL : glued);
        }
        rc = take_option(pass, i, NULL);
    }
    return rc;
}

static int take_positional(struct pass *pass, const char *word)
{
    if (pass->positional_count == POSITIONAL_COUNT) {
        return unexpected(pass, word);
    }
    pass->positional[pass->positional_count++] = word;
    return VSOCK_ARGS_RUN;
}

static int take_word(struct pass *pass, const char *word)
{
    if (word[0] != '-' || word[1] == '\0') {
        return take_positional(pass, word);
    }
    return word[1] == '-' ? take_long(pass, word) : take_letters(pass, word);
}

static int check_complete(struct pass *pass)
{
    if (pass->given[OPTION_IPV4] && pass->given[OPTION_IPV6]) {
        return usage(pass, "the argument '--ipv6' cannot be used with '--ipv4'");
    }
    if (pass->positional_count == POSITIONAL_COUNT) {
        return VSOCK_ARGS_RUN;
    }
    struct text missing = TEXT_INIT;
    for (unsigned i = pass->positional_count; i < POSITIONAL_COUNT; i++) {
        text_addf(&missing, "\n  <%s>", positional_names[i]);
    }
    int rc = usage(pass, "the following required arguments were not provided:%s", text_string(&missing));
    text_release(&missing);
    return rc;
}

static int take_words(struct pass *pass)
{
    bool only_positional = false;
    int rc = VSOCK_ARGS_RUN;
    while (*pass->next != NULL && rc == VSOCK_ARGS_RUN) {
        const char *word = *pass->next++;
        if (only_positional) {
            rc = take_positional(pass, word);
        } else if (strcmp(word, "--") == 0) {
            only_positional = true;
        } else {
            rc = take_word(pass, word);
        }
    }
    return rc != VSOCK_ARGS_RUN ? rc : check_complete(pass);
}

int vsock_args_parse(int argc, char **argv, struct vsock_args *ret, struct text *out)
{
    struct pass pass = {.next = argv + (argc > 0), .out = out};
    int rc = take_words(&pass);
    int family = pass.given[OPTION_IPV4] ? AF_INET : pass.given[OPTION_IPV6] ? AF_INET6 : 0;
    *ret = (struct vsock_args){
        .local_port_text = pass.positional[0],
        .remote_addr = pass.positional[1],
        .remote_port_text = pass.positional[2],
        .workers_text = pass.given[OPTION_WORKERS] ? pass.values[OPTION_WORKERS] : "4",
        .config_file = pass.given[OPTION_CONFIG] ? pass.values[OPTION_CONFIG] : VSOCK_ARGS_CONFIG,
        .listen = pass.values[OPTION_LISTEN],
        .family = family,
    };
    return rc;
}

/* A plus sign in front is let through, as the original does. */
static bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    return units_parse_u64(text + (text[0] == '+'), max, ret) == 0 && *ret >= min;
}

int vsock_args_check(struct vsock_args *args, struct error *err)
{
    uint64_t local_port = 0;
    uint64_t remote_port = 0;
    /* The largest 32-bit number is not a port: the kernel takes it for "any free one". */
    if (!parse_number(args->local_port_text, 1, UINT32_MAX - 1, &local_port)) {
        return error_set(err, -EINVAL,
                         "Local port is not valid: %s: expected a vsock port from 1 to 4294967294",
                         args->local_port_text);
    }
    if (!parse_number(args->remote_port_text, 1, UINT16_MAX, &remote_port)) {
        return error_set(err, -EINVAL, "Remote port is not valid: %s: expected a TCP port from 1 to 65535",
                         args->remote_port_text);
    }
    if (!parse_number(args->workers_text, 0, UINT64_MAX, &args->workers)) {
        return error_set(err, -EINVAL, "Number of workers is not valid: %s: expected a whole number",
                         args->workers_text);
    }
    if (args->workers == 0) {
        return error_set(err, -EINVAL, "Number of workers must not be 0");
    }
    args->local_port = (uint32_t)local_port;
    args->remote_port = (uint16_t)remote_port;
    return 0;
}
