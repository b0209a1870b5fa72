"""Destinations by name: what the resolver says, fails to say, or says too much of, and where it may not lead."""
import contextlib
import http.client
import socket

import pytest

from dns_server import DnsServer
from hello import Client, client_hello, context
from postern import PATIENT, abort, blackhole, connect, echo, free_port, listen, read_all, receive, wait_until
from traffic import Background, is_cut

NAME = "kms.test"


@pytest.fixture
def dns():
    with DnsServer() as server:
        yield server


@pytest.fixture
def named(relay, dns):
    """named(port) starts a daemon whose route leads to NAME at that port, which may be on loopback."""
    def start(port, route=None, dns_settings=None, **config):
        settings = {"servers": [dns.servers], "timeout": "5m", **(dns_settings or {})}
        return relay(f"tcp://{NAME}:{port}", route={"allow_private": True, **(route or {})}, dns=settings, **config)
    return start


def works(daemon):
    try:
        with daemon.connect() as client:
            client.sendall(b"hello")
            return receive(client, 5) == b"hello"
    except ConnectionError:
        return False


def test_a_name_leads_to_its_address(named, dns, peer):
    dns.set(NAME, a=["127.0.0.1"])
    server = peer(echo)
    daemon = named(server.port)
    assert works(daemon) and works(daemon)
    ended = daemon.wait_ended("finished", count=2)
    assert ended[0]["address"] == f"127.0.0.1:{server.port}" and ended[0]["destination"] == f"tcp://{NAME}:{server.port}"
    metrics = daemon.metrics()
    assert metrics["postern_dns_queries_total"] >= 1 and metrics["postern_dns_cached_names"] >= 1


@pytest.mark.parametrize("what,reason", [
    ({"rcode": "nxdomain"}, "dns_not_found"), ({}, "dns_not_found"), ({"rcode": "servfail"}, "dns_failed"),
    ({"rcode": "refused"}, "dns_failed"), ({"drop": True}, "dns_timeout"), ({"broken": True}, "dns_failed"),
], ids=["no such name", "no address", "servfail", "refused", "silence", "nonsense"])
def test_a_resolver_that_fails(named, dns, what, reason):
    if what != {"rcode": "nxdomain"}:
        dns.set(NAME, **what)
    daemon = named(1, dns_settings={"timeout": "500ms"} if "drop" in what else {})
    assert is_cut(daemon)
    ended, = daemon.wait_ended(reason)
    assert NAME in ended["detail"] and ended["level"] == "warn"


