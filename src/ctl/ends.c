/* The ends of sessions and of deliveries in words. docs/operations.md has the same tables, and a test sees to it. */
#include "ctl/ends.h"

#include "base/compiler.h"

static const char broken[] =
    "the one who is not told as `by` broke a rule of docs/protocol.md, which `detail` names";
static const char look_at_the_breaker[] =
    "by the daemon: the enclave runs a broken client, or a hostile one; by the client: report it";
static const char stray[] = "the client gave a code that is not one for sessions";
static const char look_at_the_client[] = "look at the client";

const struct end_words session_ends[] = {
    {"no_error", "both sides were done", "nothing: this is how a session should end"},
    {"protocol", broken, look_at_the_breaker},
    {"internal_error", "the side that ended it failed; out of memory, say", "read the log line's `detail`"},
    {"frame_size", broken, look_at_the_breaker},
    {"control", broken, look_at_the_breaker},
    {"flow_control", broken, look_at_the_breaker},
    {"stream_closed", broken, look_at_the_breaker},
    {"stream_limit", broken, look_at_the_breaker},
    {"version", "there is no version of the protocol that both speak", "update the older side"},
    {"timeout", "no whole HELLO came, a PING was not answered, or a frame was not finished in time",
     "look at the enclave, which hangs; at the handshake, suspect something that speaks another protocol"},
    {"calm", "the enclave opened, reset or asked far too much", "look for a loop in the enclave"},
    {"going_away", "the side that ended it stopped before all streams had finished",
     "raise `drain_timeout` if streams need longer to finish"},
    {"cancel", stray, look_at_the_client},
    {"open_timeout", stray, look_at_the_client},
    {"no_progress", stray, look_at_the_client},
    {"unsupported_kind",
     "a stream was opened for a request, to a route that takes bytes alone; as the end of a session, it is a "
     "stray code",
     "send requests to routes of type forward or connect, and other bytes by `postern pipe` or `listen`"},
    {"lost", "the connection ended without a word", "look at the enclave: it, or its program, died"},
    {"other", stray, look_at_the_client},
};

const size_t session_end_count = ARRAY_SIZE(session_ends);

const struct end_words delivery_ends[] = {
    {"kept", "the request is in the spool, and its client was answered 202",
     "nothing: it is delivered as soon as its upstream takes it; `posternctl spool list` has it until then"},
    {"delivered", "the upstream took it, and it has left the spool",
     "nothing: this is how a delivery should end"},
    {"retry",
     "the upstream had something of it and did not take it, or said to come again: it is tried again",
     "read the log line's `detail`; look at the upstream if it goes on"},
    {"unreached", "nothing of it came to the upstream: it is tried again, and the attempt does not count",
     "read the log line's `detail`; `posternctl doctor` tries the way there"},
    {"buried",
     "it can never succeed, or has been tried for long enough: it stays in the spool, and is not tried again",
     "read why: `posternctl spool show ID`; then `posternctl spool retry ID`, or `spool drop ID`"},
    {"damaged", "its body on the disk is not what was put there: it is set apart, and not delivered",
     "look at the disk; `posternctl spool retry ID` when it reads again, or `spool drop ID`"},
    {"released", "the daemon ended and cut the attempt off: it is tried again after the next start",
     "nothing; raise `drain_timeout` if deliveries need longer to finish"},
};

const size_t delivery_end_count = ARRAY_SIZE(delivery_ends);
