/*
 * The drop-in for AWS's vsock-proxy: that tool's command line, allowlist, messages and exit codes on this
 * engine. docs/vsock-proxy.md lists where it departs from it, and why.
 *
 * The order of a start is the original's: command line, allowlist, the server's name, the listener. Until the
 * loops run, names are looked up with getaddrinfo(); afterwards the engine resolves, as for any route.
 */
#ifndef POSTERN_DAEMON_VSOCK_PROXY_H
#define POSTERN_DAEMON_VSOCK_PROXY_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/log.h"
#include "config/allowlist.h"
#include "config/config.h"
#include "daemon/vsock_args.h"

/* argv[0] is the program's name. Returns the exit code. */
int vsock_proxy_main(int argc, char **argv) MUST_CHECK;

/* The rest is for the tests. */

/* What RUST_LOG asks for, in this program's levels; unset or without a word on vsock_proxy: info. */
enum log_level vsock_proxy_log_level(const char *rust_log);

/* The server as an address of the engine. Returns 0, or -EINVAL with a hint. */
int vsock_proxy_server(const char *host, uint16_t port, struct addr *ret, struct error *err) MUST_CHECK;

/* The look-up for the allowlist: getaddrinfo(), for host names and IP addresses alone. */
int vsock_proxy_lookup(void *data, const char *host, struct allow_ips *ret, struct error *err) MUST_CHECK;

/* Sets `err` to what the original says when it cannot listen, with the engine's reason behind it, or, where
 * `text` of the engine is about something else, when it cannot start. */
void vsock_proxy_start_words(const struct addr *listen, const char *text, struct error *err);

/* One listener, one route. Returns one reference, or NULL with the reason in `err`. */
struct config *vsock_proxy_config(const struct vsock_args *args, const struct allow_match *match,
                                  struct error *err) MUST_CHECK;

#endif
