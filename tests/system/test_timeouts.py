"""Each timeout: when it cuts, when it does not, and what both sides and the log are told."""
import contextlib
import socket
import time

import pytest

from postern import blackhole, echo_until_cut, read_all, receive, reply_after_end, wait_until
from traffic import Pattern, check_pattern, is_cut, send_pattern

LONG = {"first_byte_timeout": "10m", "idle_timeout": "10m", "half_closed_timeout": "10m", "connect_timeout": "10m"}


def cut_after(daemon, reason, milliseconds):
    ended, = daemon.wait_ended(reason)
    assert milliseconds <= ended["duration_ms"]
    assert ended["level"] == "info"
    return ended


def in_time(attempt):
    """For what has to be quicker than a timeout of a fraction of a second, which is not always to be had on a busy machine: then
    once more. What the daemon does wrong it does wrong every time."""
    def succeeds():
        try:
            attempt()
        except (AssertionError, ConnectionError):
            return False
        return True
    wait_until(succeeds, what=attempt.__name__)


def is_reset(connection):
    try:
        return connection.recv(1) != b""
    except ConnectionResetError:
        return True


@pytest.fixture
def silent(peer):
    """A destination that says nothing, and what it saw in the end."""
    seen = []
    server = peer(lambda connection: seen.append(is_reset(connection)))
    return server, seen


def test_a_stream_without_a_first_byte(relay, silent):
    server, seen = silent
    daemon = relay(server.address, route={**LONG, "first_byte_timeout": "300ms"})
    with daemon.connect() as client:
        assert is_reset(client)
    cut_after(daemon, "first_byte_timeout", 300)
    assert wait_until(lambda: seen) == [True]


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_a_first_byte_from_either_side_will_do(relay, peer, first):
    def serve(connection):
        with contextlib.suppress(ConnectionError):
            if first == "upstream":
                connection.sendall(b"x")
            connection.recv(1)
            time.sleep(0.6)  # twice the timeout
            connection.sendall(b"y")

    daemon = relay(peer(serve).address, route={**LONG, "first_byte_timeout": "300ms"})

    def one_byte_then_silence():
        with daemon.connect() as client:
            client.sendall(b"x" if first == "client" else b"")
            if first == "upstream":
                assert client.recv(1) == b"x"
                time.sleep(0.6)
                client.sendall(b"x")
            assert client.recv(1) == b"y"

    in_time(one_byte_then_silence)
    daemon.wait_ended("finished")
    assert not [event for event in daemon.events(reason="first_byte_timeout") if event["bytes_in"] + event["bytes_out"] > 0]


@pytest.mark.parametrize("listen", ["tcp", "unix"])
def test_a_stream_that_falls_idle(relay, peer, listen):
    daemon = relay(peer(echo_until_cut).address, listen, route={**LONG, "idle_timeout": "300ms"})

    def carry_and_fall_idle():
        with daemon.connect() as client:
            client.sendall(b"hello")
            assert receive(client, 5) == b"hello"
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""

    in_time(carry_and_fall_idle)
    ended = wait_until(lambda: daemon.events(reason="idle_timeout", bytes_in=5, bytes_out=5))[0]
    assert ended["duration_ms"] >= 300 and ended["level"] == "info"


def test_bytes_one_way_are_enough_not_to_be_idle(relay, peer):
    def serve(connection):
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                connection.sendall(b"x")
                time.sleep(0.05)

    daemon = relay(peer(serve).address, route={**LONG, "idle_timeout": "400ms"})

    def receive_a_byte_now_and_then():
        with daemon.connect() as client:
            assert receive(client, 20) == b"x" * 20

    in_time(receive_a_byte_now_and_then)
    daemon.wait_ended("finished")


def test_an_idle_timeout_shorter_than_the_first_bytes(relay, peer):
    daemon = relay(peer(echo_until_cut).address, route={**LONG, "idle_timeout": "200ms"})
    with daemon.connect() as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(b"x")
            assert receive(client, 2) == b"x"
    cut_after(daemon, "idle_timeout", 200)


