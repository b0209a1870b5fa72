/*
 * What the endpoints that hand out credentials are asked, and what they answer before the keys (credentials_json.h): where a
 * container's endpoint is and what to say there, by the environment; the metadata service's token and role. Pure but for the
 * environment and the token's file.
 */
#ifndef POSTERN_AWS_CREDENTIALS_ENDPOINT_H
#define POSTERN_AWS_CREDENTIALS_ENDPOINT_H

#include "aws/credentials_url.h"
#include "base/compiler.h"
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>

/* ---- A container's ---- */

#define CREDENTIALS_CONTAINER_TEXT ((int)CREDENTIALS_TARGET_MAX + 32)

/* A header's value, and what tells that it is too long. */
#define CREDENTIALS_AUTHORIZATION_SIZE ((size_t)8 * 1024 + 2)

/* `text` is what *ret may point into. 0; -ENOENT: the environment names none; -EINVAL; -EACCES: it is none that may be asked. */
int credentials_container_find(char text[CREDENTIALS_CONTAINER_TEXT], struct credentials_url *ret,
                               struct error *err) MUST_CHECK;

/* What to say there, in the header `authorization`; "": nothing. The caller wipes it. */
int credentials_container_token(char token[CREDENTIALS_AUTHORIZATION_SIZE], struct error *err) MUST_CHECK;

/* ---- The metadata service's, version 2 ---- */

#define INSTANCE_TOKEN_MAX  1024
#define INSTANCE_ROLE_MAX   128
#define INSTANCE_TOKEN_PATH "/latest/api/token"
#define INSTANCE_ROLES_PATH "/latest/meta-data/iam/security-credentials/"

/* How long a token may be used, and is. */
#define INSTANCE_TOKEN_LIFE_S     "21600"
#define INSTANCE_TOKEN_USE_FOR_MS UINT64_C(21000000) /* some minutes less */

enum instance_step { INSTANCE_TOKEN, INSTANCE_ROLE, INSTANCE_KEYS };

/* What came as a token, or as the name of a role: copied if it can be one, else -EBADMSG. */
int credentials_instance_token(const char *body, size_t size, char ret[INSTANCE_TOKEN_MAX + 1],
                               struct error *err) MUST_CHECK;
int credentials_instance_role(const char *body, char ret[INSTANCE_ROLE_MAX + 1],
                              struct error *err) MUST_CHECK;

/* Why it answers that step with such a status. Returns a negative errno value. */
int credentials_instance_explain(enum instance_step step, int status, struct error *err);

#endif
