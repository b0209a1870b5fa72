/*
 * The command line of AWS's vsock-proxy:
 *
 *     vsock-proxy [OPTIONS] <local_port> <remote_addr> <remote_port>
 *
 * Options may stand before, between and after the positional arguments, as that tool's parser (clap) takes
 * them: --name VALUE, --name=VALUE, -wN, -w N, -w=N, flags run together, and `--` before arguments that begin
 * with a dash. Long names are not abbreviated.
 */
#ifndef POSTERN_DAEMON_VSOCK_ARGS_H
#define POSTERN_DAEMON_VSOCK_ARGS_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/text.h"
#include <stdint.h>

#define VSOCK_ARGS_CONFIG "/etc/nitro_enclaves/vsock-proxy.yaml"

/* All strings are the command line's own. */
struct vsock_args {
    const char *local_port_text;
    const char *remote_addr;
    const char *remote_port_text;
    const char *workers_text;
    const char *config_file;
    const char *listen; /* --listen: where to listen instead of CID 3; NULL: not given */
    int family;         /* AF_INET: -4, AF_INET6: -6, 0: neither */
    uint32_t local_port;
    uint16_t remote_port;
    uint64_t workers;
};

#define VSOCK_ARGS_RUN (-1)

/* Takes the command line apart. Returns VSOCK_ARGS_RUN, or the exit code: 0 with the help or the version in
 * `out`, 2 with a usage error. */
int vsock_args_parse(int argc, char **argv, struct vsock_args *ret, struct text *out) MUST_CHECK;

/* Turns the texts into numbers. Returns 0, or -EINVAL in the original's words with the reason behind them. */
int vsock_args_check(struct vsock_args *args, struct error *err) MUST_CHECK;

#endif
