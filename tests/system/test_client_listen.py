"""postern listen: unmodified programs reach routes by local sockets, through one session."""
import contextlib
import signal
import socket
import subprocess
import threading

import pytest

from client import postern
from postern import PATIENCE, abort, echo, echo_until_cut, free_port, http_ok, read_all, receive, reply_after_end, sanitizers, wait_until
from traffic import Background, Pattern, exchange

MIB = 1 << 20
UP, DOWN = Pattern(1), Pattern(2)
NAME = "kms.test"


def local(kind, folder, route="out"):
    return {"tcp": f"tcp://127.0.0.1:0={route}", "tcp6": f"tcp://[::1]:0={route}", "unix": f"unix://{folder}/{route}.sock={route}",
            "hybrid": f"hybrid://{folder}/{route}:80={route}"}[kind]


@pytest.mark.parametrize("kind,transport", [("tcp", "unix"), ("tcp6", "unix"), ("unix", "unix"), ("hybrid", "unix"),
                                            ("tcp", "tcp"), ("unix", "hybrid")])
def test_any_local_address_over_any_session(parent, listening, peer, folder, kind, transport):
    total = 3 * MIB + 17
    daemon = parent({"out": peer(lambda connection: exchange(connection, DOWN, UP, total)).address}, transport)
    client = listening(daemon, local(kind, folder))
    with client.connect() as program:
        exchange(program, UP, DOWN, total)
    ended, = daemon.wait_ended("finished")
    assert (ended["bytes_in"], ended["bytes_out"]) == (total, total)


def curl(authority, at, name, *options):
    port = at.rpartition(":")[2]
    return subprocess.run(["curl", "-sS", "--cacert", authority.file, "--resolve", f"{name}:{port}:127.0.0.1", "--max-time", f"{PATIENCE:.0f}",
                           *options, f"https://{name}:{port}/"], text=True, capture_output=True, check=False)


def test_curl_with_the_certificate_verified(parent, listening, peer, authority):
    """The route looks at the ClientHello, and answers only after it: who connects first and speaks then must not wait for that."""
    server = peer(http_ok, tls=authority.server_context(NAME))
    daemon = parent({"kms": server.address}, route={"sni": [NAME]})
    client = listening(daemon, "tcp://127.0.0.1:0=kms")
    run = curl(authority, client.at["kms"], NAME)
    assert (run.returncode, run.stdout) == (0, "hello\n"), run.stderr
    wait_until(lambda: daemon.metrics()["postern_daemon_streams_active"] == 0)
    run = curl(authority, client.at["kms"], "evil.test")
    assert run.returncode != 0 and run.stdout == ""
    daemon.wait_ended("denied_sni", route="kms")
    line, = client.wait_said("route kms: refused, denied_sni: ")
    assert "compare the name in the log with the route's `sni:` list" in line
    run = curl(authority, client.at["kms"], NAME)
    assert run.returncode == 0, run.stderr
    assert daemon.metrics()["postern_sessions_active"] == 1


def test_curl_by_a_unix_socket(parent, listening, peer, folder):
    daemon = parent({"web": peer(http_ok).address})
    listening(daemon, local("unix", folder, "web"))
    run = subprocess.run(["curl", "-sS", "--unix-socket", f"{folder}/web.sock", "--max-time", f"{PATIENCE:.0f}", "http://localhost/"], text=True,
                         capture_output=True, check=False)
    assert (run.returncode, run.stdout) == (0, "hello\n"), run.stderr


def test_a_thousand_streams_at_once_on_one_connection(parent, listening, peer):
    daemon = parent({"out": peer(echo).address})
    client = listening(daemon, "tcp://127.0.0.1:0=out")
    with contextlib.ExitStack() as stack:
        programs = [stack.enter_context(client.connect()) for _ in range(1000)]
        for number, program in enumerate(programs):
            program.sendall(b"hello from %4d" % number)
        for number, program in enumerate(programs):
            assert receive(program, 15) == b"hello from %4d" % number
        metrics = daemon.metrics()
        assert metrics["postern_daemon_streams_active"] == 1000 and metrics["postern_sessions_active"] == 1
        for number, program in enumerate(programs):
            assert program.send(UP.at(number * 100, 5000)) == 5000
        for number, program in enumerate(programs):
            assert receive(program, 5000) == UP.at(number * 100, 5000)
            program.shutdown(socket.SHUT_WR)
        for program in programs:
            assert read_all(program) == b""
    daemon.wait_ended("finished", count=1000)


