"""Framed sessions over real AF_VSOCK: the daemon, `postern` as an enclave runs it, and the protocol's second implementation. The kernel's
loopback transport shows every caller as CID 1 (local). What `postern run` makes of its session is in as_init.py."""
import contextlib
import hashlib
import signal
import socket
import subprocess

import pytest

from client import Listening, postern
from framed import CODES, Client
from postern import PATIENCE, PATIENT, connect, echo, echo_until_cut, free_port, http_ok, read_all, receive, reply_after_end, wait_until
from traffic import Pattern, exchange

SESSION = "vsock://local:7000"
MIB = 1 << 20
UP, DOWN = Pattern(1), Pattern(2)
NAME = "kms.test"


@pytest.fixture
def parent(daemon):
    """parent({"out": ADDRESS}, ...) starts a daemon for sessions of the enclave `here`: this machine, unless `cid` says otherwise."""
    def start(routes, allow=None, cid="local", route=None):
        return daemon(
            enclaves={"here": {"cid": cid, "max_streams": 1000, "max_sessions": 4}},
            listeners={"session": {"listen": "vsock://any:7000", "protocol": "framed", "allow": {"here": allow or list(routes)}}},
            routes={name: {"type": "relay", "to": to, **PATIENT, **(route or {})} for name, to in routes.items()},
            sessions={"handshake_timeout": "10m", "pong_timeout": "10m"},
            drain_timeout="10m")
    return start


@pytest.fixture
def listening(parent):
    """listening("tcp://127.0.0.1:0=out", ...) starts `postern listen`, and waits for its session. Ends before the daemon does."""
    with contextlib.ExitStack() as stack:
        started = []

        @stack.callback
        def finish():
            problems = [problem for one in started for problem in one.finish()]
            assert not problems, "\n".join(problems)

        def start(*doors):
            started.append(Listening(SESSION, *doors))
            return started[-1].wait_up()

        yield start


def ended(daemon):
    """What the log says of the end of the first session."""
    return daemon.wait_event(event="session ended")


def exchanged(program):
    program.sendall(b"hello")
    return receive(program, 5) == b"hello"


def is_reset(program):
    try:
        return program.recv(1) is None
    except ConnectionResetError:
        return True


def test_ping(parent):
    daemon = parent({"out": "tcp://127.0.0.1:1"})
    run = postern(SESSION, "ping", "-c", "3", "-i", "20ms", "-W", "1m", text=True)
    assert run.returncode == 0, run.stderr
    assert "3 sent, 3 answered, 0% lost" in run.stdout
    assert daemon.wait_event(event="session began")["enclave"] == "here"
    assert ended(daemon)["code"] == "no_error"


def test_a_caller_whose_cid_is_no_enclave_has_no_session(parent):
    """To the daemon it is nobody, since no enclave has its CID: the loopback can show no other CID than this machine's."""
    daemon = parent({"out": "tcp://127.0.0.1:1"}, cid=16)
    run = postern(SESSION, "ping", "-c", "1", "-W", "1m", text=True)
    assert run.returncode == 1 and SESSION in run.stderr, run.stderr
    assert daemon.wait_event(reason="denied_enclave")["listener"] == "session"
    assert not daemon.events(event="session began")


def test_pipe_carries_both_ways_at_once(parent, peer, tmp_path):
    """Each side sends bytes of its own, ends, and goes on reading."""
    total = 4 * MIB + 17
    daemon = parent({"out": peer(lambda connection: exchange(connection, DOWN, UP, total)).address})
    expected = hashlib.sha256()
    with open(tmp_path / "in", "wb") as source:
        for at in range(0, total, 65536):
            length = min(65536, total - at)
            source.write(UP.at(at, length))
            expected.update(DOWN.at(at, length))
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as sink:
        run = postern(SESSION, "pipe", "out", stdin=source, stdout=sink, stderr=subprocess.PIPE, capture_output=False)
    assert (run.returncode, run.stderr) == (0, b"")
    assert hashlib.sha256((tmp_path / "out").read_bytes()).digest() == expected.digest()
    stream, = daemon.wait_ended("finished")
    assert (stream["bytes_in"], stream["bytes_out"], stream["enclave"]) == (total, total, "here")


def test_the_end_of_input_is_a_half_close(parent, peer):
    parent({"out": peer(reply_after_end).address})
    run = postern(SESSION, "pipe", "out", input=b"x" * 100000)
    assert (run.returncode, run.stdout) == (0, b"got 100000 bytes")