def test_a_server_where_nobody_listens(named):
    """Its machine says so, by ICMP, which is no silence. The port is held by a socket that hears another one alone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.connect(("127.0.0.1", 1))
        daemon = named(1, dns_settings={"servers": [f"127.0.0.1:{deaf.getsockname()[1]}"], "timeout": "2s"})
        assert is_cut(daemon)
    ended, = daemon.wait_ended("dns_failed")
    assert NAME in ended["detail"] and "refused the question" in ended["detail"]
    assert daemon.metrics()['postern_dns_failures_total{kind="failed"}'] >= 1


def test_an_answer_in_time_from_a_slow_resolver(named, dns, peer):
    dns.set(NAME, a=["127.0.0.1"], delay=0.3)
    assert works(named(peer(echo).port))


def test_other_streams_do_not_wait_for_a_slow_name(named, dns, peer):
    """The resolver never answers for one; the other route goes on meanwhile, on the same single loop."""
    dns.set(NAME, drop=True)
    server = peer(echo)
    at = f"tcp://127.0.0.1:{free_port()}"
    daemon = named(1, workers=1, listeners={"fast": {"listen": at, "route": "fast", "allow": "any"}},
                   routes={"fast": {"type": "relay", "to": server.address}})
    with daemon.connect() as waits:
        for _ in range(20):
            with connect(at) as client:
                client.sendall(b"hello")
                assert receive(client, 5) == b"hello"
        assert not daemon.events(route="out", event="stream ended")
        abort(waits)


def test_a_huge_answer(named, dns, peer):
    """Hundreds of addresses, over TCP: the first are kept, and they are tried until one answers."""
    dns.set(NAME, huge=500)
    assert is_cut(named(free_port(), route={"connect_timeout": "1s"}))


def test_an_answer_over_tcp(named, dns, peer):
    dns.set(NAME, a=["127.0.0.1"], truncate=True)
    assert works(named(peer(echo).port))
    assert dns.count(NAME, "tcp") >= 1


@pytest.mark.parametrize("address,block", [("127.0.0.1", "loopback"), ("169.254.169.254", "link-local"), ("10.1.2.3", "private"),
                                           ("0.0.0.0", "unspecified"), ("100.64.0.1", "shared")])
def test_a_name_may_not_lead_inside(relay, dns, peer, address, block):
    """Rebinding: what the name server says is no permission."""
    server = peer(echo)
    dns.set(NAME, a=[address], aaaa=["::1", "fd00:ec2::254", "::ffff:127.0.0.1"])
    daemon = relay(f"tcp://{NAME}:{server.port}", dns={"servers": [dns.servers]})
    assert is_cut(daemon)
    ended, = daemon.wait_ended("denied_address")
    assert "not public" in ended["detail"]
    assert server.served == 0
    assert block  # the word for it depends on the address that came last


def test_a_name_that_moves_inside_later(relay, dns, peer):
    """The guard judges each answer, not the first: a public address, its TTL over, makes way for the metadata service."""
    dns.set(NAME, a=["192.0.2.1"], ttl=0, times=1, then={"a": ["169.254.169.254"], "ttl": 0})
    daemon = relay(f"tcp://{NAME}:80", dns={"servers": [dns.servers], "min_ttl": "1ms"}, route={"family": "ipv4"})
    assert is_cut(daemon) and is_cut(daemon)
    daemon.wait_ended("denied_address", count=2)  # 192.0.2.1 is documentation's


def test_an_address_that_was_written_is_meant(relay, peer):
    assert works(relay(peer(echo).address))


def test_a_name_in_the_clienthello_may_not_lead_inside(relay, dns, peer):
    dns.set("evil.wild.test", a=["127.0.0.1"])
    server = peer(echo)
    daemon = relay("sni", dns={"servers": [dns.servers]}, route={"sni": ["*.wild.test"], "port": server.port})
    with daemon.connect() as client:
        client.sendall(client_hello("evil.wild.test"))
        assert receive(client, 7) == bytes([21, 3, 3, 0, 2, 2, 49])  # access denied
    daemon.wait_ended("denied_address")
    assert server.served == 0


def test_the_name_in_the_clienthello_is_the_destination(relay, dns, peer, authority):
    server = peer(echo, tls=authority.server_context("a.wild.test"))
    dns.set("a.wild.test", a=["127.0.0.1"])
    daemon = relay("sni", dns={"servers": [dns.servers]},
                   route={"sni": ["*.wild.test"], "port": server.port, "allow_private": True})
    with daemon.connect() as client:
        assert Client(client, context(authority), "a.wild.test").handshake().exchange(b"hello") == b"hello"
    ended = daemon.wait_event(event="stream ended", sni="a.wild.test")
    assert ended["destination"] == f"tcp://a.wild.test:{server.port}"


def test_every_address_is_tried(named, dns):
    """The first five refuse."""
    addresses = [f"127.0.0.{n}" for n in range(2, 8)]
    server, address = listen("tcp://127.0.0.7:0")
    with server:
        dns.set(NAME, a=addresses)
        daemon = named(address.rpartition(":")[2])
        with daemon.connect() as client:
            client.sendall(b"x")
            connection, _ = server.accept()
            with connection:
                assert connection.recv(1) == b"x"
    ended = daemon.wait_event(event="stream ended")
    assert ended["address"] == address.removeprefix("tcp://")


@pytest.mark.parametrize("silent,answers", [("::1", "127.0.0.1"), ("127.0.0.1", "::1")])
def test_ipv4_and_ipv6_are_raced(named, dns, silent, answers):
    """One family does not answer, so the other gets its turn after a quarter of a second, long before the timeout of minutes."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in answers else socket.AF_INET))
        for _ in range(100):  # the port must be free in the other family, too
            port = stack.enter_context(blackhole(silent))
            with contextlib.suppress(OSError):
                server.bind((answers, port))
                server.listen(8)
                break
        dns.set(NAME, a=["127.0.0.1"], aaaa=["::1"])
        daemon = named(port)
        with daemon.connect() as client:
            client.sendall(b"x")
            connection, _ = server.accept()
            with connection:
                assert connection.recv(1) == b"x"
    ended = daemon.wait_event(event="stream ended")
    assert ended["address"] == (f"[{answers}]:{port}" if ":" in answers else f"{answers}:{port}")


@pytest.mark.parametrize("family,other", [("ipv4", "AAAA"), ("ipv6", "A")])
def test_one_family_alone(named, dns, peer, family, other):
    server = peer(echo, address=None if family == "ipv4" else "tcp://[::1]:0")
    dns.set(NAME, a=["127.0.0.1"], aaaa=["::1"])
    daemon = named(server.port, route={"family": family})
    assert works(daemon)
    ended, = daemon.wait_ended("finished")
    assert ended["address"].startswith("127.0.0.1" if family == "ipv4" else "[::1]")


def test_no_address_of_the_wanted_family(named, dns):
    dns.set(NAME, a=["127.0.0.1"])
    daemon = named(1, route={"family": "ipv6"})
    assert is_cut(daemon)
    daemon.wait_ended("dns_not_found")


