/*
 * What the endpoints for credentials answer: a JSON object with AccessKeyId, SecretAccessKey, Token and Expiration, and for the
 * metadata service Code.
 */
#ifndef POSTERN_AWS_CREDENTIALS_JSON_H
#define POSTERN_AWS_CREDENTIALS_JSON_H

#include "aws/credentials_keys.h"
#include "base/compiler.h"
#include "base/error.h"
#include <time.h>

/* Keys without an Expiration are asked for anew after this long. */
#define CREDENTIALS_LIFE_S 3600

/* 0; -EBADMSG: no such object, or one that tells an error; -EINVAL: keys that are none; -ENOMEM. */
int credentials_json_parse(const char *data, size_t size, time_t now, struct credentials_keys *ret,
                           struct error *err) MUST_CHECK;

#endif
