/* The loopback interface, which a machine without an init has, but not up. */
#ifndef POSTERN_INIT_LOOPBACK_H
#define POSTERN_INIT_LOOPBACK_H

#include "base/error.h"

/* Brings `lo` up, which gives it 127.0.0.1 and ::1. 0, also when it was up; or the errno value of what failed. */
int loopback_up(struct error *err) MUST_CHECK;

#endif
