/* posternctl reload: synchronous, so that the unit's ExecReload fails when the file is refused. */
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/shown.h"

static int tell(const struct ctl *ctl, const struct client_answer *answer)
{
    bool accepted = answer->status == 200;
    if (answer->status == 405) {
        return ctl_failed(ctl, "nothing was reloaded: this is the listener for metrics, which only tells; "
                               "give the admin socket with "
                               "--socket, as `admin.listen` has it");
    }
    if (ctl->json) {
        return ctl_verdict(ctl, "accepted", accepted, "verdict", text_string(&answer->body));
    }
    if (!accepted) {
        fputs("posternctl: the daemon did not take the configuration, and goes on with the old one:\n",
              ctl->err);
        shown_put_lines(ctl->err, text_string(&answer->body), answer->body.length);
        return CTL_FAILED;
    }
    shown_put_lines(ctl->out, text_string(&answer->body), answer->body.length);
    return CTL_DONE;
}

int ctl_reload(struct ctl *ctl, int argc, char **argv)
{
    struct client_answer answer;
    struct error err = ERROR_INIT;
    int code;
    if (ctl_no_arguments(ctl, argc, argv, &code) != 0) {
        return code;
    }
    code = client_ask(ctl->socket, "POST", "/reload", &answer, &err) == 0 ? tell(ctl, &answer)
                                                                          : ctl_failed(ctl, err.text);
    text_release(&answer.body);
    return code;
}
