"""A side that aborts: the other side is told, where its transport can tell, and a stream cut short never looks complete."""
import contextlib
import socket
import threading

import pytest

from postern import abort, echo_until_cut, receive, wait_until
from traffic import Background, Pattern, check_pattern, send_pattern

MIB = 1 << 20
UP, DOWN = Pattern(1), Pattern(2)


def is_reset(connection):
    """Reads to the end, which has to be a reset."""
    try:
        while connection.recv(262144):
            pass
    except ConnectionResetError:
        return True
    return False


@pytest.mark.parametrize("total", [100, 8 * MIB])
def test_the_upstream_hears_of_a_client_that_aborts(relay, peer, total):
    resets = []

    def serve(connection):
        receive(connection, 100)
        connection.sendall(b"x")
        resets.append(is_reset(connection))

    daemon = relay(peer(serve).address)
    with daemon.connect() as client:
        sender = Background(send_pattern, client, UP, total)
        receive(client, 1)
        sender.result()
        abort(client)
    daemon.wait_ended("client_reset")
    assert wait_until(lambda: resets) == [True]


@pytest.mark.parametrize("total", [100, 8 * MIB])
def test_the_client_hears_of_an_upstream_that_aborts(relay, peer, total):
    def serve(connection):
        send_pattern(connection, DOWN, total)
        receive(connection, 1)
        abort(connection)

    daemon = relay(peer(serve).address)
    with daemon.connect() as client:
        check_pattern(client, DOWN, total)
        client.sendall(b"x")
        assert is_reset(client)
    ended, = daemon.wait_ended("upstream_reset")
    assert ended["bytes_out"] == total and ended["level"] == "info"


def test_an_upstream_that_aborts_in_the_middle_of_an_upload(relay, peer):
    def serve(connection):
        receive(connection, MIB)
        abort(connection)

    daemon = relay(peer(serve).address)
    with daemon.connect() as client:
        with pytest.raises(ConnectionError):
            send_pattern(client, UP, 500 * MIB)
    daemon.wait_ended("upstream_reset")


def test_an_upstream_that_answers_and_refuses_to_read_on(relay, peer):
    """A server that says "too large" and closes, the upload still coming: its answer arrives, and so does the reset."""
    def serve(connection):
        receive(connection, 1000)
        connection.sendall(b"413 too large")
        # Closing with bytes unread is a reset.

    daemon = relay(peer(serve).address)
    with daemon.connect() as client:
        with contextlib.suppress(ConnectionError):  # the reset may be there before all of it is sent
            send_pattern(client, UP, 100000)
        assert receive(client, 13) == b"413 too large"
        with pytest.raises(ConnectionError):
            send_pattern(client, UP, 500 * MIB)
    daemon.wait_ended("upstream_reset")


def test_a_client_that_aborts_while_nothing_is_sent(relay, peer):
    resets = []
    daemon = relay(peer(lambda connection: resets.append(is_reset(connection))).address)
    with daemon.connect() as client:
        wait_until(lambda: daemon.status()["routes"][0]["connect"]["count"] == 1)
        abort(client)
    daemon.wait_ended("client_reset")
    assert wait_until(lambda: resets) == [True]


def test_a_client_that_aborts_after_its_half_close(relay, peer):
    """The upstream had the client's end already; that nobody waits for its answer it learns when it writes."""
    outcome, aborted = [], threading.Event()

    def serve(connection):
        assert connection.recv(1) == b""
        aborted.wait()
        try:
            send_pattern(connection, DOWN, 500 * MIB)
        except ConnectionError as problem:
            outcome.append(problem)

    daemon = relay(peer(serve).address)
    with daemon.connect() as client:
        client.shutdown(socket.SHUT_WR)
        wait_until(lambda: daemon.status()["routes"][0]["connect"]["count"] == 1)
        abort(client)
    daemon.wait_ended("client_reset")
    aborted.set()
    assert wait_until(lambda: outcome)


def test_a_client_that_aborts_after_the_upstreams_half_close(relay, peer):
    resets = []

    def serve(connection):
        connection.shutdown(socket.SHUT_WR)
        resets.append(is_reset(connection))

    daemon = relay(peer(serve).address)
    with daemon.connect() as client:
        assert client.recv(1) == b""
        abort(client)
    daemon.wait_ended("client_reset")
    assert wait_until(lambda: resets) == [True]


