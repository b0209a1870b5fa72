/*
 * posternctl explain: what a word means (words.h); and, offline, whether a stream would be let through and which
 * line of the file says so. The decisions are the daemon's own (config/policy.h).
 */
#include "base/diag.h"
#include "base/reason.h"
#include "config/policy.h"
#include "ctl/ctl.h"
#include "ctl/load.h"
#include "ctl/words.h"
#include <jansson.h>
#include <string.h>

struct question {
    const char *enclave;
    const char *route;
    const char *sni;
};

/* Policy. The answer is a verdict and a few lines, each with its place in the file. */

struct answer {
    enum reason reason; /* REASON_NONE: let through */
    const char *advice; /* instead of the reason's; NULL: that is right here */
    struct text lines;
    const char *file;
};

static void say(struct answer *answer, struct place place, const char *format, ...) PRINTF_LIKE(3, 4);

static void say(struct answer *answer, struct place place, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    text_addf(&answer->lines, "%s:%u: ", answer->file, place.line);
    text_addv(&answer->lines, format, args);
    text_add_char(&answer->lines, '\n');
    va_end(args);
}

static int find_enclave(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->enclave_count; i++) {
        if (strcmp(config->enclaves[i].name, name) == 0) {
            return (int)i;
        }
    }
    return CONFIG_NOBODY;
}

