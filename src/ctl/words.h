/*
 * The words by which the daemon says why: of streams (base/reason.h), of sessions, and of requests (http/refusal.h). For
 * `posternctl explain`.
 */
#ifndef POSTERN_CTL_WORDS_H
#define POSTERN_CTL_WORDS_H

#include "ctl/ctl.h"

/* Each returns what the command does. */
int words_explain(const struct ctl *ctl, const char *word);
int words_list(const struct ctl *ctl);

#endif