def test_a_stalled_reader_is_idle(relay, peer):
    """Nothing moves while a side does not read, however much there is to send."""
    def serve(connection):
        with contextlib.suppress(ConnectionError):
            send_pattern(connection, Pattern(1), 100 << 20)

    daemon = relay(peer(serve).address, route={**LONG, "idle_timeout": "300ms"})
    with daemon.connect() as client:
        daemon.wait_ended("idle_timeout")
        with pytest.raises(ConnectionResetError):
            check_pattern(client, Pattern(1))


@pytest.mark.parametrize("by", ["client", "upstream"])
def test_a_half_closed_stream_on_which_nothing_comes(relay, peer, by):
    seen = []

    def serve(connection):
        if by == "upstream":
            connection.shutdown(socket.SHUT_WR)
        while True:
            try:
                if not connection.recv(1):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    wait_until(lambda: connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or daemon.events(route="out"))
                    return
            except ConnectionResetError:
                seen.append("reset")
                return

    daemon = relay(peer(serve).address, route={**LONG, "half_closed_timeout": "300ms"})
    with daemon.connect() as client:
        if by == "client":
            client.shutdown(socket.SHUT_WR)
            assert is_reset(client)  # no answer came, which is not an empty answer
        else:
            assert client.recv(1) == b""
            wait_until(lambda: seen)
    cut_after(daemon, "half_closed_timeout", 300)


def test_a_late_reply_after_a_half_close_is_not_idle(relay, peer):
    """However long the other side takes, as long as it is within half_closed_timeout: the others do not count any more."""
    def serve(connection):
        with contextlib.suppress(ConnectionError):
            read_all(connection)
            time.sleep(1)
            connection.sendall(b"done")

    daemon = relay(peer(serve).address, route={**LONG, "idle_timeout": "200ms", "first_byte_timeout": "200ms"})

    def half_close_and_wait():
        with daemon.connect() as client:
            client.sendall(b"x")
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b"done"

    in_time(half_close_and_wait)
    daemon.wait_ended("finished")


def test_a_destination_that_does_not_answer(relay):
    with blackhole() as port:
        daemon = relay(f"tcp://127.0.0.1:{port}", route={**LONG, "connect_timeout": "300ms"})
        assert is_cut(daemon, b"x")
        ended, = daemon.wait_ended("connect_timeout")
        assert 300 <= ended["duration_ms"] and "no answer within 300 ms" in ended["detail"]
        assert (ended["bytes_in"], ended["bytes_out"]) == (0, 0)
        assert daemon.metrics()['postern_connect_duration_seconds_count{route="out"}'] == 0


def test_a_client_that_gives_up_on_a_destination_that_does_not_answer(relay):
    with blackhole() as port:
        daemon = relay(f"tcp://127.0.0.1:{port}", route=LONG)
        with daemon.connect() as client:
            wait_until(lambda: daemon.metrics()["postern_daemon_streams_active"] == 1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        daemon.wait_ended("client_reset")


def test_a_hybrid_peer_that_does_not_greet(relay, peer, folder):
    peer(lambda connection: connection.recv(1000) and is_reset(connection), address=f"unix://{folder}/vm.sock")
    daemon = relay(f"hybrid://{folder}/vm.sock:9000", route={**LONG, "connect_timeout": "300ms"})
    assert is_cut(daemon, b"x")
    daemon.wait_ended("connect_timeout")


def test_a_long_timeout_does_not_overflow(relay, peer):
    daemon = relay(peer(reply_after_end).address, route={"first_byte_timeout": "30d", "idle_timeout": "30d",
                                                         "half_closed_timeout": "30d", "connect_timeout": "1d"})
    with daemon.connect() as client:
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"got 0 bytes"
    daemon.wait_ended("finished")
