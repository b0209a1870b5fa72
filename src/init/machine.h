/*
 * What the machine expects of its init, beside starting a program: kernel modules, the word to the hypervisor's tools
 * that the enclave has come up, and an end.
 */
#ifndef POSTERN_INIT_MACHINE_H
#define POSTERN_INIT_MACHINE_H

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

/* Where nitro-cli waits for an enclave that it starts, and the byte that it wants and gives back. */
#define MACHINE_HEARTBEAT_CID  3u
#define MACHINE_HEARTBEAT_PORT 9000u
#define MACHINE_HEARTBEAT      0xb7

/* Whether this process is the init of the whole machine, and not of a container: process 1, in the first namespace of
 * processes. /proc must be there. */
bool machine_is_ours(void);

/* Loads a kernel module from a file. 0, also when it is there; or what failed. */
int machine_load_module(const char *path, struct error *err) MUST_CHECK;

/* Tells nitro-cli that the enclave runs. Waits for its answer, `timeout_ms` at most. */
int machine_heartbeat(uint32_t timeout_ms, struct error *err) MUST_CHECK;

/* The same over a connected, blocking descriptor. */
int machine_heartbeat_over(int fd, struct error *err) MUST_CHECK;

/* Writes what is cached and ends the machine. Returns only if it cannot. */
int machine_end(bool power_off, struct error *err);

#endif
