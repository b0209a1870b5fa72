/*
 * One look for AWS keys: at the place that is asked for, or down the chain of `auto`. A part of credentials.c.
 *
 *     credentials_load.c        the chain
 *     credentials_local.c       environment; file (credentials_file.c)
 *     credentials_container.c   ECS's and EKS's endpoints
 *     credentials_instance.c    the metadata service, version 2: token, role, keys
 *
 * Each place answers -ENOENT if it is not set up, which lets `auto` go on to the next. Any other failure ends the look: keys of
 * another place would be those of somebody else.
 *
 * Lifetimes: the source embeds the load, which keeps between two looks what saves a question: the token of the metadata
 * service, and the role. One look at a time.
 */
#ifndef POSTERN_FORWARD_CREDENTIALS_LOAD_H
#define POSTERN_FORWARD_CREDENTIALS_LOAD_H

#include "aws/credentials_endpoint.h"
#include "aws/credentials_file.h"
#include "aws/credentials_keys.h"
#include "base/compiler.h"
#include "base/error.h"
#include "config/config.h"
#include "forward/fetch.h"
#include "net/loop.h"
#include <stdbool.h>
#include <stdint.h>

#define CREDENTIALS_FETCH_TIMEOUT_MS 2000

struct credentials_found {
    struct credentials_keys keys;
    enum config_credentials from; /* never AUTO */
};

/* `found` is the callback's to take, or NULL and `err` says why. */
typedef void (*credentials_load_cb)(void *data, struct credentials_found *found, const struct error *err);

/* Where we are with the metadata service. */
struct credentials_instance {
    struct credentials_url url;
    enum instance_step step;
    bool renewed;                       /* the token, in this look: it is done once */
    uint64_t token_until;               /* by loop_now() */
    char token[INSTANCE_TOKEN_MAX + 1]; /* "": none */
    char role[INSTANCE_ROLE_MAX + 1];
};

struct credentials_load {
    struct loop *loop;
    enum config_credentials kind;
    char *file, *profile; /* owned; NULL: as the environment says */
    credentials_load_cb cb;
    void *data;

    struct credentials_stamp stamp; /* of the file that keys were read from last */
    struct fetch *fetch;            /* under way, or NULL */
    struct credentials_instance instance;
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

/* ---- Between the parts ---- */

/* The end of a look that had to wait. Takes the keys. */
void credentials_load_end(struct credentials_load *load, enum config_credentials from,
                          struct credentials_keys *keys);
void credentials_load_fail(struct credentials_load *load, const struct error *err);

/* These return 1 or a negative errno value. */
int credentials_container_start(struct credentials_load *load, struct error *err) MUST_CHECK;
int credentials_instance_start(struct credentials_load *load, struct error *err) MUST_CHECK;

#endif
