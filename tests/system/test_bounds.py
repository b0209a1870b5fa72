"""The bounds of docs/threat-model.md that are seen from outside. Each test fails when its bound is removed, which
scripts/mutate-bounds shows."""
import contextlib
import os
import pathlib
import resource
import signal
import socket
import ssl
import stat
import time

import pytest

from dns_server import DnsServer
from postern import abort, connect, http_ok, listen, read_all, wait_until
from traffic import Background

SECRET = b"correct-horse-battery-staple"
ALLOWED = "kms.example.test"


def client_hello(name=ALLOWED):
    """What OpenSSL says first; `name` None: without a server name."""
    context = ssl.create_default_context()
    if name is None:
        context.check_hostname = False
    sent = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name).do_handshake()
    return sent.read()


def is_over(connection):
    """The other side ended it, in whatever way."""
    with contextlib.suppress(ConnectionError):
        read_all(connection)
    return True


def echo(connection):
    """Sends everything back, until the other side has gone, in whatever way."""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            connection.sendall(piece)


def resident_bytes(daemon):
    for line in pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def descriptors(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


# ---- where a stream may lead


@pytest.mark.parametrize("hello, reason", [
    (client_hello("metadata.example.test"), "denied_sni"),
    (client_hello(ALLOWED + ".attacker.test"), "denied_sni"),
    (client_hello(None), "no_sni"),
    (b"GET / HTTP/1.1\r\nHost: " + ALLOWED.encode() + b"\r\n\r\n", "not_tls"),
    # A handshake message of 16 MiB is announced.
    (b"\x16\x03\x01\x40\x00\x01\xff\xff\xff", "bad_hello"),
], ids=["another name", "a longer name", "no name", "no TLS", "a huge hello"])
def test_a_stream_with_a_wrong_name_goes_nowhere(relay, peer, hello, reason):
    destination = peer(echo)
    daemon = relay(destination.address, route={"sni": [ALLOWED]})
    with daemon.connect() as client:
        client.sendall(hello)
        assert is_over(client)
    daemon.wait_ended(reason)
    assert destination.served == 0


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


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.1.2.3", "100.100.100.200"])
def test_a_name_does_not_lead_inside(relay, peer, address):
    destination = peer(echo)
    with DnsServer({"inside.test": {"a": [address]}}) as dns:
        daemon = relay(f"tcp://inside.test:{destination.port}", dns={"servers": [dns.servers]})
        with daemon.connect() as client:
            assert is_over(client)
        daemon.wait_ended("denied_address")
        assert destination.served == 0


# ---- time


def trickle(connection, data, every, seconds):
    """A byte now and then, until the other side has had enough of it."""
    end = time.monotonic() + seconds
    try:
        for byte in data:
            if time.monotonic() > end:
                return False
            connection.sendall(bytes([byte]))
            time.sleep(every)
    except ConnectionError:
        return True
    return False


def test_a_hello_that_does_not_end_has_a_time(relay, peer):
    """A byte now and then does not make it longer."""
    destination = peer(echo)
    daemon = relay(destination.address, route={"sni": [ALLOWED], "hello_timeout": "400ms"})
    with daemon.connect() as client:
        started = time.monotonic()
        assert trickle(client, client_hello() * 2, 0.05, 10)
        assert 0.4 <= time.monotonic() - started < 5
    daemon.wait_ended("hello_timeout")
    assert destination.served == 0


def test_a_caller_that_says_nothing_has_a_time(relay, peer):
    daemon = relay(peer(is_over).address, route={"first_byte_timeout": "300ms"})
    with daemon.connect() as client:
        assert is_over(client)
    daemon.wait_ended("first_byte_timeout")


def test_a_stream_that_falls_silent_has_a_time(relay, peer):
    daemon = relay(peer(echo).address, route={"idle_timeout": "300ms"})
    with daemon.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        assert is_over(client)
    daemon.wait_ended("idle_timeout")


@pytest.mark.parametrize("side", ["caller", "destination"])
def test_a_side_that_never_closes_has_a_time(relay, peer, side):
    def done(connection):
        connection.sendall(b"done")
        connection.shutdown(socket.SHUT_WR)
        is_over(connection)

    def stay(connection):
        read_all(connection)
        is_over(connection)
        time.sleep(1)

    daemon = relay(peer(done if side == "destination" else stay).address, route={"half_closed_timeout": "300ms"})
    with daemon.connect() as client:
        if side == "caller":
            client.sendall(b"done")
            client.shutdown(socket.SHUT_WR)
        assert is_over(client)
        daemon.wait_ended("half_closed_timeout")


def test_a_destination_that_does_not_answer_has_a_time(relay):
    """A listener whose backlog is full drops what more comes, as a firewall does."""
    full, address = listen("tcp://127.0.0.1:0", backlog=0)
    with full, contextlib.ExitStack() as stack:
        for _ in range(3):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        daemon = relay(address, route={"connect_timeout": "300ms"})
        with daemon.connect() as client:
            started = time.monotonic()
            assert is_over(client)
            assert 0.2 < time.monotonic() - started < 5
        daemon.wait_ended("connect_timeout")


@pytest.mark.parametrize("answer, reason", [(b"O" * 100000, "connect_failed"), (b"", "connect_timeout")],
                         ids=["endless", "none"])
def test_a_greeting_has_a_length_and_a_time(relay, peer, folder, answer, reason):
    def greet(connection):
        with contextlib.suppress(ConnectionError):
            connection.sendall(answer)
            is_over(connection)

    peer(greet, address=f"unix://{folder}/guest.sock")
    daemon = relay(f"hybrid://{folder}/guest.sock:52", route={"connect_timeout": "300ms"})
    with daemon.connect() as client:
        assert is_over(client)
    daemon.wait_ended(reason)


# ---- number


LIMITS = {
    "limit_enclave": {"enclaves": {"one": {"cid": 16, "max_streams": 5}}},
    "limit_route": {"enclaves": {"one": {"cid": 16}}, "route": {"max_streams": 5}},
    "limit_daemon": {"enclaves": {"one": {"cid": 16}}, "limits": {"max_streams": 5}},
}


@pytest.mark.parametrize("reason", LIMITS)
def test_streams_have_a_number(relay, peer, reason):
    """Those over it are refused at once, and the places come back when streams end, however they end."""
    daemon = relay(peer(echo).address, listen="unix", listener={"peer": "one", "allow": ["one"]}, **LIMITS[reason])
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            one = stack.enter_context(daemon.connect())
            one.sendall(b"x")
            assert one.recv(1) == b"x"
        for _ in range(3):
            with daemon.connect() as more:
                assert is_over(more)
        daemon.wait_ended(reason, count=3)
    daemon.wait_quiet()
    with daemon.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"


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

    storm(300)
    before = descriptors(daemon), resident_bytes(daemon)
    storm(1500)
    wait_until(lambda: descriptors(daemon) <= before[0], what="the end of the descriptors' growth")
    assert resident_bytes(daemon) < before[1] + 512 * 1024


def test_without_descriptors_callers_are_told_at_once(relay, peer):
    """Instead of waiting in the backlog for nobody knows how long. Streams that are open go on."""
    def serves():
        with contextlib.suppress(ConnectionError), daemon.connect() as client:
            client.sendall(b"x")
            return client.recv(1) == b"x"

    daemon = relay(peer(echo).address)
    before = descriptors(daemon)
    with contextlib.ExitStack() as stack:
        good = [stack.enter_context(daemon.connect()) for _ in range(4)]
        for one in good:
            one.sendall(b"x")
            assert one.recv(1) == b"x"
        taken = {int(fd) for fd in os.listdir(f"/proc/{daemon.process.pid}/fd")}
        lowest_free = min(set(range(len(taken) + 1)) - taken)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (lowest_free, lowest_free))
        for _ in range(10):
            with contextlib.suppress(ConnectionError), daemon.connect(timeout=1) as client:
                assert is_over(client)
        for one in good:
            one.sendall(b"y")
            assert one.recv(1) == b"y"
    wait_until(serves)
    wait_until(lambda: descriptors(daemon) <= before + 1)
    assert daemon.metrics()['postern_streams_ended_total{route="out",reason="no_descriptors"}'] >= 10