@pytest.mark.handover
@pytest.mark.parametrize("workers", [1, 4])
def test_two_hundred_streams_ask_once(named, dns, peer, workers):
    """However many workers there are, they share what they know, and one of them asks."""
    dns.set(NAME, a=["127.0.0.1"], ttl=3600, delay=0.2)
    daemon = named(peer(echo).port, workers=workers)
    assert all(client.result() for client in [Background(works, daemon) for _ in range(200)])
    daemon.wait_ended("finished", count=200)
    assert dns.count(NAME, "A") == 1 and dns.count(NAME, "AAAA") == 1
    metrics = daemon.metrics()
    assert metrics["postern_dns_queries_total"] == 1 and metrics["postern_dns_cached_names"] == 1


@pytest.mark.handover
def test_one_question_for_a_name_at_a_time(named, dns, peer):
    """Answers that are old as soon as they come, for streams of four workers: the name is asked for again and again, but never twice
    at once."""
    dns.set(NAME, a=["127.0.0.1"], ttl=0, delay=0.02)
    daemon = named(peer(echo).port, workers=4, dns_settings={"min_ttl": "1ms"})
    callers = [Background(lambda: [works(daemon) for _ in range(10)]) for _ in range(20)]
    assert all(all(caller.result()) for caller in callers)
    wait_until(lambda: works(daemon) and dns.count(NAME, "A") >= 3)
    assert dns.most(NAME, "A") == 1 and dns.most(NAME, "AAAA") == 1


@pytest.mark.handover
def test_streams_of_four_workers_that_leave_while_their_name_is_looked_up(named, dns, peer):
    """Some give up, the daemon's one question goes on for the others."""
    dns.set(NAME, a=["127.0.0.1"], ttl=3600, delay=0.5)
    daemon = named(peer(echo).port, workers=4)
    leave = [daemon.connect() for _ in range(40)]
    stay = [Background(works, daemon) for _ in range(40)]
    for client in leave:
        abort(client)
    assert all(client.result() for client in stay)
    daemon.wait_ended("finished", count=40)
    assert dns.count(NAME, "A") == 1 and dns.count(NAME, "AAAA") == 1


@pytest.mark.handover
def test_the_daemon_ends_while_four_workers_wait_for_a_name(named, dns):
    dns.set(NAME, drop=True)
    daemon = named(1, workers=4, drain_timeout="200ms")
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(daemon.connect())
        wait_until(lambda: dns.count(NAME) and daemon.metrics()["postern_daemon_streams_active"] == 40)
        assert daemon.stop() == 0
    assert dns.most(NAME, "A") == 1


def test_an_answer_is_kept_for_its_ttl(named, dns, peer):
    dns.set(NAME, a=["127.0.0.1"], ttl=3600)
    daemon = named(peer(echo).port, workers=1)
    assert all(works(daemon) for _ in range(5))
    assert dns.count(NAME, "A") == 1


def test_an_answer_is_asked_for_again_after_its_ttl(named, dns, peer):
    dns.set(NAME, a=["127.0.0.1"], ttl=0)
    daemon = named(peer(echo).port, workers=1, dns_settings={"min_ttl": "200ms"})
    wait_until(lambda: works(daemon) and dns.count(NAME, "A") >= 2)


@pytest.mark.parametrize("down,timeout", [({"rcode": "servfail"}, "5m"), ({"drop": True}, "200ms")], ids=["fails", "is silent"])
def test_an_old_answer_serves_while_the_resolver_is_down(named, dns, peer, down, timeout):
    dns.set(NAME, a=["127.0.0.1"], ttl=0)
    daemon = named(peer(echo).port, workers=1, dns_settings={"min_ttl": "1ms", "timeout": timeout, "stale": "1h"})
    tries = []
    wait_until(lambda: tries.append(works(daemon)) or tries[-1])  # within the timeout, on a busy machine not always at once
    wait_until(lambda: len(daemon.events(event="stream ended")) == len(tries))
    before = len(daemon.events(event="stream ended", level="warn"))
    dns.set(NAME, **down)
    wait_until(lambda: works(daemon) and daemon.metrics()["postern_dns_stale_answers_total"] >= 1)
    assert works(daemon)
    assert len(daemon.events(event="stream ended", level="warn")) == before


def test_without_stale_an_old_answer_does_not_serve(named, dns, peer):
    dns.set(NAME, a=["127.0.0.1"], ttl=0)
    daemon = named(peer(echo).port, workers=1, dns_settings={"min_ttl": "1ms", "stale": "0s"})
    assert works(daemon)
    dns.set(NAME, rcode="servfail")
    wait_until(lambda: not works(daemon))
    daemon.wait_event(reason="dns_failed")


