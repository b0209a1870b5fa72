/*
 * One request to the daemon's admin socket, and its answer. Blocking, with a deadline; any kind of address.
 */
#ifndef POSTERN_CTL_CLIENT_H
#define POSTERN_CTL_CLIENT_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/text.h"

#define CLIENT_ANSWER_MAX (64 * 1024 * 1024)

/* For connecting, and again for the answer; the daemon's own limit for a request is 10 s. Tests are
 * less patient. */
extern unsigned client_time_ms;

struct client_answer {
    int status;
    struct text body; /* released by the caller, also after a failure */
};

/* Sends `method` and `target` to `address`. Returns 0 with the answer, whatever its status, or a negative
 * errno value with the text of `err` saying what to do: -EINVAL for an address that is none. */
int client_ask(const char *address, const char *method, const char *target, struct client_answer *ret,
               struct error *err) MUST_CHECK;

/* The same for GET, with the body of a 200 given to `piece` as it comes, however large; that of any other status is in
 * ret->body. What `piece` returns is 0, or a negative errno value that ends it. */
typedef int (*client_piece)(void *data, const char *bytes, size_t size);
int client_save(const char *address, const char *target, client_piece piece, void *data,
                struct client_answer *ret, struct error *err) MUST_CHECK;

#endif
