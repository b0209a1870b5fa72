/*
 * The address guard: which IP addresses a name may lead to.
 *
 * A relay to a name is a door in the wall: whoever answers for the name chooses where it leads. Unless
 * the route says `allow_private: true`, or names the address literally, only addresses of the public
 * Internet pass; private, loopback, link-local (the instance metadata service, 169.254.169.254 and
 * fd00:ec2::254, among them), shared, reserved, multicast and unspecified ones do not, nor IPv6 forms
 * that carry such an IPv4 address inside (mapped, compatible, NAT64, 6to4, Teredo, ISATAP). It is asked
 * about each address that is about to be connected to, after resolution, so that a name which changes
 * its mind (rebinding) gains nothing.
 *
 * Sources: the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and its updates).
 */
#ifndef POSTERN_NET_GUARD_H
#define POSTERN_NET_GUARD_H

#include <sys/socket.h>

/* The name of the block that makes an address not public, for the log ("link-local", "private"); NULL: it is one of the public
 * Internet's. Nothing but AF_INET and AF_INET6 is. */
const char *guard_block(const struct sockaddr *address);

#endif
