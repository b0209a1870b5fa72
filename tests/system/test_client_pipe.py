"""postern pipe: a stream as standard input and output, whatever these are, and how it says that it failed."""
import hashlib
import os
import pathlib
import pty
import select
import signal
import socket
import subprocess
import termios
import threading

import pytest

from client import POSTERN, postern
from postern import PATIENCE, echo, echo_until_cut, free_port, read_all, receive, reply_after_end, sanitizers, wait_until
from traffic import Background, Pattern, check_pattern, exchange, send_pattern

MIB = 1 << 20
UP, DOWN = Pattern(1), Pattern(2)


def start(daemon, route="out", **options):
    return subprocess.Popen([POSTERN, "--connect", daemon.address, "pipe", route],
                            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options})


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("transport", ["unix", "tcp", "hybrid"])
def test_a_file_there_and_back(parent, peer, folder, transport):
    daemon = parent({"out": peer(echo).address}, transport)
    (folder / "in").write_bytes(bytes(UP.at(0, MIB - 50000)) * 20)
    with open(folder / "in", "rb") as source, open(folder / "out", "wb") as sink:
        run = postern(daemon.address, "pipe", "out", stdin=source, stdout=sink, stderr=subprocess.PIPE, capture_output=False)
    assert (run.returncode, run.stderr) == (0, b"")
    assert digest(folder / "in") == digest(folder / "out")
    ended, = daemon.wait_ended("finished")
    assert ended["bytes_in"] == ended["bytes_out"] == 20 * (MIB - 50000)


def test_pipes_both_ways_at_once(parent, peer):
    total = 30 * MIB + 3
    daemon = parent({"out": peer(lambda connection: exchange(connection, DOWN, UP, total)).address})
    with start(daemon) as process:
        def send():
            sent = 0
            while sent < total:
                sent += os.write(process.stdin.fileno(), UP.at(sent, min(65536, total - sent)))
            process.stdin.close()
        sender = Background(send)
        got = 0
        while piece := os.read(process.stdout.fileno(), 65536):
            assert piece == DOWN.at(got, len(piece))
            got += len(piece)
        sender.result()
        assert process.wait(PATIENCE) == 0 and got == total and process.stderr.read() == b""


def test_nothing_at_all(parent, peer):
    daemon = parent({"out": peer(reply_after_end).address})
    run = postern(daemon.address, "pipe", "out", stdin=subprocess.DEVNULL)
    assert (run.returncode, run.stdout) == (0, b"got 0 bytes")


def test_the_end_of_input_is_a_half_close(parent, peer):
    daemon = parent({"out": peer(reply_after_end).address})
    run = postern(daemon.address, "pipe", "out", input=b"x" * 100000)
    assert (run.returncode, run.stdout) == (0, b"got 100000 bytes")


def test_the_end_of_output_is_a_half_close(parent, peer):
    heard = []

    def serve(connection):
        connection.sendall(b"that is all")
        connection.shutdown(socket.SHUT_WR)
        heard.append(read_all(connection))

    daemon = parent({"out": peer(serve).address})
    with start(daemon) as process:
        assert process.stdout.read() == b"that is all"  # to its end, while the other direction is open
        process.stdin.write(b"but not from here")
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
    assert wait_until(lambda: heard) == [b"but not from here"]


def test_standard_input_and_output_may_be_one_socket(parent, peer):
    daemon = parent({"out": peer(lambda connection: exchange(connection, DOWN, UP, 5 * MIB)).address})
    ours, theirs = socket.socketpair()
    with ours, start(daemon, stdin=theirs, stdout=theirs) as process:
        theirs.close()
        exchange(ours, UP, DOWN, 5 * MIB)
        assert process.wait(PATIENCE) == 0
        assert ours.getblocking() and process.stderr.read() == b""


def test_a_terminal(parent, peer):
    daemon = parent({"out": peer(echo).address})
    ours, theirs = pty.openpty()
    mode = termios.tcgetattr(theirs)
    mode[3] &= ~termios.ECHO
    mode[1] &= ~termios.OPOST
    termios.tcsetattr(theirs, termios.TCSANOW, mode)
    with start(daemon, stdin=theirs, stdout=theirs) as process:
        os.write(ours, b"a line\n")
        got = b""
        while len(got) < 7:
            got += os.read(ours, 100)
        assert got == b"a line\n"
        assert os.get_blocking(theirs)  # it is the shell's, too
        os.write(ours, b"\x04")
        assert process.wait(PATIENCE) == 0
    os.close(ours)
    os.close(theirs)


# ---- failures


def failed(run, *words):
    assert run.returncode == 1 and run.stdout == b""
    for word in words:
        assert word in run.stderr.decode(), run.stderr


