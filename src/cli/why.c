/* Codes in words: see why.h. Those of reasons are base/reason.h's; the protocol's own are here. */
#include "cli/why.h"

#include "session/codes.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct words {
    uint32_t code;
    const char *meaning;
    const char *advice;
};

static const struct words protocol[] = {
    {CODE_INTERNAL, "the daemon failed", "look at the daemon's log"},
    {CODE_VERSION, "the daemon speaks no version of the protocol that this program speaks",
     "install the same release on both sides"},
    {CODE_STREAM_LIMIT, "more streams than the daemon allows", "report it: the limit was told before"},
    {CODE_TIMEOUT, "no answer in time", "see that the daemon, or the machine, is not overloaded or stopped"},
    {CODE_CALM, "one side finds the other too busy", "open fewer streams a second"},
    {CODE_GOING_AWAY, "the daemon goes away", "try again once it is back"},
    {CODE_CANCEL, "it was given up", "look at the daemon's log"},
    {CODE_OPEN_TIMEOUT, "the daemon did not answer in time whether the route's other end can be reached",
     "see that this side sends what the route waits for (a ClientHello), and look at the daemon's log"},
    {CODE_NO_PROGRESS, "nobody took a byte for too long", "look at who does not read"},
    {CODE_UNSUPPORTED, "the route does not take such a stream",
     "see that `send` goes to a route of type forward, and install the same release on both sides"},
    {CODE_LOST, "the connection to the daemon was lost", "see that the daemon runs, and try again"},
};

static const struct words *find(uint32_t code)
{
    for (size_t i = 0; i < sizeof protocol / sizeof protocol[0]; i++) {
        if (protocol[i].code == code) {
            return &protocol[i];
        }
    }
    return NULL;
}

const char *why_format(uint32_t code, const char *said, char buffer[ERROR_TEXT_MAX])
{
    const struct words *words = find(code);
    enum reason reason;
    const char *meaning = "a rule of the protocol was broken";
    const char *advice = "report it, with this line and the daemon's log";
    if (code_reason(code, &reason)) {
        meaning = reason_meaning(reason);
        advice = reason_advice(reason);
    } else if (words != NULL) {
        meaning = words->meaning;
        advice = words->advice;
    } else if (code >= CODE_REASON) {
        meaning = "a reason that this release does not know";
        advice = "look at the daemon's log";
    }
    bool quoted = said != NULL && said[0] != '\0' && strcmp(said, meaning) != 0;
    snprintf(buffer, ERROR_TEXT_MAX, "%s: %s%s%s%s; %s", code_word(code), meaning, quoted ? " (" : "",
             quoted ? said : "", quoted ? ")" : "", advice);
    return buffer;
}
