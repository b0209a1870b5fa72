/* The rules of docs/protocol.md, each broken by a row: what is sent to the session under test, a server. */
#ifndef POSTERN_TESTS_RULES_H
#define POSTERN_TESTS_RULES_H

#include "peer.h"

struct rule_row {
    const char *id;
    void (*breaks)(struct peer *peer);
    bool fresh; /* before the handshake */
};

extern const struct rule_row rules_of_frames[], rules_of_streams[]; /* up to one without an id */

#endif