@pytest.mark.parametrize("listen", ["tcp", "unix"])
def test_what_was_sent_before_the_destination_was_known_arrives(named, dns, peer, listen):
    """The client sends and is gone, before its name is even looked up."""
    received = []
    server = peer(lambda connection: received.append(read_all(connection)))
    dns.set(NAME, a=["127.0.0.1"], delay=0.2)
    daemon = named(server.port, listen=listen)
    with daemon.connect() as client:
        client.sendall(b"hello" * 1000)
    assert wait_until(lambda: received) == [b"hello" * 1000]
    daemon.wait_ended("finished")


def test_a_client_that_leaves_while_its_name_is_looked_up(named, dns):
    dns.set(NAME, drop=True)
    daemon = named(1)
    with daemon.connect() as client:
        wait_until(lambda: dns.count(NAME))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    daemon.wait_ended("client_reset")


SHARE = 256  # RESOLVE_SHARE_MAX


def use_up_share(daemon, dns, ask, route):
    """Asks for many names that nobody answers, and hangs up each time: what was begun counts as its own until it ends."""
    for number in range(SHARE):
        dns.set(f"n{number}.evil.test", drop=True)
        client = daemon.connect()
        client.sendall(ask(f"n{number}.evil.test"))
        wait_until(lambda asked=number + 1: daemon.metrics()["postern_dns_queries_total"] >= asked)
        abort(client)
    daemon.wait_ended("client_reset", count=SHARE, route=route)


def request_for(name):
    return b"GET http://%s/ HTTP/1.1\r\nHost: %s\r\n\r\n" % (name.encode(), name.encode())


def answer_of(client):
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return answer


@pytest.mark.parametrize("ask, route", [
    (client_hello, {"to": "sni", "sni": ["*.evil.test"]}),
    (request_for, {"type": "connect", "hosts": ["*.evil.test:80"]}),
], ids=["hellos", "requests"])
def test_names_of_one_enclave_do_not_keep_anothers_from_being_found(relay, dns, peer, ask, route):
    server = peer(echo)
    dns.set("a.good.test", a=["127.0.0.1"])
    good = f"tcp://127.0.0.1:{free_port()}"
    daemon = relay("sni", route={"port": server.port, "sni": ["*.good.test"], "allow_private": True},
                   listener={"route": "evil", "peer": "evil", "allow": ["evil"]}, dns={"servers": [dns.servers], "timeout": "5m"},
                   enclaves={"evil": {"cid": 16}, "good": {"cid": 17}}, routes={"evil": {"type": "relay", **PATIENT, **route}},
                   listeners={"good": {"listen": good, "route": "out", "peer": "good", "allow": ["good"]}})
    use_up_share(daemon, dns, ask, "evil")
    with daemon.connect() as client:
        client.sendall(ask("more.evil.test"))
        if ask is request_for:
            assert b"upstream_dns" in answer_of(client).read()
        else:
            assert read_all(client)[:1] in (b"", b"\x15")  # a TLS alert at most
            ended, = daemon.wait_ended("limit_enclave", route="evil")
            assert ended["enclave"] == "evil" and ended["detail"] == (
                "cannot resolve more.evil.test: too many other names are being looked up for this enclave")
    assert dns.count("more.evil.test") == 0
    with connect(good) as client:
        hello = client_hello("a.good.test")
        client.sendall(hello)
        assert receive(client, len(hello)) == hello


@pytest.mark.parametrize("route", [
    lambda to: {"to": to},
    lambda to: {"to": to, "sni": ["api.test"]},
    lambda to: {"to": {"sni": {"api.test": to}}},
], ids=["address", "address after the hello", "map"])
def test_names_of_the_configuration_are_not_the_enclaves(relay, dns, peer, route):
    """Who has used up its share may still go where the operator's route leads, by whichever way that names the destination."""
    dns.set("fixed.good.test", a=["127.0.0.1"])
    to = f"tcp://fixed.good.test:{peer(echo).port}"
    at = f"tcp://127.0.0.1:{free_port()}"
    daemon = relay("sni", route={"port": 1, "sni": ["*.evil.test"]}, listener={"peer": "evil", "allow": ["evil"]}, dns={"servers": [dns.servers], "timeout": "5m"},
                   enclaves={"evil": {"cid": 16}}, routes={"fixed": {"type": "relay", **PATIENT, "allow_private": True, **route(to)}},
                   listeners={"fixed": {"listen": at, "route": "fixed", "peer": "evil", "allow": ["evil"]}})
    use_up_share(daemon, dns, client_hello, "out")
    with connect(at) as client:
        hello = client_hello("api.test")
        client.sendall(hello)
        assert receive(client, len(hello)) == hello