def test_the_destination_may_end_first(parent, peer):
    heard = []

    def serve(connection):
        connection.sendall(b"that is all")
        connection.shutdown(socket.SHUT_WR)
        heard.append(read_all(connection))

    daemon = parent({"out": peer(serve).address})
    with Client(connect(SESSION)) as session:
        stream = session.open("out")
        assert stream.receive_all() == b"that is all" and stream.ended
        stream.finish(b"but not from here")
        daemon.wait_ended("finished")
    assert wait_until(lambda: heard) == [b"but not from here"]


def test_refusals_say_why(parent):
    port = free_port()
    daemon = parent({"out": f"tcp://127.0.0.1:{port}", "secret": "tcp://127.0.0.1:1"}, allow=["out"])
    for route, why in [("secret", "denied_route: "), ("out", "connect_refused: the destination refused the connection")]:
        run = postern(SESSION, "pipe", route, input="hello", text=True)
        assert (run.returncode, run.stdout) == (1, "")
        assert f"postern: route {route}: refused, {why}" in run.stderr
    assert daemon.wait_event(event="stream refused", reason="denied_route")["enclave"] == "here"


def curl(authority, at, name):
    port = at.rpartition(":")[2]
    return subprocess.run(["curl", "-sS", "--cacert", authority.file, "--resolve", f"{name}:{port}:127.0.0.1", "--max-time", str(PATIENCE),
                           f"https://{name}:{port}/"], text=True, capture_output=True, check=False)


def test_curl_with_the_certificate_verified(parent, listening, peer, authority):
    daemon = parent({"kms": peer(http_ok, tls=authority.server_context(NAME)).address}, route={"sni": [NAME]})
    client = listening("tcp://127.0.0.1:0=kms")
    run = curl(authority, client.at["kms"], NAME)
    assert (run.returncode, run.stdout) == (0, "hello\n"), run.stderr
    run = curl(authority, client.at["kms"], "evil.test")
    assert run.returncode != 0 and run.stdout == ""
    client.wait_said("route kms: refused, denied_sni: ")
    daemon.wait_ended("denied_sni", route="kms")


def test_hundreds_of_streams_at_once_on_one_connection(parent, listening, peer):
    count = 300
    daemon = parent({"out": peer(echo).address})
    client = listening("tcp://127.0.0.1:0=out")
    with contextlib.ExitStack() as stack:
        programs = [stack.enter_context(client.connect()) for _ in range(count)]
        for number, program in enumerate(programs):
            program.sendall(UP.at(number * 100, 5000))
        for number, program in enumerate(programs):
            assert receive(program, 5000) == UP.at(number * 100, 5000)
        metrics = daemon.metrics()
        assert (metrics["postern_daemon_streams_active"], metrics["postern_sessions_active"]) == (count, 1)
        for program in programs:
            program.shutdown(socket.SHUT_WR)
        for program in programs:
            assert read_all(program) == b""
    daemon.wait_ended("finished", count=count)


def test_listen_survives_the_daemons_restart(parent, listening, peer):
    daemon = parent({"out": peer(echo_until_cut).address})
    client = listening("tcp://127.0.0.1:0=out")
    with client.connect() as old:
        assert exchanged(old)
        daemon.kill()
        assert is_reset(old)
    client.wait_said("1 connection cut; making another session")
    with client.connect() as waiting:  # it is let in, and has to wait
        waiting.sendall(b"hello")
        client.wait_said("; trying on$")
        daemon.start()
        assert receive(waiting, 5) == b"hello"
    client.wait_said("is up again$")
    assert client.stop() == 0


def test_a_daemon_that_drains_says_so_and_lets_streams_finish(parent, listening, peer):
    daemon = parent({"out": peer(echo).address})
    client = listening("tcp://127.0.0.1:0=out")
    with Client(connect(SESSION)) as session, client.connect() as program:
        stream = session.open("out")
        stream.send(b"hello")
        assert stream.receive(5) == b"hello" and exchanged(program)
        daemon.process.send_signal(signal.SIGTERM)
        daemon.stopped = True
        session.wait(lambda: session.goaways, what="GOAWAY")
        assert session.goaways[0][2] == CODES["NO_ERROR"]
        client.wait_said("; making another session$")
        assert exchanged(program)
        program.shutdown(socket.SHUT_WR)
        assert read_all(program) == b""
        stream.finish(b"still here")
        assert stream.receive_all() == b"still here"
    assert daemon.wait() == 0
    assert [event["code"] for event in daemon.events(event="session ended")] == ["no_error"] * 2
