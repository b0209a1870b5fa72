"""A session's bad days: peers that flood, drip, do not read or die, beside one that wants to work. Each rule broken once is
tests/system/test_sessions_rules.py; a hostile daemon is tests/system/test_client_hostile.py."""
import contextlib
import os
import socket
import subprocess
import sys
import time

import pytest

import framed as protocol
from client import POSTERN
from framed import CODES, MAX_DATA, PING, PREFACE, frame
from hostile import FalseDaemon, cpu_seconds, data, frames, goaway, hello, opens, reset, stop, u64
from postern import FINDING, PATIENCE, connect, echo, echo_until_cut, receive, sanitizers, wait_until
from traffic import Background, Pattern, exchange

MIB = 1 << 20
STREAMS = 100


@pytest.fixture
def crowd(framed, peer):
    """A daemon with one worker, for which `payroll` is the hostile enclave and `fraud` the other, whose streams wait for as long
    as a flood takes."""
    def start(to=None, **config):
        config = {"workers": 1, "route": {"idle_timeout": "1h"}, "enclaves": {"payroll": {"cid": 16, "max_streams": STREAMS}}, "log": {"level": "warn", "format": "json"}} | config
        to = to or peer(echo_until_cut).address
        daemon = framed(to, "unix", begin=False, **config)
        daemon.other = daemon.socket_path("other")
        daemon.more = {"other": {"listen": daemon.other, "protocol": "framed", "peer": "fraud", "allow": {"fraud": ["out"]}}}
        daemon.configure(listeners=daemon.more,
                         listener={"protocol": "framed", "route": None, "peer": "payroll", "allow": {"payroll": ["out"]}})
        return daemon.start()
    return start


@contextlib.contextmanager
def served(daemon):
    """check() that another enclave's session is, and its streams."""
    with protocol.Client(connect(daemon.other)) as session:
        stream = session.open("out")

        def check():
            stream.send(b"hello")
            assert stream.receive(5) == b"hello"
            new = session.open("out")
            new.finish(b"new")
            assert new.receive_all() == b"new"

        check()
        yield check
        check()
        stream.finish()
        assert stream.receive_all() == b""


AGAIN = hello()

# What is said again and again after HELLO, and the code that it ends with: of several, the one whose bound is come to first.
# LOST: a machine may be too slow for them to be too many, so that all are dealt with.
FLOODS = {
    "opens": (lambda i: opens(2 * i + 1), ["STREAM_LIMIT"]),
    "opens of nothing": (lambda i: opens(2 * i + 1, "nothing") + reset(2 * i + 1), ["STREAM_LIMIT", "CALM", "LOST"]),
    "rapid resets": (lambda i: opens(2 * i + 1) + reset(2 * i + 1) + stop(2 * i + 1), ["STREAM_LIMIT", "CALM", "LOST"]),
    "pings": (lambda i: u64(PING, 0, i), ["PROTOCOL", "CALM"]),
    "hellos": (lambda _: AGAIN, ["PROTOCOL"]),
    "empty data": (lambda i: (opens(1) if i == 0 else b"") + data(1), ["CALM"]),
    "frames of the future": (lambda i: frame(0x80 + i % 128, i, b"what"), ["CALM"]),
    "tiny grants": (lambda i: u64(MAX_DATA, 0, (1 << 20) + 1 + i), ["CALM"]),
    "goodbyes": (lambda i: goaway((1 << 32) - 1), ["CALM"]),
}


FLOOD = 100_000 if "POSTERN_IN_VM" not in os.environ else 20_000  # emulated, each costs a millisecond and more