# ---- memory


def test_a_side_that_does_not_read_costs_little(relay, peer):
    """The other side is not read on: what is between them is bounded, and it is in the kernel for the most part."""
    streams, over = 40, []
    deaf = peer(lambda connection: wait_until(lambda: over, 50))
    daemon = relay(deaf.address, workers=1)
    before = resident_bytes(daemon)
    with contextlib.ExitStack() as stack:
        for _ in range(streams):
            one = stack.enter_context(daemon.connect())
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    one.send(bytes(65536))
        time.sleep(0.5)
        held = resident_bytes(daemon) - before
        over.append(True)
    assert held < streams * 65536 + 1024 * 1024


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


@pytest.mark.slow(120)
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
    lines = wait_until(lambda: [event for event in daemon.events(event="stream refused")])
    told = wait_until(lambda: sum(1 + event.get("suppressed", 0) for event in daemon.events(event="stream refused"))
                      == refused + 1)
    assert told and len(lines) <= most
    if most < refused:
        assert len(lines) < refused


def test_no_byte_that_passes_is_told(relay, peer):
    daemon = relay(peer(echo).address)
    with daemon.connect() as client:
        client.sendall(SECRET)
        assert client.recv(len(SECRET), socket.MSG_WAITALL) == SECRET
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
        daemon.stopped = True
        assert daemon.process.wait(10) == 1
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
    daemon = relay(peer(read_all).address, workers=1)

    def send():
        with contextlib.suppress(ConnectionError), daemon.connect() as client:
            while not over:
                client.sendall(bytes(1 << 20))

    over = []
    sender = Background(send)
    wait_until(lambda: daemon.status()["routes"][0]["bytes_in"] > 0)
    for _ in range(50):
        daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(0.15)
        daemon.process.send_signal(signal.SIGCONT)
        time.sleep(0.02)
        if daemon.events(event="event loop stalled"):
            break
    over.append(True)
    sender.result()
    stall = daemon.wait_event(event="event loop stalled")
    assert stall["route"] == "out" and stall["worker"] == 0
    assert daemon.metrics()["postern_event_loop_stalls_total"] >= 1
