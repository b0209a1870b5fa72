/* Blocking connections with a deadline, for commands that ask one thing and leave. */
#ifndef POSTERN_CTL_DIAL_H
#define POSTERN_CTL_DIAL_H

#include "base/compiler.h"
#include "net/addr.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Deadlines are times of this clock. */
uint64_t dial_now_ms(void);

/* All return a negative errno value on failure, -ETIMEDOUT when the deadline passed. Descriptors are
 * non-blocking. */
int dial_sockaddr(const struct sockaddr_any *address, uint64_t deadline) MUST_CHECK;
int dial_addr(const struct addr *addr,
              uint64_t deadline) MUST_CHECK; /* any kind; names by the system's resolver */
int dial_wait(int fd, short events, uint64_t deadline) MUST_CHECK;
int dial_send(int fd, const char *data, size_t size, uint64_t deadline) MUST_CHECK;
ssize_t dial_receive(int fd, char *data, size_t size, uint64_t deadline) MUST_CHECK; /* 0 at the end */

#endif