def test_half_close_both_ways(parent, listening, peer):
    heard = []

    def first_done(connection):
        connection.sendall(b"that is all")
        connection.shutdown(socket.SHUT_WR)
        heard.append(read_all(connection))

    daemon = parent({"last": peer(reply_after_end).address, "first": peer(first_done).address})
    client = listening(daemon, "tcp://127.0.0.1:0=last", "tcp://127.0.0.1:0=first")
    with client.connect("last") as program:
        program.sendall(b"x" * 70000)
        program.shutdown(socket.SHUT_WR)
        assert read_all(program) == b"got 70000 bytes"
    with client.connect("first") as program:
        assert read_all(program) == b"that is all"
        program.sendall(b"but not from here")
    wait_until(lambda: heard == [b"but not from here"])


def test_several_at_once_byte_for_byte(parent, listening, peer):
    """Each of ten has bytes of its own, both ways at once, on one session."""
    total = 5 * MIB + 1

    def serve(connection):
        seed = receive(connection, 1)[0]
        exchange(connection, Pattern(100 + seed), Pattern(seed), total)

    daemon = parent({"out": peer(serve).address})
    client = listening(daemon, "tcp://127.0.0.1:0=out")

    def run(seed):
        with client.connect() as program:
            program.sendall(bytes([seed]))
            exchange(program, Pattern(seed), Pattern(100 + seed), total)

    for one in [Background(run, seed) for seed in range(10)]:
        one.result()
    daemon.wait_ended("finished", count=10)
    assert daemon.metrics()["postern_enclave_sessions_opened_total{enclave=\"app\"}"] == 1


# ---- refusals


def is_reset(program):
    try:
        return program.recv(1) is None
    except ConnectionResetError:
        return True


def turns_away(client, route="out"):
    """The program is reset, which may be while it still connects."""
    try:
        with client.connect(route) as program:
            return is_reset(program)
    except ConnectionResetError:
        return True


def serves(client):
    with contextlib.suppress(ConnectionError), client.connect() as program:
        program.sendall(b"hello")
        return receive(program, 5) == b"hello"
    return False


def test_a_refusal_resets_the_program_and_is_said(parent, listening):
    port = free_port()
    daemon = parent({"out": f"tcp://127.0.0.1:{port}"})
    client = listening(daemon, "tcp://127.0.0.1:0=out", "tcp://127.0.0.1:0=none-such")
    assert turns_away(client)
    line, = client.wait_said("route out: refused, ")
    assert "connect_refused: the destination refused the connection" in line and str(port) not in line  # where it led is for the log
    assert line.endswith("; see that something listens there, at that port")
    assert turns_away(client, "none-such")
    client.wait_said("route none-such: refused, denied_route: ")


def test_a_flood_of_refusals_is_not_a_flood_of_lines(parent, listening):
    daemon = parent({"out": f"tcp://127.0.0.1:{free_port()}"})
    client = listening(daemon, "tcp://127.0.0.1:0=out")
    for _ in range(300):
        assert turns_away(client)
    lines = client.wait_said("route out: refused, ")
    assert len(lines) < 150  # 10 at once and 2 a second, were it to take a minute


# ---- either side ends


def test_survives_the_daemons_restart(parent, listening, peer):
    daemon = parent({"out": peer(echo_until_cut).address})
    client = listening(daemon, "tcp://127.0.0.1:0=out")
    with client.connect() as old:
        old.sendall(b"hello")
        assert receive(old, 5) == b"hello"
        daemon.kill()
        assert is_reset(old)
    client.wait_said("1 connection cut; making another session")
    with client.connect() as waiting:  # it is let in, and has to wait
        waiting.sendall(b"hello")
        client.wait_said("; trying on$")
        daemon.start()
        assert receive(waiting, 5) == b"hello"
        client.wait_said("is up again$")
        with client.connect() as new:
            new.sendall(b"hello")
            assert receive(new, 5) == b"hello"
    assert client.stop() == 0