@pytest.mark.parametrize("what", FLOODS)
def test_a_flood(crowd, what):
    """Very many of them, by one that does not listen. Again and again, since it may come back."""
    make, codes = FLOODS[what]
    daemon = crowd()
    flood = PREFACE + hello() + b"".join(make(i) for i in range(FLOOD))
    with served(daemon) as check:
        memory = daemon.resident_bytes()
        for _ in range(3):
            with daemon.connect() as attacker:
                sender = Background(send_quietly, attacker, flood)
                check()
                said = read_quietly(attacker)
                sender.result()
            last = [one for one in frames(said[8:]) if one[0] == protocol.GOAWAY]
            assert (protocol.decode(last[0][3])[2] if last else CODES["LOST"]) in [CODES[code] for code in codes], last
            check()
        assert sanitizers() or daemon.resident_bytes() < memory + 32 * MIB
    wait_until(lambda: len(daemon.events(event="session ended", level="warn")) == 3)


def send_quietly(connection, what):
    with contextlib.suppress(OSError):  # it was cut meanwhile
        connection.sendall(what)
        connection.shutdown(socket.SHUT_WR)


def read_quietly(connection):
    said = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(1 << 16):
            said += piece
    return said


def test_one_that_never_reads(crowd, peer):
    """It asks for much, and for answers. What it is owed is no more than a frame of each kind, and nobody turns round waiting for it."""
    def pour(connection):
        with contextlib.suppress(ConnectionError):
            while True:
                connection.sendall(bytes(65536))

    sources = peer(pour)
    daemon = crowd(routes={"source": {"type": "relay", "to": sources.address}})
    daemon.configure(listener={"protocol": "framed", "route": None, "peer": "payroll", "allow": {"payroll": ["source"]}},
                     routes={"source": {"type": "relay", "to": sources.address}}, listeners=daemon.more)
    daemon.ctl("reload")
    with served(daemon) as check:
        memory = daemon.resident_bytes()
        with daemon.connect() as attacker:
            attacker.sendall(PREFACE + hello(stream_window=1 << 40, session_window=1 << 40)
                             + b"".join(opens(2 * i + 1, "source") for i in range(STREAMS)))
            wait_until(lambda: sources.served == STREAMS)
            for i in range(20):
                attacker.sendall(data(1, b"x"))
                check()
            assert sanitizers() or daemon.resident_bytes() < memory + 48 * MIB
            wait_until(lambda: is_at_rest(daemon), what="rest")
            check()
    daemon.wait_event(event="session ended", code="lost")


def is_at_rest(daemon):
    """It uses less than half of the time that passes."""
    before = cpu_seconds(daemon.process.pid)
    time.sleep(0.2)
    return cpu_seconds(daemon.process.pid) - before < 0.1


# ---- Either side dies

KILLED = """
import socket, sys
one = socket.socket(socket.AF_UNIX)
one.connect(sys.argv[1])
one.sendall(bytes.fromhex(sys.argv[2]))
print("said", flush=True)
one.recv(1 << 20)
sys.stdin.read()
"""