def test_a_unix_client_that_closes_in_the_middle_of_a_download(relay, peer):
    """A unix socket knows no half-close by close(): nobody is left to read, so the upstream is cut off."""
    outcome = []

    def serve(connection):
        try:
            send_pattern(connection, DOWN, 500 * MIB)
        except ConnectionError as problem:
            outcome.append(problem)

    daemon = relay(peer(serve).address, "unix")
    with daemon.connect() as client:
        check_pattern(client, DOWN, MIB)
        client.recv(1, socket.MSG_PEEK)  # there is more, and it stays unread
    daemon.wait_ended("client_reset")
    assert wait_until(lambda: outcome)


@pytest.mark.parametrize("listen", ["tcp", "unix"])
def test_an_upstream_process_that_is_gone_is_not_taken_for_an_end(relay, peer, folder, listen):
    """A unix upstream that closes with bytes unread has aborted."""
    def serve(connection):
        receive(connection, 1000)

    daemon = relay(peer(serve, address=f"unix://{folder}/out.sock").address, listen)
    with daemon.connect() as client:
        with pytest.raises(ConnectionError):
            send_pattern(client, UP, 100 * MIB)
    daemon.wait_ended("upstream_reset")


@pytest.mark.parametrize("listen", ["tcp", "unix"])
def test_what_a_client_sent_before_it_left_arrives(relay, peer, listen):
    """Fire and forget, to a destination that reads later than the client lives."""
    received, left = [], threading.Event()

    def serve(connection):
        left.wait()
        received.append(check_pattern(connection, UP))

    daemon = relay(peer(serve).address, listen)
    with daemon.connect() as client:
        send_pattern(client, UP, 300000)
    wait_until(lambda: daemon.metrics()['postern_stream_bytes_total{route="out",direction="in"}'] == 300000)
    left.set()
    assert wait_until(lambda: received) == [300000]
    daemon.wait_ended("finished")


def test_an_answer_that_nobody_reads_does_not_cost_the_upload(relay, peer):
    """Fire and forget, to a destination that answers before it has read everything."""
    received, left = [], threading.Event()

    def serve(connection):
        left.wait()
        connection.sendall(b"250 ok\r\n")
        received.append(check_pattern(connection, UP))

    server = peer(serve)
    daemon = relay(server.address, "unix")
    sent = 0
    with daemon.connect(timeout=0.3) as client:
        with contextlib.suppress(TimeoutError):  # nothing moves any more: every buffer on the way is full
            while True:
                sent += client.send(UP.at(sent, 65536))
    left.set()
    wait_until(lambda: received or server.problems)
    assert (received, server.problems) == ([sent], [])


def test_two_hundred_clients_that_abort_at_every_moment(relay, peer):
    daemon = relay(peer(echo_until_cut).address)
    clients = []
    for moment in range(200):
        client = daemon.connect()
        clients.append(client)
        client.sendall(UP.at(0, 1 + moment * 300))
        if moment % 3 == 0:
            client.recv(1)
        if moment % 2 == 0:
            abort(client)
        else:
            client.close()
    ended = wait_until(lambda: sum(outcomes(daemon).values()) == 200 and outcomes(daemon))
    assert set(ended) <= {"client_reset", "finished"}


def outcomes(daemon):
    return daemon.status()["routes"][0]["ended"]


def test_an_end_that_follows_an_error_is_no_end(relay, peer):
    """The error of a reset connection is told once, to a read or to a write, and reading then finds a plain end.
    Whichever it was, the client must not take what it got for complete."""
    def serve(connection):
        connection.sendall(b"first half")
        connection.recv(1)
        abort(connection)

    daemon = relay(peer(serve).address)
    for _ in range(200):
        with daemon.connect() as client:
            assert receive(client, 10) == b"first half"
            try:
                for _ in range(100):
                    client.sendall(b"x")
            except ConnectionResetError:
                continue
            assert is_reset(client)
    daemon.wait_ended("upstream_reset", count=200)


def test_a_relay_to_itself_ends_at_its_limit(relay):
    """A route that leads to its own listener makes streams until the limit stops it, and then it unwinds."""
    daemon = relay("tcp://127.0.0.1:1", begin=False)
    daemon.to = daemon.at
    daemon.configure(route={"max_streams": 50}).start()
    for _ in range(20):
        with daemon.connect() as client:
            with contextlib.suppress(ConnectionError):  # already, when those before have not unwound
                client.sendall(b"x")
                assert is_reset(client)
    wait_until(lambda: len(daemon.events(reason="limit_route")) == 20)
