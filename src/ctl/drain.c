/* posternctl drain: no new streams, and an exit when the last one is done or the deadline is over. */
#include "base/units.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/shown.h"
#include <string.h>

#define DEADLINE_MAX_MS (30 * UINT64_C(86400000)) /* as the daemon has it */

static int tell(const struct ctl *ctl, const struct client_answer *answer)
{
    bool accepted = answer->status == 202;
    if (answer->status == 405) {
        return ctl_failed(ctl,
                          "nothing was drained: this is the listener for metrics, which only tells; give "
                          "the admin socket with "
                          "--socket, as `admin.listen` has it");
    }
    if (ctl->json) {
        return ctl_verdict(ctl, "draining", accepted, "detail", text_string(&answer->body));
    }
    if (!accepted) {
        return ctl_failed(ctl, text_string(&answer->body));
    }
    shown_put_lines(ctl->out, text_string(&answer->body), answer->body.length);
    return CTL_DONE;
}

static int ask(const struct ctl *ctl, const char *deadline)
{
    char target[64] = "/drain";
    struct client_answer answer;
    struct error err = ERROR_INIT;
    if (deadline != NULL) {
        snprintf(target, sizeof target, "/drain?deadline=%s", deadline);
    }
    int code = client_ask(ctl->socket, "POST", target, &answer, &err) == 0 ? tell(ctl, &answer)
                                                                           : ctl_failed(ctl, err.text);
    text_release(&answer.body);
    return code;
}

int ctl_drain(struct ctl *ctl, int argc, char **argv)
{
    static const struct option options[] = {{"deadline", required_argument, NULL, 'd'}, {NULL, 0, NULL, 0}};
    const char *deadline = NULL;
    uint64_t ms;
    int code, option;
    while ((option = ctl_next_option(ctl, argc, argv, options, &code)) > 0) {
        deadline = optarg;
    }
    if (option == CTL_OPTIONS_STOP) {
        return code;
    }
    if (optind < argc) {
        return ctl_usage_error(ctl, "drain takes no arguments, but got \"%s\"", argv[optind]);
    }
    if (deadline != NULL && (strlen(deadline) >= UNITS_TEXT_MAX || units_parse_duration(deadline, &ms) != 0 ||
                             ms > DEADLINE_MAX_MS)) {
        return ctl_usage_error(
            ctl, "--deadline is \"%s\", and should be a duration such as 30s or 2m, at most 30d", deadline);
    }
    return ask(ctl, deadline);
}
