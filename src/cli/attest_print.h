/* What `postern attest` prints. */
#ifndef POSTERN_CLI_ATTEST_PRINT_H
#define POSTERN_CLI_ATTEST_PRINT_H

#include "nsm/nsm.h"
#include <stdio.h>

void attest_print_hex(FILE *out, const uint8_t *data, size_t size);
void attest_print_base64(FILE *out, const uint8_t *data, size_t size);

/* One object on one line, with the document and what it says. `insecure`: a software NSM made it.
 * -EBADMSG: it is none, and nothing was printed. */
int attest_print_json(FILE *out, const uint8_t *document, size_t size, bool insecure,
                      struct error *err) MUST_CHECK;

/* A line of words for each thing; or an object. */
void attest_print_description(FILE *out, const struct nsm_description *description,
                              const struct nsm_pcr *pcrs, unsigned count, bool json, bool insecure);

#endif
