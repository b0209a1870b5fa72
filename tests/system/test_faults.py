"""System calls that fail while the daemon runs, one kind at a time, by strace's injection: it tells, and goes on."""
import contextlib
import subprocess
import threading

import pytest

from postern import echo, echo_until_cut, receive, wait_until
from traffic import Background, Pattern, check_pattern, is_cut, send_pattern

MIB = 1 << 20
UP = Pattern(1)


@contextlib.contextmanager
def failing(daemon, call, how):
    """While inside, the daemon's calls of that name fail. It has to be quiet when this is left: a call that is being
    made to fail just then may fail in another way. It is quiet when this is entered: libuv ends a program whose main loop cannot
    watch a socket, so the admin socket is not to be in use."""
    daemon.wait_idle()
    tracer = subprocess.Popen(["strace", "-f", "-o", "/dev/null", "-p", str(daemon.process.pid), "-e", f"trace={call}", "-e",
                               f"inject={call}:{how}"], stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    said = []
    reader = threading.Thread(target=lambda: said.extend(tracer.stderr), daemon=True)
    try:
        assert "attached" in tracer.stderr.readline()  # of the whole process: -f seizes all threads before it says so
        reader.start()
        yield
    finally:
        tracer.terminate()
        tracer.wait()
        if reader.is_alive():
            reader.join(5)
        tracer.stderr.close()


def works(daemon):
    try:
        with daemon.connect() as client:
            client.sendall(b"hello")
            return receive(client, 5) == b"hello"
    except ConnectionError:
        return False


REFUSED = {
    "no memory for a socket": ("socket", "error=ENOMEM", "no_memory"),
    "no buffers for a socket": ("socket", "error=ENOBUFS", "no_memory"),
    "no descriptor for a socket": ("socket", "error=EMFILE", "no_descriptors"),
    "no descriptor in the system": ("socket", "error=ENFILE", "no_descriptors"),
    "a family that is hidden": ("socket", "error=EAFNOSUPPORT", "connect_failed"),
    "no route": ("connect", "error=ENETUNREACH", "unreachable"),
    "no right to connect": ("connect", "error=EPERM", "connect_failed"),
    "no watch for the socket": ("epoll_ctl", "error=ENOSPC", "internal"),
    "no memory for the watch": ("epoll_ctl", "error=ENOMEM", "no_memory"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_stream_that_cannot_be_opened(relay, peer, what):
    call, how, reason = REFUSED[what]
    daemon = relay(peer(echo).address, workers=1)
    assert works(daemon)
    daemon.wait_ended("finished")
    with failing(daemon, call, how):
        assert is_cut(daemon)
        ended = wait_until(lambda: daemon.events(event="stream ended", reason=reason))[0]
    assert ended["detail"]
    assert works(daemon)
    daemon.wait_ended(reason, count=len(daemon.events(reason=reason)))


@pytest.mark.parametrize("how", ["error=ENOMEM", "error=ENOBUFS", "error=ENFILE", "error=EMFILE"])
def test_an_accept_that_fails(relay, peer, how):
    """Whoever waits is taken as soon as it works again. Six calls are three tries: without a descriptor there is a second call for
    the one that is spare, and who is taken by that is not served."""
    daemon = relay(peer(echo).address, workers=1)
    with failing(daemon, "accept4", f"{how}:when=1..6"):
        assert all([client.result() for client in [Background(works, daemon) for _ in range(5)]])
    daemon.wait_event(event="accept failed")
    assert daemon.metrics()['postern_listener_accept_errors_total{listener="in"}'] >= 1


@pytest.mark.parametrize("how", ["error=ECONNABORTED:when=1+2", "error=EINTR:when=1+2", "error=EPROTO:when=1+2"])
def test_an_accept_that_fails_for_one_connection(relay, peer, how):
    daemon = relay(peer(echo).address, workers=1)
    with failing(daemon, "accept4", how):
        assert all([client.result() for client in [Background(works, daemon) for _ in range(10)]])
        daemon.wait_ended("finished", count=10)
        assert not daemon.events(event="accept failed")


@pytest.mark.parametrize("call,how", [
    ("pipe2", "error=EMFILE"), ("recvfrom", "error=EINTR:when=2+3"), ("sendto", "error=EINTR:when=2+3"),
    ("splice", "error=EINTR:when=2+5"), ("setsockopt", "error=ENOPROTOOPT"), ("epoll_wait", "error=EINTR:when=2+3"),
])
def test_what_may_fail_without_harm(relay, peer, call, how):
    """No pipe: bytes are copied. Interrupted: once more."""
    def serve(connection):
        assert check_pattern(connection, UP) == 4 * MIB
        connection.sendall(b"ok")

    daemon = relay(peer(serve).address, workers=1)
    with failing(daemon, call, how):
        with daemon.connect() as client:
            send_pattern(client, UP, 4 * MIB)
            client.shutdown(1)
            assert receive(client, 2) == b"ok"
        daemon.wait_ended("finished")


@pytest.mark.parametrize("call,how", [("recvfrom", "error=ENOMEM"), ("sendto", "error=ENOBUFS")])
def test_a_stream_that_breaks(relay, peer, call, how):
    """Cut, told, and counted; nothing is taken for complete."""
    daemon = relay(peer(echo_until_cut).address, workers=1)
    with daemon.connect() as client:
        client.sendall(b"hello")
        assert receive(client, 5) == b"hello"
        with failing(daemon, call, how):
            client.sendall(b"again")
            with pytest.raises(ConnectionResetError):
                assert client.recv(1) != b""
    ended = daemon.wait_event(event="stream ended")
    assert ended["reason"] in ("no_memory", "client_reset", "upstream_reset")
    assert works(daemon)