def test_a_client_killed_in_a_frame(crowd, peer):
    heard = []

    def serve(connection):
        try:
            while piece := connection.recv(65536):
                heard.append(piece)
            heard.append("end")
        except ConnectionResetError:
            heard.append("reset")

    daemon = crowd(peer(serve).address)
    said = PREFACE + hello() + opens(1) + data(1, b"x" * 1000)[:500]
    with subprocess.Popen([sys.executable, "-c", KILLED, daemon.at.removeprefix("unix://"), said.hex()], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as client:
        assert client.stdout.readline() == b"said\n"
        wait_until(lambda: b"".join(heard) == b"x" * 492, what="what came of the frame")
        client.kill()
    over = daemon.wait_event(event="session ended", code="lost")
    assert over["streams"] == 1
    wait_until(lambda: "reset" in heard)  # the destination does not take it for an end


def test_a_daemon_killed_in_a_frame(parent, peer):
    """`postern pipe` has a part of what was sent, and says so by its exit."""
    def pour(connection):
        with contextlib.suppress(ConnectionError):
            while True:
                connection.sendall(bytes(65536))

    daemon = parent({"out": peer(pour).address})
    with subprocess.Popen([POSTERN, "--connect", daemon.address, "pipe", "out"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as client:
        assert client.stdout.read(3 * MIB) == bytes(3 * MIB)
        daemon.kill()
        client.stdout.read()
        told = client.stderr.read().decode()
        assert client.wait(PATIENCE) == 1 and "lost: the connection to the daemon was lost" in told and not FINDING.search(told), told


def test_the_daemon_restarts_under_a_thousand_streams(parent, listening, peer, folder):
    daemon = parent({"out": peer(echo_until_cut).address})
    client = listening(daemon, f"unix://{folder}/out.sock=out")
    with contextlib.ExitStack() as stack:
        programs = [stack.enter_context(client.connect()) for _ in range(1000)]
        for program in programs:
            program.sendall(b"hello")
        for program in programs:
            assert receive(program, 5) == b"hello"
        daemon.kill()
        for program in programs:  # a unix socket knows no reset
            with contextlib.suppress(ConnectionError):
                assert program.recv(1) == b""
        client.wait_said("1000 connections cut; making another session")
        daemon.start()
        client.wait_up()
        client.wait_said("is up again$")
        new = [stack.enter_context(client.connect()) for _ in range(1000)]
        for program in new:
            program.sendall(b"again")
        for program in new:
            assert receive(program, 5) == b"again"
        assert daemon.metrics()["postern_daemon_streams_active"] == 1000


# ---- Versions


def test_a_client_of_later_versions(framed):
    daemon = framed("tcp://127.0.0.1:1", "unix")
    session = daemon.session(versions=(2, 9))
    session.wait(lambda: session.goaways, what="GOAWAY")
    assert session.goaways[0][2] == CODES["VERSION"]
    session.sock.close()
    daemon.wait_event(event="session ended", code="version", by="daemon")


@pytest.mark.parametrize("versions", [(1, 9), (1, 65535)])
def test_a_client_of_more_versions(framed, peer, versions):
    daemon = framed(peer(echo).address, "unix")
    with daemon.session(versions=versions) as session:
        stream = session.open("out")
        stream.finish(b"hello")
        assert stream.receive_all() == b"hello"


@pytest.mark.parametrize("command", ["ping -c 1", "pipe out"])
def test_a_daemon_of_later_versions(folder, command):
    with contextlib.closing(FalseDaemon(folder, PREFACE + hello(role=1, versions=(2, 9)), greets=False)) as server:
        run = subprocess.run([POSTERN, "--connect", server.address, *command.split()], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             timeout=PATIENCE, check=False)
        assert run.returncode == 1 and "H-5: there is no version that both sides speak" in run.stderr
        caller, = server.callers
        assert caller.wait(caller.goodbye)[2] == CODES["VERSION"]


# ---- Much


def test_much_both_ways_at_once(parent, listening, peer, folder):
    """Four streams of one session, byte for byte: in all 128 MiB, or as many as $POSTERN_BULK_MIB says."""
    total = int(os.environ.get("POSTERN_BULK_MIB", 16 if sanitizers() else 128)) * MIB // 8

    def serve(connection):
        seed = receive(connection, 1)[0]
        exchange(connection, Pattern(100 + seed), Pattern(seed), total)

    daemon = parent({"out": peer(serve).address})
    client = listening(daemon, f"unix://{folder}/out.sock=out")

    def run(seed):
        with client.connect(timeout=PATIENCE) as program:
            program.sendall(bytes([seed]))
            exchange(program, Pattern(seed), Pattern(100 + seed), total)

    for one in [Background(run, seed) for seed in range(4)]:
        one.result()
    ended = daemon.wait_ended("finished", count=4)
    assert sum(event["bytes_in"] + event["bytes_out"] for event in ended) == 8 * total + 4
    assert daemon.metrics()['postern_enclave_sessions_opened_total{enclave="app"}'] == 1
