/*
 * The canonical form of an HTTP request, which AWS Signature Version 4 signs: one spelling for all requests that mean
 * the same. ("Create a signed AWS API request", IAM User Guide, step 1.)
 *
 * No allocation but the text's own growth; bounded by the constants below. Thread-safe.
 */
#ifndef POSTERN_AWS_CANONICAL_H
#define POSTERN_AWS_CANONICAL_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/text.h"
#include <stdbool.h>
#include <stddef.h>

#define AWS_HEADERS_MAX    128 /* of one request */
#define AWS_PARAMETERS_MAX 256 /* of one query */

/* Not owned. The name in any case; the value without line breaks. */
struct aws_header {
    const char *name, *value;
};

struct aws_request {
    const char *method;
    const char *target; /* as it stands in the request line: the path, and `?query` if there is one */
    const struct aws_header *headers; /* `host` among them */
    size_t header_count;
    const char *payload_hash; /* SHA-256 of the body in lower-case hex, or AWS_UNSIGNED_PAYLOAD */
};

#define AWS_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"

/* Whether S3's rules are a service's, by its name in signatures: S3's own, and those of its other endpoints, of directory buckets, Outposts and
 * Object Lambda. */
bool aws_is_s3(const char *service);

/*
 * Appends the canonical request to `out`, and the list of the headers in it to `names`. `as_is` is S3's rule: an object's
 * key is any text, so its path keeps its dots and slashes, and is encoded once; for every other service it is
 * normalised, and what was encoded on the way is encoded again.
 *
 * Headers that a proxy on the way may add or change are left out. 0; -EINVAL: a header's name that is none, a line break in its value, a
 * target without a slash; -E2BIG: more than the constants above; -ENOMEM.
 */
int aws_canonical(const struct aws_request *request, bool as_is, struct text *out, struct text *names,
                  struct error *err) MUST_CHECK;

/* A path in the one spelling that S3's rule has for it: every byte encoded once, but for letters, digits, -._~ and the slashes.
 * Who sends it so is understood by those, too, who take a path as it comes. */
void aws_encode_path(const char *path, size_t size, struct text *out);

#endif
