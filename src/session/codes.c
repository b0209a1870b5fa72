/* Codes and reasons by their numbers on the wire. */
#include "session/codes.h"

#include <stddef.h>

/* Numbers are given out once, in the order in which reasons came into the world: a new one is added at the end,
 * whatever its place in base/reason.h. */
#define REASON_NUMBERS(X)         \
    X(FINISHED, 0x100)            \
    X(CLIENT_RESET, 0x101)        \
    X(UPSTREAM_RESET, 0x102)      \
    X(DENIED_ENCLAVE, 0x103)      \
    X(DENIED_ROUTE, 0x104)        \
    X(DENIED_SNI, 0x105)          \
    X(NO_SNI, 0x106)              \
    X(NOT_TLS, 0x107)             \
    X(BAD_HELLO, 0x108)           \
    X(DENIED_ADDRESS, 0x109)      \
    X(DNS_NOT_FOUND, 0x10a)       \
    X(DNS_TIMEOUT, 0x10b)         \
    X(DNS_FAILED, 0x10c)          \
    X(CONNECT_REFUSED, 0x10d)     \
    X(CONNECT_TIMEOUT, 0x10e)     \
    X(UNREACHABLE, 0x10f)         \
    X(CONNECT_FAILED, 0x110)      \
    X(LIMIT_ROUTE, 0x111)         \
    X(LIMIT_ENCLAVE, 0x112)       \
    X(LIMIT_DAEMON, 0x113)        \
    X(NO_DESCRIPTORS, 0x114)      \
    X(NO_MEMORY, 0x115)           \
    X(HELLO_TIMEOUT, 0x116)       \
    X(FIRST_BYTE_TIMEOUT, 0x117)  \
    X(IDLE_TIMEOUT, 0x118)        \
    X(HALF_CLOSED_TIMEOUT, 0x119) \
    X(DRAINING, 0x11a)            \
    X(SHUTDOWN, 0x11b)            \
    X(INTERNAL, 0x11c)            \
    X(BAD_REQUEST, 0x11d)         \
    X(DENIED_HOST, 0x11e)

static const uint32_t number_of[] = {
#define X(id, number) [REASON_##id] = (number),
    REASON_NUMBERS(X)
#undef X
};

_Static_assert(ARRAY_SIZE(number_of) == REASON_COUNT,
               "the last reason has a number; a test sees to the others");

uint32_t code_of_reason(enum reason reason)
{
    return (unsigned)reason < REASON_COUNT ? number_of[reason] : number_of[REASON_INTERNAL];
}

bool code_reason(uint32_t code, enum reason *ret)
{
    for (unsigned i = 0; i < REASON_COUNT; i++) {
        if (number_of[i] == code) {
            *ret = (enum reason)i;
            return true;
        }
    }
    return false;
}

const char *code_word(uint32_t code)
{
    static const struct {
        uint32_t number;
        const char *word;
    } words[] = {
#define X(id, number, word) {number, word},
        CODE_TABLE(X)
#undef X
    };
    enum reason reason;

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (words[i].number == code) {
            return words[i].word;
        }
    }
    return code_reason(code, &reason) ? reason_word(reason) : "unknown";
}