def test_refusals_say_why_and_what_to_do(parent, peer):
    port = free_port()
    daemon = parent({"out": f"tcp://127.0.0.1:{port}", "secret": "tcp://127.0.0.1:1"}, allow=["out"])
    failed(postern(daemon.address, "pipe", "out", input=b"hello"),
           "postern: route out: refused, connect_refused: the destination refused the connection; see that something listens there, at "
           "that port")
    assert str(port) in daemon.wait_ended("connect_refused")[0]["detail"]  # where it led is for the parent's log
    for route in "secret", "none-such":
        failed(postern(daemon.address, "pipe", route, input=b"hello"), f"postern: route {route}: refused, denied_route: ")


def test_no_daemon(folder):
    failed(postern(f"unix://{folder}/none", "pipe", "out", input=b""), "cannot connect to", "No such file or directory")


def test_a_destination_that_resets(parent, peer):
    def serve(connection):
        receive(connection, 5)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    daemon = parent({"out": peer(serve).address})
    with start(daemon) as process:
        process.stdin.write(b"hello")
        process.stdin.flush()
        assert process.wait(PATIENCE) == 1
        assert b"route out: the stream was cut: upstream_reset: " in process.stderr.read()


def test_the_daemon_dies(parent, peer):
    daemon = parent({"out": peer(echo_until_cut).address})
    with start(daemon) as process:
        process.stdin.write(b"hello")
        process.stdin.flush()
        assert process.stdout.read(5) == b"hello"
        daemon.kill()
        assert process.wait(PATIENCE) == 1
        assert b"route out: the stream was cut: lost: the connection to the daemon was lost" in process.stderr.read()
        process.stdin.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_in_the_middle(parent, peer, number):
    begun, cut = threading.Event(), threading.Event()

    def serve(connection):
        receive(connection, 5)
        begun.set()
        try:
            connection.recv(1)
        except ConnectionResetError:
            cut.set()

    daemon = parent({"out": peer(serve).address})
    with start(daemon) as process:
        process.stdin.write(b"hello")
        process.stdin.flush()
        assert begun.wait(PATIENCE)
        process.send_signal(number)
        assert process.wait(PATIENCE) == -number
        process.stdin.close()
    assert cut.wait(PATIENCE)  # and not an end that looks orderly
    assert daemon.wait_event(event="session ended")["code"] == "lost"


def test_nobody_reads_the_output(parent, peer):
    daemon = parent({"out": peer(lambda connection: send_until_cut(connection)).address})
    with start(daemon) as process:
        assert len(process.stdout.read(100)) == 100
        process.stdout.close()
        assert process.wait(PATIENCE) == 1
        assert b"cannot write to standard output" in process.stderr.read()
        process.stdin.close()


def send_until_cut(connection):
    try:
        send_pattern(connection, DOWN, 1 << 40)
    except ConnectionError:
        pass


def resident(process):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def test_a_slow_reader_takes_no_memory(parent, peer):
    """100 MiB for somebody who is slow wait where they come from, but for a window."""
    total = 100 * MIB
    sent = []

    def serve(connection):
        count = 0
        while count < total:
            count += connection.send(DOWN.at(count, min(65536, total - count)))
            sent[:] = [count]

    daemon = parent({"out": peer(serve).address})
    with start(daemon) as process:
        process.stdin.close()
        got = 0
        while got < total:
            if got % (10 * MIB) == 0 and got < 60 * MIB:
                wait_until(lambda: sent and sent[0] > got + 2 * MIB, what="bytes on their way")
                assert sanitizers() or resident(process) < 32 * MIB
            piece = os.read(process.stdout.fileno(), 65536 - got % 65536)
            assert piece == DOWN.at(got, len(piece))
            got += len(piece)
        assert process.wait(PATIENCE) == 0 and process.stdout.read() == b""
        assert process.stderr.read() == b""


def test_a_slow_destination_takes_no_memory(parent, peer):
    """What the destination does not read stays with whoever writes it."""
    total, go = 100 * MIB, threading.Event()

    def serve(connection):
        go.wait(PATIENCE)
        check_pattern(connection, UP, total)

    daemon = parent({"out": peer(serve).address})
    with start(daemon) as process:
        os.set_blocking(process.stdin.fileno(), False)
        sent, full = 0, 0
        while sent < total:
            try:
                sent += os.write(process.stdin.fileno(), UP.at(sent, min(65536, total - sent)))
                full = 0
            except BlockingIOError:
                full += 1
                select.select([], [process.stdin], [], 0.01)
                if full == 50:  # nobody takes any more
                    assert sanitizers() or resident(process) < 32 * MIB
                    go.set()
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
        assert process.stdout.read() == b""
