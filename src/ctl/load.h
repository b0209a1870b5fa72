/* The configuration file, for the commands that read it themselves. */
#ifndef POSTERN_CTL_LOAD_H
#define POSTERN_CTL_LOAD_H

#include "base/compiler.h"
#include "config/config.h"
#include "ctl/ctl.h"

/* Returns 0 with one reference in *ret, or a negative errno value after telling the mistakes. */
int load_config(const struct ctl *ctl, struct config **ret) MUST_CHECK;

/* The same, with the mistakes in `mistakes` for the caller to tell. */
int load_config_quietly(const struct ctl *ctl, struct config **ret, struct text *mistakes) MUST_CHECK;

#endif