static int find_route(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->route_count; i++) {
        if (strcmp(config->routes[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* Whether any stream of the listener may take the route. */
static bool leads_to(const struct config_listener *listener, int route)
{
    bool leads = listener->protocol == CONFIG_RAW && listener->route == route;
    for (unsigned i = 0; i < listener->permit_count; i++) {
        leads = leads || listener->permits[i].route == route;
    }
    return leads;
}

/* By the CID that the kernel names, or by `peer`. */
static bool may_come_to(const struct config_listener *listener, int enclave)
{
    return listener->listen.kind == ADDR_VSOCK || listener->peer == enclave || listener->allow_any;
}

static enum reason ask_listener(const struct config_listener *listener, int enclave,
                                const struct config_route *route)
{
    int found;
    enum reason reason = policy_listener(listener, enclave);
    return reason != REASON_NONE || listener->protocol == CONFIG_RAW
               ? reason
               : policy_route(listener, enclave, route->name, strlen(route->name), &found);
}

static void say_listener(struct answer *answer, const struct config_listener *listener, enum reason reason,
                         const char *enclave)
{
    char address[ADDR_TEXT_MAX];
    bool framed = listener->protocol == CONFIG_FRAMED;
    const char *verdict = reason == REASON_NONE ? framed ? "gives it the route" : "lets it in"
                          : framed              ? "does not give it the route"
                                                : "does not have it in the list";
    struct place place = listener->allow_place.line != 0 ? listener->allow_place : listener->place;
    say(answer, place, "enclave %s on listener %s (%s): `allow` %s%s", enclave, listener->name,
        addr_format(&listener->listen, address), verdict,
        reason == REASON_NONE && listener->allow_any ? ", and everybody else too" : "");
}

static void say_others(struct answer *answer, const struct config *config,
                       const struct config_listener *listener)
{
    char address[ADDR_TEXT_MAX];
    const char *peer = listener->peer != CONFIG_NOBODY ? config->enclaves[listener->peer].name : NULL;
    say(answer, listener->place, "listener %s (%s) leads there, but its callers count as %s%s",
        listener->name, addr_format(&listener->listen, address), peer != NULL ? peer : "no enclave",
        peer != NULL ? ", its `peer`" : ": it has no `peer`");
}

/* One listener that lets the enclave in is enough. Otherwise the reason is that of the last to which it may come. */
static void ask_listeners(struct answer *answer, const struct config *config, int route, int enclave)
{
    answer->reason = REASON_DENIED_ROUTE;
    bool leads = false, judged = false;
    for (unsigned i = 0; i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        if (!leads_to(listener, route)) {
            continue;
        }
        leads = true;
        if (!may_come_to(listener, enclave)) {
            say_others(answer, config, listener);
            continue;
        }
        enum reason reason = ask_listener(listener, enclave, &config->routes[route]);
        say_listener(answer, listener, reason, config->enclaves[enclave].name);
        answer->reason = answer->reason == REASON_NONE ? REASON_NONE : reason;
        judged = true;
    }
    if (!leads) {
        say(answer, config->routes[route].place, "no listener leads to route %s", config->routes[route].name);
        answer->advice = "give it a listener with `route:`, or name it under the `allow:` of a framed one";
    } else if (!judged) {
        answer->reason = REASON_DENIED_ENCLAVE;
        answer->advice =
            "set `peer:` on that listener if its callers are this enclave, or add a vsock listener";
    }
}

static void say_destination(struct answer *answer, const struct config_route *route,
                            const struct config_sni *sni, const char *name)
{
    char address[ADDR_TEXT_MAX];
    const struct addr *to = route->to_kind == CONFIG_TO_SNI_MAP && sni != NULL ? &sni->to : &route->to;
    struct place place = sni != NULL ? sni->place : route->place;
    if (route->to_kind == CONFIG_TO_SNI) {
        say(answer, place, "it leads to tcp://%s:%u, the name in the ClientHello",
            name != NULL ? name : "NAME", route->port);
    } else if (route->to_kind == CONFIG_TO_ADDRESS || sni != NULL) {
        say(answer, place, "it leads to %s", addr_format(to, address));
    }
    bool by_name = route->to_kind == CONFIG_TO_SNI || (to->kind == ADDR_TCP && !to->literal);
    if (by_name && !route->allow_private) {
        say(answer, route->place,
            "if that name resolves to private addresses only, the stream ends with denied_address: "
            "`allow_private` is false");
    }
}

static void say_forward(struct answer *answer, const struct config_route *route)
{
    const struct config_forward *forward = route->forward;
    struct text methods;
    text_init(&methods, 0);
    http_policy_tell_methods(&forward->rules.policy, &methods);
    say(answer, route->place, "its requests go to http%s://%s%s%s", forward->tls ? "s" : "",
        forward->authority, forward->base_path,
        forward->delivery == CONFIG_SPOOL ? ", once they are in the spool" : "");
    if (methods.length > 0) {
        say(answer, route->place, "of the methods, %s pass", text_string(&methods));
    }
    answer->lines.failed = answer->lines.failed || methods.failed;
    text_release(&methods);
}

/* What a CONNECT to HOST or HOST:PORT would come to. */
static void ask_host(struct answer *answer, const struct config_route *route, const char *name)
{
    struct http_span host;
    uint16_t port = 0;
    if (name == NULL) {
        say(answer, route->place,
            "route %s is an HTTP proxy to %u hosts; ask again with --sni HOST or --sni HOST:PORT",
            route->name, route->host_count);
        return;
    }
    const struct config_host *found = NULL;
    if (http_authority(http_span_of(name), &host, &port)) {
        found = policy_host(route, host.data, host.size, port != 0 ? port : 443);
    }
    if (found == NULL) {
        answer->reason = REASON_DENIED_HOST;
        say(answer, route->place, "%s is none of the hosts that route %s allows, or not at that port", name,
            route->name);
        return;
    }
    say(answer, found->place, "%s is allowed by \"%s\", port %u", name, found->pattern, found->port);
}

static void ask_sni(struct answer *answer, const struct config_route *route, const char *name)
{
    const struct config_sni *sni = NULL;
    if (route->type == CONFIG_LOG) {
        say(answer, route->place, "the lines of route %s go to the daemon's log", route->name);
        return;
    }
    if (route->type == CONFIG_TIME) {
        say(answer, route->place, "route %s tells the time", route->name);
        return;
    }
    if (route->type == CONFIG_FORWARD) {
        say_forward(answer, route);
        return;
    }
    if (route->type == CONFIG_CONNECT) {
        ask_host(answer, route, name);
        return;
    }
    if (route->sni_count == 0) {
        say(answer, route->place, "route %s does not look at server names: any stream passes, TLS or not",
            route->name);
    } else if (name == NULL) {
        say(answer, route->place,
            "route %s wants a TLS ClientHello whose server name is one of %u; ask again with --sni NAME",
            route->name, route->sni_count);
    } else {
        sni = policy_sni(route, name);
        if (sni == NULL) {
            answer->reason = REASON_DENIED_SNI;
            say(answer, route->place, "server name %s is none of those that route %s allows", name,
                route->name);
            return;
        }
        say(answer, sni->place, "server name %s is allowed by \"%s\"", name, sni->pattern);
    }
    say_destination(answer, route, sni, name);
}

static int print_answer(const struct ctl *ctl, const struct answer *answer)
{
    bool allowed = answer->reason == REASON_NONE;
    const char *word = allowed ? "allowed" : reason_word(answer->reason);
    if (answer->lines.failed) {
        return ctl_failed(ctl, "out of memory");
    }
    if (ctl->json) {
        int r = ctl_print_json(ctl, json_pack("{s:b, s:s?, s:s}", "allowed", allowed, "reason",
                                              allowed ? NULL : word, "because", text_string(&answer->lines)));
        return allowed ? r : CTL_FAILED;
    }
    fprintf(ctl->out, "%s%s\n%s", allowed ? "" : "refused: ", word, text_string(&answer->lines));
    if (!allowed) {
        fprintf(ctl->out, "What to do: %s.\n",
                answer->advice != NULL ? answer->advice : reason_advice(answer->reason));
    }
    return allowed ? CTL_DONE : CTL_FAILED;
}

#define NAMES_MAX 256 /* looked through for "did you mean" */

struct names {
    const char *names[NAMES_MAX];
    size_t count;
};

static void add_name(struct names *names, const char *name)
{
    if (names->count < NAMES_MAX) {
        names->names[names->count++] = name;
    }
}

static int unknown_name(const struct ctl *ctl, const char *what, const char *name, const struct names *names)
{
    struct error err = ERROR_INIT;
    const char *nearest = diags_nearest(name, names->names, names->count);
    error_set(&err, 0, "%s has no %s \"%s\"%s%s%s", ctl->config, what, name,
              nearest != NULL ? ": did you mean " : "", nearest != NULL ? nearest : "",
              nearest != NULL ? "?" : "");
    return ctl_failed(ctl, err.text);
}

static int unknown_enclave(const struct ctl *ctl, const struct config *config, const char *name)
{
    struct names names = {.count = 0};
    for (unsigned i = 0; i < config->enclave_count; i++) {
        add_name(&names, config->enclaves[i].name);
    }
    return unknown_name(ctl, "enclave", name, &names);
}

static int unknown_route(const struct ctl *ctl, const struct config *config, const char *name)
{
    struct names names = {.count = 0};
    for (unsigned i = 0; i < config->route_count; i++) {
        add_name(&names, config->routes[i].name);
    }
    return unknown_name(ctl, "route", name, &names);
}

static int answer_question(const struct ctl *ctl, const struct config *config,
                           const struct question *question)
{
    struct answer answer = {.file = config->file};
    int enclave = find_enclave(config, question->enclave);
    int route = find_route(config, question->route);
    if (enclave == CONFIG_NOBODY) {
        return unknown_enclave(ctl, config, question->enclave);
    }
    if (route < 0) {
        return unknown_route(ctl, config, question->route);
    }
    text_init(&answer.lines, 0);
    ask_listeners(&answer, config, route, enclave);
    if (answer.reason == REASON_NONE) {
        ask_sni(&answer, &config->routes[route], question->sni);
    }
    int code = print_answer(ctl, &answer);
    text_release(&answer.lines);
    return code;
}

static int explain_policy(const struct ctl *ctl, const struct question *question)
{
    struct config *config;
    if (question->enclave == NULL || question->route == NULL) {
        return ctl_usage_error(ctl, "--enclave NAME and --route NAME belong together");
    }
    if (load_config(ctl, &config) != 0) {
        return CTL_FAILED;
    }
    int code = answer_question(ctl, config, question);
    config_unref(config);
    return code;
}

int ctl_explain(struct ctl *ctl, int argc, char **argv)
{
    static const struct option options[] = {{"enclave", required_argument, NULL, 'e'},
                                            {"route", required_argument, NULL, 'r'},
                                            {"sni", required_argument, NULL, 's'},
                                            {NULL, 0, NULL, 0}};
    struct question question = {NULL, NULL, NULL};
    int code, option;
    while ((option = ctl_next_option(ctl, argc, argv, options, &code)) > 0) {
        const char **value = option == 'e'   ? &question.enclave
                             : option == 'r' ? &question.route
                                             : &question.sni;
        *value = optarg;
    }
    if (option == CTL_OPTIONS_STOP) {
        return code;
    }
    bool policy = question.enclave != NULL || question.route != NULL || question.sni != NULL;
    if (argc - optind > (policy ? 0 : 1)) {
        return ctl_usage_error(ctl, "one CODE at a time, and none beside --enclave and --route");
    }
    if (policy) {
        return explain_policy(ctl, &question);
    }
    return optind < argc ? words_explain(ctl, argv[optind]) : words_list(ctl);
}
