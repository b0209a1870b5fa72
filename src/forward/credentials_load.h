/*
 * One look for AWS keys: at the place that is asked for, or down the chain of `auto`. A part of credentials.c.
 *
 * Lifetimes: the source embeds the load, which keeps between two looks what saves a question: the token of the metadata
 * service, and the role. One look at a time.
 */
#ifndef POSTERN_FORWARD_CREDENTIALS_LOAD_H
#define POSTERN_FORWARD_CREDENTIALS_LOAD_H

#include "base/compiler.h"
#include "base/error.h"
#include "config/config.h"
#include "forward/credentials_keys.h"
#include "net/loop.h"
#include <stdbool.h>
#include <stdint.h>

struct credentials_found {
    struct credentials_keys keys;
    enum config_credentials from; /* never AUTO */
};

/* `found` is the callback's to take, or NULL and `err` says why. */
typedef void (*credentials_load_cb)(void *data, struct credentials_found *found, const struct error *err);

struct credentials_load {
    struct loop *loop;
    enum config_credentials kind;
    char *file, *profile; /* owned; NULL: as the environment says */
    credentials_load_cb cb;
    void *data;
};

/* `file` and `profile` are copied. 0 or -ENOMEM. */
int credentials_load_init(struct credentials_load *load, struct loop *loop, const struct config_sign *sign,
                          credentials_load_cb cb, void *data) MUST_CHECK;
void credentials_load_release(struct credentials_load *load); /* ends a look that is under way */

/* 0: *ret has them; 1: the callback comes, from the loop; or a negative errno value. */
int credentials_load_start(struct credentials_load *load, struct credentials_found *ret,
                           struct error *err) MUST_CHECK;

/* Whether what was found at a place of this machine may be another by now. */
bool credentials_load_changed(const struct credentials_load *load, enum config_credentials from);

#endif
