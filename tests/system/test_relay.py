"""Bytes through a relay: every kind of address, every size, both directions at once, each end by itself."""
import socket
import threading

import pytest

from postern import echo, read_all, receive, reply_after_end, wait_until
from traffic import Background, Pattern, check_pattern, exchange, hybrid_backend, send_pattern

MIB = 1 << 20
UP, DOWN = Pattern(1), Pattern(2)


@pytest.fixture
def destination(peer, folder):
    """destination(kind, handler): the address of a peer of that kind, and what it was greeted with."""
    def start(kind, handler):
        greetings = []
        if kind == "tcp":
            return peer(handler).address, greetings
        if kind == "tcp6":
            return peer(handler, address="tcp://[::1]:0").address, greetings
        if kind == "unix":
            return peer(handler, address=f"unix://{folder}/out.sock").address, greetings
        peer(hybrid_backend(handler, greetings), address=f"unix://{folder}/vm.sock")
        return f"hybrid://{folder}/vm.sock:9000", greetings
    return start


@pytest.mark.handover
@pytest.mark.parametrize("listen,to", [("tcp", "tcp"), ("unix", "tcp"), ("tcp", "unix"), ("unix", "unix"), ("tcp6", "tcp"),
                                       ("tcp", "tcp6"), ("hybrid", "tcp"), ("tcp", "hybrid"), ("hybrid", "hybrid")])
def test_any_address_to_any_address(relay, destination, listen, to):
    total = 3 * MIB + 17
    address, greetings = destination(to, lambda connection: exchange(connection, DOWN, UP, total))
    daemon = relay(address, listen)
    with daemon.connect() as client:
        exchange(client, UP, DOWN, total)
    ended, = daemon.wait_ended("finished")
    assert (ended["bytes_in"], ended["bytes_out"]) == (total, total)
    assert ended["listener"] == "in" and ended["destination"] == address
    assert greetings == ([b"CONNECT 9000\n"] if to == "hybrid" else [])
    metrics = daemon.metrics()
    assert metrics['postern_stream_bytes_total{route="out",direction="in"}'] == total
    assert metrics['postern_stream_bytes_total{route="out",direction="out"}'] == total
    assert metrics['postern_connect_duration_seconds_count{route="out"}'] == 1


def test_a_hundred_megabytes_both_ways_at_once(relay, peer):
    total = 120 * MIB + 1
    server = peer(lambda connection: exchange(connection, DOWN, UP, total))
    daemon = relay(server.address)
    with daemon.connect() as client:
        exchange(client, UP, DOWN, total)
    ended, = daemon.wait_ended("finished")
    assert (ended["bytes_in"], ended["bytes_out"]) == (total, total)


SIZES = [0, 1, 2, 1459, 1460, 4095, 4096, 16383, 16384, 16385, 65535, 65536, 65537, 131072, 262143, 1048576, 1048577, 5000000]


def test_every_size(relay, peer):
    sizes = iter(SIZES)
    lock = threading.Lock()

    def serve(connection):
        with lock:
            size = next(sizes)
        assert check_pattern(connection, UP) == size
        send_pattern(connection, DOWN, size)

    daemon = relay(peer(serve).address)
    for size in SIZES:
        with daemon.connect() as client:
            send_pattern(client, UP, size)
            client.shutdown(socket.SHUT_WR)
            assert check_pattern(client, DOWN) == size
    ended = daemon.wait_ended("finished", count=len(SIZES))
    assert sorted(event["bytes_in"] for event in ended) == SIZES
    assert sorted(event["bytes_out"] for event in ended) == SIZES


def test_a_byte_at_a_time_is_not_kept_waiting(relay, peer):
    daemon = relay(peer(echo).address)
    with daemon.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for value in range(200):
            client.sendall(bytes([value]))
            assert client.recv(100) == bytes([value])
    daemon.wait_ended("finished")


def test_bulk_then_small_then_bulk(relay, peer):
    """A stream goes back and forth between splicing and copying."""
    daemon = relay(peer(echo).address)
    with daemon.connect() as client:
        for total in (4 * MIB, 1, 100, 4 * MIB, 30000, 1, 2 * MIB):
            sender = Background(send_pattern, client, UP, total)
            assert check_pattern(client, UP, total) == total
            sender.result()
    daemon.wait_ended("finished")


@pytest.mark.parametrize("listen", ["tcp", "unix"])
@pytest.mark.parametrize("total", [0, 10, 5 * MIB])
def test_the_reply_comes_after_the_client_is_done(relay, peer, listen, total):
    daemon = relay(peer(reply_after_end).address, listen)
    with daemon.connect() as client:
        send_pattern(client, UP, total)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"got %d bytes" % total
    daemon.wait_ended("finished")


@pytest.mark.parametrize("listen", ["tcp", "unix"])
def test_the_client_may_send_on_after_the_upstream_is_done(relay, peer, listen):
    received = []

    def serve(connection):
        connection.sendall(b"that is all")
        connection.shutdown(socket.SHUT_WR)
        received.append(check_pattern(connection, UP))

    server = peer(serve)
    daemon = relay(server.address, listen)
    with daemon.connect() as client:
        assert read_all(client) == b"that is all"
        send_pattern(client, UP, 5 * MIB)
    daemon.wait_ended("finished")
    assert wait_until(lambda: received) == [5 * MIB]


@pytest.mark.parametrize("listen", ["tcp", "unix"])
@pytest.mark.parametrize("total", [1, 300000, 20 * MIB])
def test_a_client_that_sends_and_closes_at_once(relay, peer, listen, total):
    """Everything arrives, however slowly the destination takes it, and whether or not it says something."""
    received, go = [], threading.Event()

    def serve(connection):
        go.wait()
        received.append(check_pattern(connection, UP))

    daemon = relay(peer(serve).address, listen)
    with daemon.connect() as client:
        sender = Background(send_pattern, client, UP, total)
        go.set()
        sender.result()
    daemon.wait_ended("finished")
    assert wait_until(lambda: received) == [total]


def test_an_upstream_that_sends_and_closes_at_once(relay, peer):
    daemon = relay(peer(lambda connection: send_pattern(connection, UP, 20 * MIB)).address)
    with daemon.connect() as client:
        assert check_pattern(client, UP) == 20 * MIB
    daemon.wait_ended("finished")


@pytest.mark.handover
def test_many_streams_at_once_do_not_mix(relay, peer):
    def serve(connection):
        seed = receive(connection, 1)[0]
        exchange(connection, Pattern(seed + 100), patterns[seed], MIB)

    patterns = [Pattern(seed) for seed in range(40)]
    daemon = relay(peer(serve).address)

    def run(seed):
        with daemon.connect() as client:
            client.sendall(bytes([seed]))
            exchange(client, patterns[seed], Pattern(seed + 100), MIB)

    for client in [Background(run, seed) for seed in range(40)]:
        client.result()
    daemon.wait_ended("finished", count=40)
    daemon.wait_quiet()
    status = daemon.status()
    assert [worker["active"] for worker in status["workers"]] == [0, 0]
    assert status["routes"][0]["ended"] == {"finished": 40}
    assert status["routes"][0]["bytes_in"] == 40 * (MIB + 1)
