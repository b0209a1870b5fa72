"""Too much of everything: descriptors, clients, slow clients. The daemon refuses, survives, recovers."""
import contextlib
import resource
import select
import socket
import threading
import time

import pytest

from hello import client_hello
from postern import PATIENT, connect, echo, echo_until_cut, free_port, receive, sanitizers, wait_until
from traffic import exhaust, is_cut

# The test's own descriptors: a stream needs one of the client's and one of the server's.
CLIENTS = 4000


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < 2 * CLIENTS + 500:
        pytest.fail(f"this test needs {2 * CLIENTS + 500} descriptors, and `ulimit -Hn` is {hard}")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class EchoServer:
    """Thousands of connections in one thread."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.address = f"tcp://127.0.0.1:{self.server.getsockname()[1]}"
        self.most = 0
        self.stopping = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        poll, connections = select.epoll(), {}
        self.server.setblocking(False)
        poll.register(self.server, select.EPOLLIN)
        while not self.stopping:
            for number, _ in poll.poll(0.1):
                if number == self.server.fileno():
                    with contextlib.suppress(BlockingIOError):
                        while True:
                            one, _ = self.server.accept()
                            connections[one.fileno()] = one
                            poll.register(one, select.EPOLLIN)
                    self.most = max(self.most, len(connections))
                else:
                    one = connections[number]
                    try:
                        data = one.recv(4096)
                        one.sendall(data)
                    except ConnectionError:
                        data = b""
                    if not data:
                        poll.unregister(number)
                        connections.pop(number).close()
        for one in connections.values():
            one.close()
        poll.close()

    def close(self):
        self.stopping = True
        self.thread.join()
        self.server.close()


@pytest.fixture
def echo_server():
    server = EchoServer()
    yield server
    server.close()


def test_thousands_of_clients_at_once(relay, echo_server, many_descriptors):
    daemon = relay(echo_server.address, limits={"max_streams": CLIENTS}, route={"max_streams": CLIENTS})
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(CLIENTS):
            client = stack.enter_context(daemon.connect())
            client.sendall(b"hello")
            clients.append(client)
        for client in clients:
            assert receive(client, 5) == b"hello"
        status = daemon.status()
        assert status["streams"]["active"] == echo_server.most == CLIENTS
        assert min(worker["active"] for worker in status["workers"]) > CLIENTS / 4
        assert is_cut(daemon)
        daemon.wait_ended("limit_daemon")
        per_stream = (status["process"]["resident_bytes"] - resident_at_rest(relay)) / CLIENTS
        assert sanitizers() or per_stream < 4096, f"{per_stream:.0f} bytes a stream"
    daemon.wait_quiet()
    assert is_well(daemon)


def resident_at_rest(relay):
    return relay("tcp://127.0.0.1:1").status()["process"]["resident_bytes"]


def is_well(daemon):
    try:
        with daemon.connect() as client:
            client.sendall(b"hello")
            return receive(client, 5) == b"hello"
    except ConnectionError:
        return False


def test_accept_without_descriptors(relay, peer):
    """An accept finds none. Those who cannot be taken are reset, not kept waiting."""
    daemon = relay(peer(echo_until_cut).address, workers=1)
    failed = exhaust(daemon, 0, "accept failed")
    assert failed["reason"] == "no_descriptors" and failed["listener"] == "in" and "open files" in failed["detail"]
    assert all(is_cut(daemon) for _ in range(5))
    time.sleep(0.3)  # in which one that spins would try a thousand times
    daemon.leave_descriptors(100)
    assert is_well(daemon)
    metrics = daemon.metrics()
    assert metrics['postern_streams_ended_total{route="out",reason="no_descriptors"}'] >= 6
    assert 1 <= metrics['postern_listener_accept_errors_total{listener="in"}'] < 100
    assert metrics['postern_listener_refused_total{listener="in"}'] >= 6


def test_connect_without_descriptors(relay, peer):
    """One is left when the client is taken, none when the destination is dialed."""
    daemon = relay(peer(echo_until_cut).address, workers=1)
    ended = exhaust(daemon, 1, "stream ended")
    assert "Too many open files" in ended["detail"] or "descriptors" in ended["detail"]
    daemon.leave_descriptors(100)
    assert is_well(daemon)


def test_the_admin_socket_without_descriptors(relay, peer):
    """It may wait, but it comes back."""
    daemon = relay(peer(echo_until_cut).address, workers=1)
    daemon.leave_descriptors(10)
    with contextlib.ExitStack() as stack:
        for _ in range(15):
            with contextlib.suppress(ConnectionError):
                stack.enter_context(daemon.connect())
    wait_until(lambda: is_well(daemon))
    assert daemon.status()["state"] == "ready"


def test_a_flood_that_is_refused_does_not_flood_the_log(relay, peer):
    """1,000 lines a second for each kind, after a burst; what was held back is counted in the next line."""
    daemon = relay(peer(echo).address, route={"max_streams": 1}, workers=1)
    with daemon.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        begun, count = time.monotonic(), 0
        while count < 6000 and time.monotonic() < begun + 20:
            assert is_cut(daemon)
            count += 1
        daemon.wait_event(reason="limit_route")
        seconds = time.monotonic() - begun
        series = 'postern_streams_ended_total{route="out",reason="limit_route"}'
        wait_until(lambda: daemon.metrics()[series] == count)
        lines = daemon.events(reason="limit_route")
        assert len(lines) <= 2000 + 1000 * (seconds + 1)
        if len(lines) < count:
            wait_until(lambda: is_cut(daemon) and sum(event.get("suppressed", 0) for event in daemon.events()) > 0)


@pytest.mark.parametrize("drip", [b"", b"\x16"])
def test_slow_clients_do_not_keep_others_out(relay, peer, drip):
    """Hundreds that open and say nothing, or next to nothing: a good client is served as if they were not there, and they are
    cut in time."""
    server = peer(echo_until_cut)
    at, at_named = f"tcp://127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{free_port()}"
    good = {"type": "relay", "to": server.address, **PATIENT}
    daemon = relay(server.address, route={"sni": ["a.test"], "hello_timeout": "1500ms"},
                   listeners={"good": {"listen": at, "route": "good", "allow": "any"},
                              "named": {"listen": at_named, "route": "named", "allow": "any"}},
                   routes={"good": good, "named": {**good, "sni": ["a.test"]}})
    with contextlib.ExitStack() as stack:
        for _ in range(500):
            with contextlib.suppress(ConnectionError):
                stack.enter_context(daemon.connect()).sendall(drip)
        with connect(at) as client:
            for _ in range(50):
                client.sendall(b"ping")
                assert receive(client, 4) == b"ping"
        with connect(at_named) as client:
            client.sendall(client_hello("a.test"))
            assert client.recv(1) == b"\x16"  # the echo of its hello
        wait_until(lambda: len(daemon.events(reason="hello_timeout")) == 500)
    assert server.served == 2


def test_a_turn_is_not_a_stall(relay, peer):
    """Under plain load none is reported. One may be when the machine does not let the daemon run: then the next load shows it."""
    daemon = relay(peer(echo_until_cut).address)

    def stalls():
        return daemon.metrics()["postern_event_loop_stalls_total"]

    def carries_without():
        before = stalls()
        assert all(is_well(daemon) for _ in range(100))
        return stalls() == before

    wait_until(carries_without)
