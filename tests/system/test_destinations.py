"""Destinations on a bad day: they refuse, are not there, speak nonsense, read slowly or never, and never close."""
import contextlib
import os
import socket
import threading

import pytest

from postern import echo, echo_until_cut, free_port, receive, sanitizers, wait_until
from traffic import Background, Pattern, check_pattern, hybrid_backend, is_cut, send_pattern

MIB = 1 << 20
UP = Pattern(1)


def test_a_port_that_nobody_listens_at(relay):
    at = f"127.0.0.1:{free_port()}"
    daemon = relay(f"tcp://{at}")
    assert all(is_cut(daemon) for _ in range(3))
    ended = daemon.wait_ended("connect_refused", count=3)
    assert f"cannot connect to tcp://{at} ({at}): " in ended[0]["detail"] and ended[0]["level"] == "warn"


@pytest.mark.parametrize("listen", ["tcp", "unix"])
def test_a_unix_socket_that_is_not_there(relay, folder, listen):
    daemon = relay(f"unix://{folder}/nobody.sock", listen)
    assert is_cut(daemon, b"hello")
    daemon.wait_ended("unreachable")


def test_a_unix_socket_that_is_left_over(relay, folder):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{folder}/left.sock")
    os.chmod(f"{folder}/left.sock", 0o666)  # the daemon may be another user
    daemon = relay(f"unix://{folder}/left.sock")
    assert is_cut(daemon)
    daemon.wait_ended("connect_refused")


def test_a_unix_socket_that_may_not_be_opened(relay, folder):
    """A file that is no socket stands for it: root may open every socket."""
    (folder / "file").write_text("")
    (folder / "file").chmod(0o666)
    daemon = relay(f"unix://{folder}/file")
    assert is_cut(daemon)
    daemon.wait_ended("connect_refused")


def test_a_unix_socket_whose_backlog_is_full(relay, folder):
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(f"{folder}/full.sock")
        os.chmod(f"{folder}/full.sock", 0o666)
        server.listen(0)
        for _ in range(2):
            one = stack.enter_context(socket.socket(socket.AF_UNIX))
            one.setblocking(False)
            one.connect_ex(f"{folder}/full.sock")
        daemon = relay(f"unix://{folder}/full.sock")
        assert is_cut(daemon)
        ended, = daemon.wait_ended("connect_failed")
        assert "backlog is full" in ended["detail"]


def test_a_destination_on_no_network(relay):
    """255.255.255.255 is nowhere that a stream could go."""
    daemon = relay("tcp://255.255.255.255:1")
    assert is_cut(daemon)
    daemon.wait_ended("unreachable")


@pytest.mark.parametrize("answer,reason", [(b"", "connect_refused"), (b"NO\n", "connect_failed"), (b"OK 1\r\n", "connect_failed"),
                                           (b"OK x\n", "connect_failed"), (b"x" * 1000, "connect_failed")],
                         ids=["an end", "NO", "a line of Windows", "no number", "no end of line"])
def test_a_hybrid_peer_that_does_not_say_ok(relay, peer, folder, answer, reason):
    def serve(connection):
        receive(connection, len(b"CONNECT 9000\n"))
        connection.sendall(answer)
        if answer:
            with contextlib.suppress(ConnectionError):
                connection.recv(1)

    peer(serve, address=f"unix://{folder}/vm.sock")
    daemon = relay(f"hybrid://{folder}/vm.sock:9000")
    assert is_cut(daemon)
    daemon.wait_ended(reason)


def test_a_hybrid_peer_that_is_slow_to_say_ok(relay, peer, folder):
    """A byte at a time, the guest's own first byte in the same breath."""
    def serve(connection):
        for byte in b"OK 7":
            connection.sendall(bytes([byte]))
        connection.sendall(b"\n!")
        echo(connection)

    def greet(connection):
        receive(connection, len(b"CONNECT 9000\n"))
        serve(connection)

    peer(greet, address=f"unix://{folder}/vm.sock")
    daemon = relay(f"hybrid://{folder}/vm.sock:9000")
    with daemon.connect() as client:
        client.sendall(b"hello")
        assert receive(client, 6) == b"!hello"
    daemon.wait_ended("finished")


