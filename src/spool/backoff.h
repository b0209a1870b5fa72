/* How long a record rests after a failed attempt. */
#ifndef POSTERN_SPOOL_BACKOFF_H
#define POSTERN_SPOOL_BACKOFF_H

#include "spool/spool.h"
#include <stdint.h>

/* The pause after the `attempts`th failed attempt: doubled each time, up to the most; of which `random` takes off up to
 * half, so that what failed together does not come back together. With `retry_after_ms` not less than
 * that, and up to a tenth more, for the same reason. Never more than SPOOL_DELAY_MAX_MS. */
uint64_t backoff_pause(const struct spool_policy *policy, uint32_t attempts, uint64_t retry_after_ms,
                       uint64_t random);

#endif
