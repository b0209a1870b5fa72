"""The bounds of docs/threat-model.md that are seen from outside. Each test fails when its bound is removed, which
scripts/mutate-bounds shows."""
import contextlib
import os
import signal
import ssl
import stat
import time

import pytest

from postern import abort, connect, http_ok, listen, read_all, receive, sanitizers, wait_until
from traffic import Background, exhaust, is_cut

SECRET = b"correct-horse-battery-staple"
ALLOWED = "kms.example.test"


def client_hello(name=ALLOWED):
    """What OpenSSL says first; `name` None: without a server name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if name is None:
        context.check_hostname = False
    sent = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name).do_handshake()
    return sent.read()


def is_over(connection):
    """The other side ended it, in whatever way."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass
    return True


def echo(connection):
    """Sends everything back, until the other side has gone, in whatever way."""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            connection.sendall(piece)


# ---- what passes


def test_the_right_name_passes_and_not_a_byte_is_changed(relay, peer):
    """The relay reads the hello, and has no part in TLS: what was sent arrives, and what is sent back too."""
    arrived = []

    def serve(connection):
        arrived.append(connection.recv(65536))
        connection.sendall(b"\x15\x03\x03\x00\x02\x02\x28")

    hello = client_hello()
    daemon = relay(peer(serve).address, route={"sni": [ALLOWED]})
    with daemon.connect() as client:
        client.sendall(hello)
        assert read_all(client) == b"\x15\x03\x03\x00\x02\x02\x28"
    assert arrived == [hello]


def test_a_parent_without_the_key_is_found_out(relay, peer, authority):
    """What the enclave defends itself with: a destination whose certificate is another's is no destination."""
    genuine = peer(http_ok, tls=authority.server_context(ALLOWED))
    daemon = relay(genuine.address, route={"sni": [ALLOWED]})
    with authority.client_context().wrap_socket(daemon.connect(), server_hostname=ALLOWED) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")

    def pretend(connection):
        with contextlib.suppress(ssl.SSLError, OSError):
            authority.server_context("other.example.test").wrap_socket(connection, server_side=True)

    daemon = relay(peer(pretend).address, route={"sni": [ALLOWED]})
    with pytest.raises(ssl.SSLCertVerificationError):
        authority.client_context().wrap_socket(daemon.connect(), server_hostname=ALLOWED)


# ---- what comes back


def test_places_come_back_from_callers_that_abort(relay, peer):
    """A rapid reset gains nothing: no place, no descriptor and no memory is lost with the caller."""
    daemon = relay(peer(echo).address, route={"max_streams": 20})

    def storm(count):
        for number in range(count):
            one = daemon.connect()
            if number % 3 == 1:
                one.sendall(b"x")
            elif number % 3 == 2:
                one.sendall(b"x")
                one.recv(1)
            abort(one)
        daemon.wait_quiet()

    def leaves_nothing():
        descriptors, memory = len(daemon.descriptors()), daemon.resident_bytes()
        storm(600)
        return len(daemon.descriptors()) <= descriptors and (daemon.resident_bytes() <= memory or sanitizers())

    # What a storm takes for good, it takes every time; what else grows, a heap or the log's ring, does so for a while.
    wait_until(leaves_nothing)


def test_without_descriptors_callers_are_told_at_once(relay, peer):
    """Instead of waiting in the backlog for nobody knows how long. Streams that are open go on."""
    def serves():
        with contextlib.suppress(ConnectionError), daemon.connect() as client:
            client.sendall(b"x")
            return client.recv(1) == b"x"

    daemon = relay(peer(echo).address, workers=1)
    with contextlib.ExitStack() as stack:
        good = [stack.enter_context(daemon.connect()) for _ in range(4)]
        for one in good:
            one.sendall(b"x")
            assert one.recv(1) == b"x"
        exhaust(daemon, 0, "accept failed")
        assert all(is_cut(daemon) for _ in range(10))
        for one in good:
            one.sendall(b"y")
            assert one.recv(1) == b"y"
    wait_until(serves)
    assert daemon.metrics()['postern_streams_ended_total{route="out",reason="no_descriptors"}'] >= 11


# ---- what is told


def test_names_from_outside_add_no_series(relay, peer):
    daemon = relay(peer(echo).address, route={"sni": [ALLOWED]})
    before = set(daemon.metrics())
    for number in range(50):
        with daemon.connect() as client:
            client.sendall(client_hello(f"n{number}.attacker.test"))
            assert is_over(client)
    daemon.wait_ended("denied_sni", count=50)
    assert set(daemon.metrics()) == before


