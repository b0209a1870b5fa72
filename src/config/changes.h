/*
 * What a configuration has that the one before it had not, and the other way round: for whoever reloads. Compared is what the
 * files say, not what it comes to.
 */
#ifndef POSTERN_CONFIG_CHANGES_H
#define POSTERN_CONFIG_CHANGES_H

#include "base/text.h"
#include "config/config.h"
#include "config/tree.h"

/* A number for all that a node says, keys and values in their order: other words, another number, but for one case in 2^64. */
uint64_t changes_digest(const struct node *node);

/* Adds "; added: route a; removed: listener b, enclave c; changed: route d, `limits`", or "; the file says the same". */
void changes_tell(const struct config *before, const struct config *after, struct text *out);

#endif
