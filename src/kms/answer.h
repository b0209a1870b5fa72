/*
 * What KMS answers, read: JSON that is an object, and AWS's names for errors. Whoever answers is KMS by its certificate; what it says
 * is still bounded, and what is told of it to people is escaped.
 */
#ifndef POSTERN_KMS_ANSWER_H
#define POSTERN_KMS_ANSWER_H

#include "kms/call.h"

/* Reads the body of an answer of that status. `ret` is zeroed by the caller. 0: status 200 and an object. Else what kms.h says of results, with all
 * of `ret` set that is there, and KMS's own words in `err`. */
int kms_answer_read(unsigned status, const char *body, size_t size, struct kms_answer *ret,
                    struct error *err) MUST_CHECK;

/* AWS's name for an error as a static string; "unknown" for one that is not in the table, "" for "". */
const char *kms_type_word(const char *type);

/* Whether that error may mean that one side's clock is wrong. */
bool kms_type_is_of_time(const char *type);

/* Whether that error says that nothing was done since there were too many requests. */
bool kms_type_is_of_rate(const char *type);

/* The bytes under that name, decoded into *ret, which the caller frees. -EPROTO: it is not there, or no base64, or longer than `max`. */
int kms_answer_blob(const struct kms_answer *answer, const char *name, size_t max, uint8_t **ret,
                    size_t *ret_size, struct error *err) MUST_CHECK;

/* Base64 (RFC 4648, section 4), for a request. NULL: out of memory. */
json_t *kms_json_blob(const void *data, size_t size) MUST_CHECK;

/* Overwrites the strings in it. */
void kms_json_wipe(json_t *value);

#endif