def test_a_daemon_that_drains_lets_streams_finish(parent, listening, peer):
    daemon = parent({"out": peer(echo).address})
    client = listening(daemon, "tcp://127.0.0.1:0=out")
    with client.connect() as program:
        program.sendall(b"hello")
        assert receive(program, 5) == b"hello"
        daemon.process.send_signal(signal.SIGTERM)
        daemon.stopped = True
        client.wait_said("; making another session$")
        program.sendall(b"still here")
        assert receive(program, 10) == b"still here"
        program.shutdown(socket.SHUT_WR)
        assert read_all(program) == b""
    assert daemon.process.wait(PATIENCE) == 0


def test_waits_for_the_daemon_but_not_for_ever(parent, listening, peer):
    daemon = parent({"out": peer(echo).address}, begin=False)
    client = listening(daemon, "--wait", "300ms", "tcp://127.0.0.1:0=out", wait="listening")
    assert turns_away(client)
    client.wait_said("route out: a connection was cut, since no stream could be had in time: there is no session with the daemon")
    daemon.start()
    client.wait_up()
    wait_until(lambda: serves(client))  # within what it waits, on a busy machine not always at once


def test_killed_it_leaves_no_stream_that_looks_whole(parent, listening, peer):
    begun, cut = threading.Event(), threading.Event()

    def serve(connection):
        receive(connection, 5)
        begun.set()
        try:
            connection.recv(1)
        except ConnectionResetError:
            cut.set()

    daemon = parent({"out": peer(serve).address})
    client = listening(daemon, "tcp://127.0.0.1:0=out")
    with client.connect() as program:
        program.sendall(b"hello")
        assert begun.wait(PATIENCE)
        client.kill()
        assert cut.wait(PATIENCE)
    assert daemon.wait_event(event="session ended")["code"] == "lost"


def test_a_program_that_resets(parent, listening, peer):
    cut = threading.Event()

    def serve(connection):
        try:
            read_all(connection)
        except ConnectionResetError:
            cut.set()

    daemon = parent({"out": peer(serve).address})
    client = listening(daemon, "tcp://127.0.0.1:0=out")
    program = client.connect()
    program.sendall(b"hello")
    wait_until(lambda: daemon.metrics()["postern_daemon_streams_active"] == 1)
    abort(program)
    assert cut.wait(PATIENCE)
    daemon.wait_ended("client_reset")


def test_sigterm_lets_connections_finish(parent, listening, peer, folder):
    daemon = parent({"out": peer(echo).address})
    client = listening(daemon, local("unix", folder))
    with client.connect() as program:
        program.sendall(b"hello")
        assert receive(program, 5) == b"hello"
        client.process.send_signal(signal.SIGTERM)
        client.stopped = True
        client.wait_said("letting 1 connection finish")
        wait_until(lambda: not (folder / "out.sock").exists())
        program.sendall(b"still here")
        assert receive(program, 10) == b"still here"
        program.shutdown(socket.SHUT_WR)
        assert read_all(program) == b""
    assert client.process.wait(PATIENCE) == 0
    assert daemon.wait_event(event="session ended")["code"] == "no_error"


def test_sigterm_does_not_wait_for_ever_nor_does_a_second_one(parent, listening, peer):
    daemon = parent({"out": peer(echo_until_cut).address})
    client = listening(daemon, "--drain-timeout", "100ms", "tcp://127.0.0.1:0=out")
    patient = listening(daemon, "--drain-timeout", "1h", "tcp://127.0.0.1:0=out")
    with client.connect() as one, patient.connect() as two:
        for program in one, two:
            program.sendall(b"hello")
            assert receive(program, 5) == b"hello"
        assert client.stop() == 0
        assert is_reset(one)
        patient.process.send_signal(signal.SIGTERM)
        patient.stopped = True
        patient.wait_said("letting 1 connection finish")
        patient.process.send_signal(signal.SIGTERM)
        assert patient.process.wait(PATIENCE) == 1
        assert is_reset(two)


# ---- bounds