def test_callers_cannot_fill_the_log(relay, peer):
    """A line for each up to a burst of 2,000 and then 1,000 a second; those left out are counted, none is forgotten."""
    refused = 8000
    destination = peer(echo)
    daemon = relay(destination.address, limits={"max_streams": 1})
    started = time.monotonic()
    with daemon.connect() as first:
        first.sendall(b"x")
        assert first.recv(1) == b"x"
        for _ in range(refused):
            with contextlib.suppress(ConnectionError), daemon.connect() as client:
                client.recv(1)
        most = 2000 + 1000 * (time.monotonic() - started) + 10
        series = 'postern_streams_ended_total{route="out",reason="limit_daemon"}'
        wait_until(lambda: daemon.metrics()[series] == refused)
        time.sleep(0.1)
        with contextlib.suppress(ConnectionError), daemon.connect() as client:
            client.recv(1)  # its line tells how many went without
    wait_until(lambda: sum(1 + event.get("suppressed", 0) for event in daemon.events(event="stream refused")) == refused + 1)
    assert len(daemon.events(event="stream refused")) <= most


def test_no_byte_that_passes_is_told(relay, peer):
    daemon = relay(peer(echo).address)
    with daemon.connect() as client:
        client.sendall(SECRET)
        assert receive(client, len(SECRET)) == SECRET
        told = daemon.request("GET", "/status")[1] + daemon.request("GET", "/metrics")[1]
        abort(client)
    daemon.wait_ended("client_reset")
    assert SECRET.decode() not in daemon.log() + told


def test_a_name_forges_no_line(relay, peer):
    """A byte that is no part of a host name makes the hello a bad one."""
    forged = b'x\n{"event":"forged"}'
    hello = client_hello("a" * len(forged)).replace(b"a" * len(forged), forged)
    daemon = relay(peer(echo).address, route={"sni": [ALLOWED]})
    with daemon.connect() as client:
        client.sendall(hello)
        assert is_over(client)
    daemon.wait_ended("bad_hello")
    assert not daemon.events(event="forged")


# ---- the local machine


def test_socket_files_are_as_open_as_they_should_be(relay, peer):
    previous = os.umask(0)
    try:
        daemon = relay(peer(echo).address, listen="unix", listener={"mode": "0600"})
    finally:
        os.umask(previous)
    assert stat.S_IMODE(os.stat(daemon.admin).st_mode) == 0o660
    assert stat.S_IMODE(os.stat(daemon.folder / "in.sock").st_mode) == 0o600


@pytest.mark.parametrize("kind", ["file", "link", "listener"])
def test_nothing_but_a_leftover_socket_is_replaced(relay, peer, kind):
    daemon = relay(peer(echo).address, listen="unix", begin=False)
    path = daemon.folder / "in.sock"
    other = daemon.folder / "other"
    with contextlib.ExitStack() as stack:
        if kind == "file":
            path.write_text("precious")
        elif kind == "link":
            other.write_text("precious")
            path.symlink_to(other)
        else:
            stack.enter_context(listen(f"unix://{path}")[0])
        daemon.spawn()
        assert daemon.wait() == 1
        assert "in use" in daemon.log()
        if kind == "listener":
            connect(f"unix://{path}").close()
        else:
            assert path.read_text() == "precious" and path.is_symlink() == (kind == "link")


def test_a_leftover_socket_is_replaced(relay, peer):
    daemon = relay(peer(echo).address, listen="unix", begin=False)
    listen(f"unix://{daemon.folder}/in.sock")[0].close()
    daemon.start()
    with daemon.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"


# ---- the event loop


def test_a_stall_is_told_with_its_route(relay, peer):
    """The daemon is stopped for a moment in the middle of its work, which to a clock is the same as being busy."""
    daemon = relay(peer(is_over).address, workers=1)

    def send():
        with contextlib.suppress(ConnectionError), daemon.connect() as client:
            while not over:
                client.sendall(bytes(1 << 20))

    def told():
        """Whether the worker is in a turn just then is chance. A stall may come without our doing and without a route, too."""
        daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(0.15)
        daemon.process.send_signal(signal.SIGCONT)
        time.sleep(0.02)
        return daemon.events(event="event loop stalled", route="out")

    over = []
    sender = Background(send)
    wait_until(lambda: daemon.status()["routes"][0]["bytes_in"] > 0)
    stall = wait_until(told)[0]
    over.append(True)
    sender.result()
    assert stall["worker"] == 0 and stall["busy_ms"] >= 100
    assert daemon.metrics()["postern_event_loop_stalls_total"] >= 1
