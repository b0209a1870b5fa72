/* How postern send ended, in words: see send.h. */
#include "cli/problem.h"
#include "cli/send.h"
#include "cli/why.h"

#include "base/units.h"
#include "http/status.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

const char *send_method(const struct send *send)
{
    if (send->request_options.method != NULL) {
        return send->request_options.method;
    }
    return send->body.kind == SEND_NOTHING ? "GET" : "POST";
}

static const char *path_of(const struct send *send)
{
    return send->request_options.path != NULL ? send->request_options.path : "/";
}

/* The daemon's own words stand in the library's line, behind the code's. */
static const char *said_by_daemon(const struct postern_error *err)
{
    const char *word = strstr(err->message, err->word);
    const char *said = word != NULL ? word + strlen(err->word) : "";
    return strncmp(said, ": ", 2) == 0 ? said + 2 : NULL;
}

static void say_how_far(const struct send *send, const struct postern_error *err)
{
    char have[UNITS_TEXT_MAX], all[UNITS_TEXT_MAX];
    if (err->retryable) {
        cli_say(send->cli, "the daemon did nothing with it: it may be sent again");
    } else if (send->body.size == POSTERN_BODY_UNKNOWN) {
        cli_say(send->cli, "%s of the body were sent; whether the request was carried out is not known",
                units_human_size(send->sent, have));
    } else if (send->body.size > 0) {
        cli_say(send->cli, "%s of %s were sent; whether the request was carried out is not known",
                units_human_size(send->sent, have), units_human_size(send->body.size, all));
    }
}

int send_say_failure(struct send *send, const struct postern_error *err)
{
    char text[ERROR_TEXT_MAX];
    progress_clear(&send->progress);
    if (err->status == -ECONNREFUSED) {
        return cli_failed(send->cli, "route %s: refused, %s", send->route,
                          why_format(err->code, said_by_daemon(err), text));
    }
    if (!send->connected) {
        return cli_failed(send->cli, "%s", err->message);
    }
    if (err->code != 0) {
        cli_failed(send->cli, "route %s: %s %s: the stream was cut: %s", send->route, send_method(send),
                   path_of(send), why_format(err->code, NULL, text));
    } else {
        cli_failed(send->cli, "route %s: %s %s: %s", send->route, send_method(send), path_of(send),
                   err->message);
    }
    say_how_far(send, err);
    return CLI_FAILED;
}

/* What to do where the answer itself does not say. */
static const char *hint(int status)
{
    switch (status) {
    case 413:
        return "the body is too large for the route, or for what is behind it";
    case 502:
    case 504:
        return "what is behind the route does not answer as it should: look at the daemon's log";
    case 503:
        return "the route is busy, or what is behind it: send it again later";
    case 507:
        return "the parent has no more room for what waits to be delivered: send it again later";
    default:
        return "see the body of the answer";
    }
}

static void add_retry(const struct send *send, char *out, size_t size)
{
    const char *after = postern_request_header(send->request, "retry-after");
    char plain[PROBLEM_TEXT_MAX];
    uint64_t seconds;
    if (after == NULL) {
        return;
    }
    problem_plain(after, strlen(after), plain);
    if (units_parse_u64(after, UINT32_MAX, &seconds) == 0) {
        snprintf(out, size, "; send it again in %s s", plain);
    } else {
        snprintf(out, size, "; send it again after %s", plain);
    }
}

static int say_error(struct send *send)
{
    struct problem problem;
    char retry[PROBLEM_TEXT_MAX + 40] = "";
    problem_read(&problem, send->problem, send->problem_size);
    add_retry(send, retry, sizeof retry);
    bool shown = isatty(STDOUT_FILENO); /* the document stands there already */
    const char *detail = shown || problem.detail[0] == '\0' ? "" : problem.detail;
    const char *advice = problem.detail[0] == '\0' ? hint(send->status) : shown ? "" : problem.advice;
    cli_say(send->cli, "route %s: %s %s: %d %s%s%s%s%s%s%s%s", send->route, send_method(send), path_of(send),
            send->status, http_status_words((unsigned)send->status), problem.code[0] != '\0' ? ", " : "",
            problem.code, detail[0] != '\0' ? ": " : "", detail, advice[0] != '\0' ? "; " : "", advice,
            retry);
    return CLI_HTTP_ERROR;
}

int send_say_answer(struct send *send)
{
    char have[UNITS_TEXT_MAX];
    progress_clear(&send->progress);
    if (send->status < 200 || send->status >= 300) {
        return say_error(send);
    }
    if (send->sent_all) {
        return CLI_DONE;
    }
    return cli_failed(
        send->cli,
        "route %s: %s %s: %d %s came before the whole body was taken: only %s were sent; do not "
        "rely on it, and look at what is behind the route",
        send->route, send_method(send), path_of(send), send->status,
        http_status_words((unsigned)send->status), units_human_size(send->sent, have));
}