def test_a_slow_program_takes_no_memory(parent, listening, peer):
    total, sent = 100 * MIB, []

    def serve(connection):
        count = 0
        while count < total:
            count += connection.send(DOWN.at(count, min(65536, total - count)))
            sent[:] = [count]

    daemon = parent({"out": peer(serve).address, "quick": peer(echo).address})
    client = listening(daemon, "--memory", "16MiB", "--max-streams", "100", "tcp://127.0.0.1:0=out", "tcp://127.0.0.1:0=quick")
    with client.connect() as slow, client.connect("quick") as quick:
        for mib in range(10):
            wait_until(lambda: sent and sent[0] > mib * MIB + MIB // 2, what="bytes on their way")
            assert check_pattern_at(slow, mib * MIB, MIB)
            quick.sendall(b"nobody else waits")
            assert receive(quick, 17) == b"nobody else waits"
            assert sanitizers() or client.memory() < 24 * MIB
        check_rest(slow, 10 * MIB, total)


def check_pattern_at(connection, offset, length):
    return receive(connection, length) == b"".join(bytes(DOWN.at(offset + at, min(65536, length - at)))
                                                   for at in range(0, length, 65536))


def check_rest(connection, offset, total):
    while piece := connection.recv(262144):
        assert piece == DOWN.at(offset, len(piece))
        offset += len(piece)
    assert offset == total


def test_no_more_connections_than_allowed(parent, listening, peer):
    daemon = parent({"out": peer(echo).address})
    client = listening(daemon, "--max-streams", "2", "tcp://127.0.0.1:0=out")
    with client.connect() as one, client.connect() as two, client.connect() as three:
        for program in one, two:
            program.sendall(b"hello")
            assert receive(program, 5) == b"hello"
        client.wait_said(r"2 connections open, and no more allowed: others wait \(--max-streams\)")
        three.sendall(b"hello")
        one.close()
        assert receive(three, 5) == b"hello"


def test_waits_for_a_place_at_the_daemon(parent, listening, peer):
    """A place that the client is told of is free: it is never refused for want of one."""
    daemon = parent({"out": peer(echo_until_cut).address}, enclave={"max_streams": 1})
    client = listening(daemon, "tcp://127.0.0.1:0=out")
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(client.connect())
        one.sendall(b"hello")
        for _ in range(50):
            assert receive(one, 5) == b"hello"  # all of it: who closes with bytes unread resets
            two = stack.enter_context(client.connect())
            two.sendall(b"hello")
            one.close()
            one = two
        assert receive(one, 5) == b"hello"


def test_out_of_descriptors(parent, listening, peer):
    daemon = parent({"out": peer(echo).address})
    client = listening(daemon, "tcp://127.0.0.1:0=out", wrapper=["prlimit", "--nofile=30:30"])
    with contextlib.ExitStack() as stack:
        programs = []
        for _ in range(40):
            with contextlib.suppress(ConnectionResetError):
                programs.append(stack.enter_context(client.connect()))
        client.wait_said("connections? cut: Too many open files; raise the limit of open files")
        served = 0
        for program in programs:
            with contextlib.suppress(ConnectionError):
                program.sendall(b"hello")
                served += receive(program, 5) == b"hello"
        assert 10 < served < 40
    wait_until(lambda: serves(client), what="service after the shortage")


# ---- mistakes


def test_what_cannot_be_listened_on(parent, peer, folder):
    taken = peer(echo)
    for door, words in [(f"{taken.address}=out", "another program has it, or another postern"),
                        (f"unix://{folder}/no/such/folder=out", "create the directory first")]:
        run = postern(f"unix://{folder}/none", "listen", door, text=True)
        assert run.returncode == 1 and f"postern: cannot listen at {door.removesuffix('=out')}" in run.stderr
        assert words in run.stderr


def test_a_socket_file_that_was_left_behind_is_replaced(parent, listening, peer, folder):
    daemon = parent({"out": peer(echo).address})
    first = listening(daemon, local("unix", folder))
    first.kill()
    assert (folder / "out.sock").exists()
    second = listening(daemon, "--mode", "0666", local("unix", folder))
    assert (folder / "out.sock").stat().st_mode & 0o777 == 0o666
    assert serves(second)
