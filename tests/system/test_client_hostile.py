"""A hostile daemon: whatever it says or does not say, the client ends with a clear error, in bounded memory, and does not hang."""
import contextlib
import pathlib
import re
import subprocess

import pytest

from client import POSTERN
from framed import CODES, DATA, GOAWAY, MAX_DATA, MAX_STREAM_DATA, OPENED, PING, PONG, PREFACE, REFUSED, encode, frame
from hostile import RULES, Clock, FalseDaemon, build_clock, data, goaway, hello, opens, reset, stop, u64
from postern import FINDING, PATIENCE, sanitizers

MIB = 1 << 20


@pytest.fixture
def false_daemon(folder):
    """false_daemon(says, ...): see hostile.FalseDaemon."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(contextlib.closing(FalseDaemon(folder, *arguments, **options)))


def run(server, *arguments, **options):
    """One command to its end, which has to be an error, in lines that a terminal can bear."""
    with open("/dev/zero", "rb") as endless:
        done = subprocess.run([POSTERN, "--connect", server.address, *arguments], stdin=endless, capture_output=True, timeout=PATIENCE,
                              check=False, **options)
    told = done.stderr.decode()
    assert not FINDING.search(told), told
    assert done.returncode == 1 and told.startswith("postern: "), (done.returncode, told)
    assert all(line.isascii() and line.isprintable() for line in told.splitlines()), told
    return told


GREETINGS = [
    ("H-1", "another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    ("H-1", "noise", bytes(range(256)) * 64),
    ("H-2", "no HELLO", PREFACE + frame(PING, payload=bytes(8))),
    ("H-4", "a client's", PREFACE + hello(role=0)),
    ("H-5", "a later version", PREFACE + hello(role=1, versions=(2, 7))),
    ("C-9", "absurd windows", PREFACE + hello(role=1, stream_window=1 << 63, session_window=1 << 63)),
    ("C-9", "no windows", PREFACE + hello(role=1, stream_window=0, session_window=0)),
    ("C-9", "absurd streams", PREFACE + hello(role=1, max_streams=1 << 32)),
    ("F-3", "a long HELLO", PREFACE + b"\x01\x00\xff\xff\0\0\0\0"),
    ("C-1", "half a map", PREFACE + frame(1, payload=b"\xa7\x01")),
]


@pytest.mark.parametrize("command", ["ping -c 1", "pipe out"])
@pytest.mark.parametrize("rule,name,said", GREETINGS, ids=[row[1] for row in GREETINGS])
def test_no_daemon_at_all(false_daemon, command, rule, name, said):
    server = false_daemon(said, greets=False)
    told = run(server, *command.split())
    assert rule in told and RULES[rule].lower() in told and f"cannot begin a session with {server.address}: " in told
    assert ("with `protocol: framed` is there" in told) == (RULES[rule] == "PROTOCOL")
    caller, = server.callers
    goodbye = caller.wait(caller.goodbye)
    assert goodbye[2] == CODES[RULES[rule]] and goodbye[3].startswith(f"{rule}: ")


@pytest.mark.parametrize("said", [b"", PREFACE[:5], PREFACE, PREFACE + hello(role=1)[:20]], ids=["nothing", "half a preface", "no HELLO", "half a HELLO"])
def test_it_closes_before_it_said_hello(false_daemon, said):
    def close(caller):
        caller.say(said)
        raise ConnectionError
    told = run(false_daemon(close, greets=False), "pipe", "out")
    assert "see that a listener with `protocol: framed` is there, whose `allow` has this enclave" in told


def test_it_never_says_hello(false_daemon):
    told = run(false_daemon(b"", greets=False), "ping", "--timeout", "1s")
    assert "H-6" in told and "see that posternd runs there, and a listener with `protocol: framed`" in told


# ---- What only who is asked for streams can break, and more: after HELLO, on the stream that the client opened


def answered(caller):
    stream = caller.wait_stream()
    caller.say(frame(OPENED, stream, encode({})))
    return stream


def says(make, first=answered):
    def act(caller):
        caller.say(make(first(caller)))
    return act


def unanswered(caller):
    return caller.wait_stream()


STREAMS = [
    ("S-1", "an OPEN with the client's id", says(opens)),
    ("S-3", "an OPEN, which it may not", says(lambda _: opens(2))),
    ("S-4", "DATA on no stream", says(lambda stream: data(stream + 2, b"x"))),
    ("S-5", "two answers", says(lambda stream: frame(OPENED, stream, encode({})))),
    ("S-6", "DATA before the answer", says(lambda stream: data(stream, b"x"), unanswered)),
    ("S-6", "RESET before the answer", says(reset, unanswered)),
    ("S-6", "STOP before the answer", says(stop, unanswered)),
    ("S-7", "DATA after FIN", says(lambda stream: data(stream, b"x", fin=True) + data(stream, b"x"))),
    ("S-8", "a wrong size", says(lambda stream: reset(stream, 1))),
    ("W-1", "more than the window", says(lambda stream: data(stream, b"x" * 65528) * 64)),
    ("W-3", "credit that does not grow", says(lambda stream: u64(MAX_STREAM_DATA, stream, 65536))),
    ("W-4", "a session's credit that does not grow", says(lambda _: u64(MAX_DATA, 0, 1))),
    ("C-7", "keys in OPENED", says(lambda stream: frame(OPENED, stream, encode({1: 0})), unanswered)),
    ("C-8", "half a refusal", says(lambda stream: frame(REFUSED, stream, encode({1: 1})), unanswered)),
    ("C-6", "a refusal that forges a line", says(lambda stream: frame(REFUSED, stream, b"\xa3\x01\x01\x02\x63a\nb\x03\xf4"), unanswered)),
    ("G-4", "a goodbye that leaves a stream out", says(lambda _: goaway(0))),
    ("K-2", "a PONG", says(lambda _: u64(PONG, 0, 99))),
    ("F-1", "noise", says(lambda _: b"\x7f" * 1000)),
    ("L-4", "frames that do nothing", says(lambda stream: data(stream) * 40000)),
]


@pytest.mark.parametrize("rule,name,act", STREAMS, ids=[row[1] for row in STREAMS])
def test_rules_that_a_daemon_breaks(false_daemon, rule, name, act):
    server = false_daemon(act)
    told = run(server, "pipe", "out")
    assert rule in told and RULES[rule].lower() in told
    caller, = server.callers
    goodbye = caller.wait(caller.goodbye)
    assert goodbye[2] == CODES[RULES[rule]] and goodbye[3].startswith(f"{rule}: ")


def leaves(caller):
    answered(caller)
    raise ConnectionError


def leaves_in_a_frame(caller):
    caller.say(data(answered(caller), b"x" * 1000)[:500])
    raise ConnectionError


def refuses(caller):
    stream = caller.wait_stream()
    caller.say(frame(REFUSED, stream, encode({1: 0xfffffff0, 2: "x" * 255, 3: True})))
    caller.wait_frame(GOAWAY)  # the client's, which waits for one some seconds
    raise ConnectionError


def says_goodbye(caller):
    answered(caller)
    caller.say(goaway(1, "INTERNAL"))


@pytest.mark.parametrize("act,words", [(leaves, "lost: "), (leaves_in_a_frame, "lost: "), (refuses, "x" * 255), (says_goodbye, "internal")],
                         ids=["leaves", "leaves in a frame", "refuses", "says goodbye"])
def test_it_lets_the_client_down(false_daemon, act, words):
    assert words in run(false_daemon(act), "pipe", "out")


def test_windows_without_end(false_daemon):
    """It may be sent 2^40 bytes, and takes them slowly."""
    peak = []

    def act(caller):
        answered(caller)
        for _ in range(100):
            caller.heard = b""
            caller.wait(lambda: len(caller.heard) > 1 << 16)
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        peak.append(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024)
        raise ConnectionError

    server = false_daemon(act, stream_window=1 << 40, session_window=1 << 40)
    with open("/dev/zero", "rb") as endless, subprocess.Popen([POSTERN, "--connect", server.address, "pipe", "out"], stdin=endless,
                                                              stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        told = process.stderr.read().decode()
    assert process.returncode == 1 and told.startswith("postern: ") and not FINDING.search(told), told
    assert sanitizers() or peak[0] < 16 * MIB


@pytest.fixture(scope="module")
def clock_library(tmp_path_factory):
    return build_clock(tmp_path_factory.mktemp("clock"))


def says_no_hello(caller, clock):
    said = PREFACE + hello(role=1)
    caller.wait(lambda: len(caller.heard) > len(PREFACE))  # it has begun to wait
    for i in range(9):
        clock.advance(14)
        caller.say(said[i:i + 1])  # which has the client see what time it is


def let_pass(caller, clock, seconds):
    """The daemon is there, and answers whatever it is asked but for what the client waits for."""
    answered_pings = 0
    for i in range(seconds // 10):
        clock.advance(10)
        caller.say(u64(PING, 0, i))
        caller.wait(lambda: len(caller.frames(PONG)) > i)
        for ping in caller.frames(PING)[answered_pings:]:
            answered_pings += 1
            caller.say(frame(PONG, payload=ping[3]))


def gives_no_answer(caller, clock):
    caller.wait_stream()
    let_pass(caller, clock, 60)


def gives_no_credit(caller, clock):
    stream = answered(caller)
    caller.wait(lambda: sum(len(one[3]) for one in caller.frames(DATA) if one[2] == stream) == 4096)
    let_pass(caller, clock, 600)


def answers_no_ping(caller, clock):
    answered(caller)
    for i in range(9):
        clock.advance(10)
        caller.say(u64(PING, 0, i))
        caller.wait(lambda: len(caller.frames(PONG)) > i)


@pytest.mark.parametrize("act,words", [
    (says_no_hello, "H-6"), (gives_no_answer, "open_timeout"), (gives_no_credit, "W-6"), (answers_no_ping, "K-3"),
], ids=["HELLO", "the answer to OPEN", "credit", "a PONG"])
def test_what_never_comes(false_daemon, clock_library, folder, act, words):
    """The time is the client's own, and set forward."""
    clock = Clock(clock_library, folder / "clock")
    with contextlib.closing(clock):
        server = false_daemon(lambda caller: act(caller, clock), greets=act is not says_no_hello, session_window=4096)
        assert words in run(server, "pipe", "out", env=clock.environment)
