/* Who is at the door, as admission found out: the same for a stream, a session, and the streams of that. */
#ifndef POSTERN_DAEMON_CALLER_H
#define POSTERN_DAEMON_CALLER_H

#include "base/log.h"
#include "daemon/rules.h"
#include "net/addr.h"
#include <stdint.h>

struct caller {
    enum addr_kind kind;
    uint32_t cid; /* vsock callers */
    int enclave;  /* id in the rules that go with it, or CONFIG_NOBODY */
};

/* NULL: a caller that is no enclave. */
static inline const char *caller_enclave_name(const struct caller *caller, const struct rules *rules)
{
    return caller->enclave != CONFIG_NOBODY ? rules->config->enclaves[caller->enclave].name : NULL;
}

/* The fields that every line about it has. */
static inline void caller_log(const struct caller *caller, const struct rules *rules, struct log_line *line)
{
    log_str(line, "enclave", caller_enclave_name(caller, rules));
    if (caller->kind == ADDR_VSOCK) {
        log_u64(line, "cid", caller->cid);
    }
}

#endif
