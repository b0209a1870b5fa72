/* Whether a request is signed by somebody who is known (AWS Signature Version 4, in the Authorization header). */
#ifndef POSTERN_SIM_SIGNATURE_H
#define POSTERN_SIM_SIGNATURE_H

#include "sim/http.h"
#include "sim/kms_error.h"
#include <time.h>

#define SIM_SKEW_S 300 /* that a request's time may differ from ours */

/* Whose signatures are known. */
struct sim_credential {
    char *access_key_id, *secret_access_key;
    char *session_token; /* NULL: these are not temporary */
    char *principal;     /* the ARN of who has them */
    char **actions;      /* that the account's own policies allow: patterns, the last NULL */
    time_t expires;      /* 0: never */
};

struct sim_credentials {
    struct sim_credential *list; /* owned */
    size_t count;
};

/* Who has signed it for `region` and the service kms. NULL, with what AWS would answer in `ret_error`. */
const struct sim_credential *sim_signature_check(const struct sim_http_exchange *exchange,
                                                 const struct sim_credentials *known, const char *region,
                                                 time_t now, struct sim_kms_error *ret_error) MUST_CHECK;

/* The parts of an Authorization header. They point into a copy of it, in `text`. */
struct sim_authorization {
    char text[2048];
    const char *access_key_id, *day, *region, *service, *signed_headers, *signature;
};

/* False: it is not of that form. */
bool sim_authorization_read(const char *header, struct sim_authorization *ret) MUST_CHECK;

#endif