def test_a_hybrid_peer_gets_one_connect_a_stream(relay, peer, folder):
    greetings = []
    peer(hybrid_backend(echo, greetings), address=f"unix://{folder}/vm.sock")
    daemon = relay(f"hybrid://{folder}/vm.sock:9000")
    for _ in range(3):
        with daemon.connect() as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
    assert greetings == [b"CONNECT 9000\n"] * 3
    daemon.wait_ended("finished", count=3)


def slow_reader(total, go):
    def serve(connection):
        go.wait()
        assert check_pattern(connection, UP) == total
        connection.sendall(b"ok")
    return serve


def test_memory_is_bounded_while_a_destination_does_not_read(relay, peer):
    """Twenty clients push ten MiB each. Beside the kernel's buffers the daemon may hold 64 KiB or a pipe for each."""
    total, count, go = 10 * MIB, 20, threading.Event()
    daemon = relay(peer(slow_reader(total, go)).address)
    before = daemon.resident_bytes()

    def push():
        with daemon.connect() as client:
            send_pattern(client, UP, total)
            client.shutdown(socket.SHUT_WR)
            return receive(client, 2)

    clients = [Background(push) for _ in range(count)]
    bytes_in = 'postern_stream_bytes_total{route="out",direction="in"}'
    moved = [-1]

    def is_stuck():
        moved.append(daemon.metrics()[bytes_in])
        return moved[-1] > 0 and len(moved) > 20 and moved[-1] == moved[-20]

    wait_until(is_stuck)
    most = daemon.resident_bytes()
    go.set()
    assert [client.result() for client in clients] == [b"ok"] * count
    daemon.wait_ended("finished", count=count)
    assert sanitizers() or most - before < 10 * MIB  # of 200


def test_memory_is_given_back_after_a_rush(relay, peer):
    """Two hundred streams carry a MiB each and stay open: idle, they hold no buffer."""
    def serve(connection):
        check_pattern(connection, UP, MIB)
        connection.sendall(b"ok")
        connection.recv(1)

    daemon = relay(peer(serve).address)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(daemon.connect()) for _ in range(200)]
        for client in clients:
            send_pattern(client, UP, MIB)
            assert receive(client, 2) == b"ok"
        status = daemon.status()
        # Two sockets a stream, and what the daemon has of its own; a lent pipe would be two more.
        assert status["process"]["open_fds"] < 3 * 200
    daemon.wait_ended("finished", count=200)


def test_a_stream_that_stalls_does_not_stall_another(relay, peer):
    """One worker carries both."""
    stalls, go = threading.Event(), threading.Event()

    def serve(connection):
        if not stalls.is_set():
            stalls.set()
            go.wait()
            assert check_pattern(connection, UP) == 40 * MIB
        else:
            echo(connection)

    daemon = relay(peer(serve).address, workers=1)
    with daemon.connect() as first:
        sender = Background(send_pattern, first, UP, 40 * MIB)
        stalls.wait()
        wait_until(lambda: daemon.metrics()['postern_stream_bytes_total{route="out",direction="in"}'] > 0)
        with daemon.connect() as second:
            for _ in range(200):
                second.sendall(b"ping")
                assert receive(second, 4) == b"ping"
        go.set()
        sender.result()
    daemon.wait_ended("finished", count=2)


def test_a_destination_that_never_closes(relay, peer):
    """It is given the client's end, and the stream ends when it may be cut, not before."""
    done = threading.Event()
    server = peer(lambda connection: done.wait())
    daemon = relay(server.address, route={"half_closed_timeout": "500ms"})
    with daemon.connect() as client:
        client.sendall(b"bye")
        client.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    done.set()
    daemon.wait_ended("half_closed_timeout")


def test_descriptors_do_not_leak(relay, peer):
    """Streams that end well and streams that are cut. Each worker keeps up to 16 pipes."""
    daemon = relay(peer(echo_until_cut).address)
    before = len(daemon.descriptors())
    for turn in range(300):
        with daemon.connect() as client:
            client.sendall(UP.at(0, 1000 * (turn % 100)))
            if turn % 2:
                receive(client, 1000 * (turn % 100))
    wait_until(lambda: len(daemon.descriptors()) <= before + 2 * 16 * 2)
