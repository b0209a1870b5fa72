"""Each rule of docs/protocol.md, broken once against the daemon: what is sent, and the code that comes back in GOAWAY, which is the
document's. What only one who is asked for streams can break is broken against the client: tests/system/test_client_hostile.py."""
import contextlib
import signal

import pytest

import framed as protocol
from framed import CODES, GOAWAY, HELLO, MAX_DATA, MAX_STREAM_DATA, MAX_STREAMS, OPEN, OPENED, PING, PONG, PREFACE, STOP, encode, frame
from hostile import RULES, Clock, build_clock, data, goaway, hello, opens, reset, stop, u32, u64
from postern import PATIENT, Daemon, Peer, connect, echo_until_cut, wait_until

STREAMS = 200
WINDOW = (16 << 20) // (2 * STREAMS)  # of each stream, by chapter 6
STREAM_TIMEOUT = FRAME_TIMEOUT = 30

# What nobody can break against the daemon, and why.
NOT_FROM_OUTSIDE = {
    "S-6": "the daemon opens no streams: the client's row",
    "G-4": "the daemon opens no streams: the client's row",
    "W-2": "the windows of all streams are together at most 3/4 of the session's: W-1 is always broken first",
    "W-6": "the daemon has no progress_timeout: the routes have theirs; the client's row",
}

# ---- Before the handshake: what is sent on a new connection

FRESH = [
    ("H-1", "http", b"GET / HTTP/1.1\r\n"),
    ("H-1", "almost the preface", PREFACE[:5] + b"\n"),
    ("H-2", "PING", PREFACE + frame(PING, payload=bytes(8))),
    ("H-2", "DATA", PREFACE + data(1, b"x")),
    ("H-2", "an unknown frame", PREFACE + frame(0x90)),
    ("H-2", "GOAWAY", PREFACE + goaway()),
    ("H-4", "the same role", PREFACE + hello(role=1)),
    ("H-5", "the next version", PREFACE + hello(versions=(2, 3))),
    ("H-5", "the last version", PREFACE + hello(versions=(65535, 65535))),
    ("C-9", "too many streams", PREFACE + hello(max_streams=1 << 31)),
    ("C-9", "a tiny window", PREFACE + hello(stream_window=1023)),
    ("C-9", "a tiny session window", PREFACE + hello(session_window=4095)),
    ("C-9", "a tiny payload", PREFACE + hello(max_payload=1023)),
    ("C-9", "a huge payload", PREFACE + hello(max_payload=65529)),
    ("C-9", "a huge window", PREFACE + hello(stream_window=(1 << 40) + 1)),
    ("C-9", "a fast PING", PREFACE + hello(ping_interval=999)),
    ("C-9", "a third role", PREFACE + hello(role=2)),
    ("C-9", "versions backwards", PREFACE + hello(versions=(2, 1))),
    ("C-9", "three versions", PREFACE + hello(versions=(1, 1, 2))),
    ("C-9", "version 0", PREFACE + hello(versions=(0, 1))),
    ("C-9", "a long build", PREFACE + hello(k9="x" * 65)),
    ("C-8", "no versions", PREFACE + frame(HELLO, payload=encode({2: 0}))),
    ("F-3", "a huge HELLO", PREFACE + b"\x01\x00\x10\x01\0\0\0\0"),
]

# ---- After it: bytes that are wrong whatever was said before

SAID = [
    ("H-3", "HELLO", hello()),
    ("F-1", "type 0", frame(0)),
    ("F-1", "type 7f", frame(0x7f, 1)),
    ("F-2", "DATA", opens(1, "nothing") + b"\x13\x00\xff\xf9\0\0\0\x01"),
    ("F-2", "an unknown frame", b"\xff\x00\xff\xff\0\0\0\x01"),
    ("F-3", "a short PING", frame(PING, payload=b"1234567")),
    ("F-3", "an empty OPEN", frame(OPEN, 1)),
    ("F-3", "a long OPEN", b"\x10\x00\x10\x01\0\0\0\x01"),
    ("F-4", "PING", frame(PING, payload=bytes(8), flags=1)),
    ("F-4", "DATA", opens(1, "nothing") + frame(protocol.DATA, 1, b"d", flags=2)),
    ("F-5", "PING on a stream", frame(PING, 1, bytes(8))),
    ("F-5", "DATA on the session", data(0, b"d")),
    ("C-8", "GOAWAY without a code", frame(GOAWAY, payload=encode({1: 1}))),
    ("S-1", "an id of the other side's", opens(2)),
    ("S-2", "an id left out", opens(3)),
    ("S-2", "an id again", opens(1, "nothing") + opens(1)),
    ("S-3", "one too many", b"".join(opens(2 * i + 1, "nothing") for i in range(STREAMS + 1))),
    ("S-4", "DATA", data(1, b"x")),
    ("S-4", "credit", u64(MAX_STREAM_DATA, 2, 1 << 20)),
    ("S-4", "OPENED", frame(OPENED, 2, encode({}))),
    ("S-5", "OPENED", opens(1, "nothing") + frame(OPENED, 1, encode({}))),
    ("S-7", "DATA after FIN", opens(1, "nothing") + data(1, b"x", fin=True) + data(1, b"x")),
    ("S-7", "RESET after FIN", opens(1, "nothing") + data(1, b"x", fin=True) + reset(1, 1)),
    ("S-7", "FIN after RESET", opens(1, "nothing") + reset(1) + data(1, fin=True)),
    ("S-8", "a wrong size", opens(1, "nothing") + data(1, b"x" * 10) + reset(1, 11)),
    ("S-9", "STOP twice", opens(1, "nothing") + stop(1) + stop(1)),
    ("W-1", "a byte too many", opens(1, "nothing") + data(1, b"x" * (WINDOW + 1))),
    ("W-3", "no growth", opens(1, "nothing") + u64(MAX_STREAM_DATA, 1, 65536)),
    ("W-4", "no growth", u64(MAX_DATA, 0, 1 << 20)),
    ("W-5", "no growth", u32(MAX_STREAMS, 0, 0)),
    ("W-5", "beyond", u32(MAX_STREAMS, 0, 1 << 31)),
    ("K-1", "two at once", u64(PING, 0, 1) + u64(PING, 0, 2)),
    ("G-1", "taken back", goaway(8) + goaway(10)),
    ("G-2", "an OPEN", goaway((1 << 32) - 1) + opens(1)),
]

# The payload of an OPEN that is no control frame as chapter 3 has it.
SAID += [(rule, name, frame(OPEN, 1, payload)) for rule, name, payload in [
    ("C-1", "no map", b"\x01"), ("C-1", "cut", b"\xa1\x01\x63km"), ("C-1", "cut in meta", b"\xa2\x01\x63kms\x03\xa1\x61z"),
    ("C-1", "more behind", b"\xa1\x01\x63kms\x00"), ("C-2", "an integer", b"\xa1\x18\x01\x63kms"), ("C-2", "a length", b"\xa1\x01\x78\x03kms"),
    ("C-2", "a count", b"\xb8\x01\x01\x63kms"), ("C-3", "a key twice", b"\xa2\x01\x63kms\x01\x63kms"),
    ("C-3", "out of order", b"\xa2\x02\x00\x01\x63kms"), ("C-3", "a text", b"\xa1\x61r\x63kms"),
    ("C-3", "a huge key", b"\xa1\x1b\x00\x00\x00\x01\x00\x00\x00\x00\x00"), ("C-3", "meta out of order", b"\xa2\x01\x63kms\x03\xa2\x62aa\x60\x61z\x60"),
    ("C-3", "meta twice", b"\xa2\x01\x63kms\x03\xa2\x61z\x60\x61z\x60"), ("C-4", "an endless map", b"\xbf\x01\x63kms\xff"),
    ("C-4", "an endless text", b"\xa1\x01\x7f\x63kms\xff"), ("C-4", "a negative", b"\xa2\x01\x63kms\x18\x40\x20"),
    ("C-4", "a tag", b"\xa1\x01\xc1\x63kms"), ("C-4", "a float", b"\xa2\x01\x63kms\x18\x40\xf9\x00\x00"), ("C-4", "null", b"\xa2\x01\x63kms\x03\xf6"),
    ("C-5", "deep", b"\xa2\x01\x63kms\x18\x40\x81\x81\x81\x81\x00"), ("C-5", "many", b"\xa2\x01\x63kms\x18\x40\x98\x21"),
    ("C-6", "a line break", b"\xa1\x01\x64kms\n"), ("C-6", "a control", b"\xa2\x01\x63kms\x18\x40\x61\x7f"),
    ("C-7", "key 63", b"\xa2\x01\x63kms\x18\x3f\x00"), ("C-8", "no route", b"\xa1\x02\x00"), ("C-9", "an empty route", b"\xa1\x01\x60"),
    ("C-9", "a route of bytes", b"\xa1\x01\x43kms"), ("C-9", "a long route", encode({1: "x" * 256})),
    ("C-9", "a huge timeout", b"\xa2\x01\x63kms\x04\x1b\x00\x00\x00\x01\x00\x00\x00\x00"), ("C-9", "meta's value", b"\xa2\x01\x63kms\x03\xa1\x61z\x00"),
    ("C-9", "meta", b"\xa2\x01\x63kms\x03\x61z"), ("C-9", "meta's key", b"\xa2\x01\x63kms\x03\xa1\x01\x61z"), ("C-9", "much meta", b"\xa2\x01\x63kms\x03\xb1"),
]]


# ---- What takes more than that


def a_pong_unasked(session, _other):
    session.wait(lambda: session.pings, what="a PING")  # which was answered
    session.write(u64(PONG, 0, 0))


def a_pong_of_another(session, _other):
    session.write(u64(PONG, 0, 77))


def opened_twice(session, _other):
    assert session.open("out").wait_answer()
    session.write(frame(OPENED, 1, encode({})))


def stopped_twice(session, _other):
    assert session.open("out").wait_answer()
    session.write(stop(1) + stop(1))


def data_after_the_end(session, _other):
    stream = session.open("out")
    stream.finish(b"x")
    assert stream.receive_all() == b"x"
    session.write(data(1, b"x"))


ACTS = [("K-2", a_pong_unasked), ("K-2", a_pong_of_another), ("S-5", opened_twice), ("S-9", stopped_twice), ("S-7", data_after_the_end)]


# ---- What takes time: the test's clock says how much passes, and the other session wakes the daemon


def pass_time(clock, session, other, seconds, say=b""):
    """A third of the time at once: something has to come to its end for the session in the meantime."""
    for _ in range(5):
        assert not session.goaways
        clock.advance(seconds / 3)
        session.write(say)
        other.ping()
        with contextlib.suppress(AssertionError):
            session.wait(lambda: session.goaways, seconds=0.2)
            return
    session.wait(lambda: session.goaways, what="GOAWAY")


def a_frame_that_drips(clock, session, other):
    assert session.open("out").wait_answer()
    session.write(b"\x13\x00\x04\x00\0\0\0\x01")
    pass_time(clock, session, other, FRAME_TIMEOUT, say=b"x")


def a_refusal_ignored(clock, session, other):
    session.write(opens(1, "nothing"))
    session.streams[1] = protocol.Stream(session, 1, "nothing")
    session.streams[1].send_over = True  # it sends no RESET by itself
    session.wait(lambda: session.streams[1].refused, what="a refusal")
    pass_time(clock, session, other, STREAM_TIMEOUT, say=data(1, b"x"))


def a_ping_unanswered(clock, session, other):
    pass_time(clock, session, other, 600)


def too_many_pings(clock, session, _other):
    clock.stand_still()
    for _ in range(50):
        session.ping()
    assert not session.goaways
    session.write(u64(PING, 0, 51))


def too_many_opens(clock, session, _other):
    clock.stand_still()
    session.wait_ready()
    count = 0
    while not session.goaways:
        session.wait(lambda: session.may_open > count or session.goaways, what="leave to open")
        batch = range(count, session.may_open)
        for i in batch:
            session.streams[2 * i + 1] = stream = protocol.Stream(session, 2 * i + 1, "nothing")
            stream.send_over = True
        session.write(b"".join(opens(2 * i + 1, "nothing") + data(2 * i + 1, fin=True) for i in batch))
        count = session.may_open
    assert session.goaways[0][1] == 2 * 50000 - 1  # so many were looked at


def too_many_resets(clock, session, _other):
    clock.stand_still()
    session.wait_ready()
    count = 0
    while not session.goaways:
        session.wait(lambda: session.may_open > count or session.goaways, what="leave to open")
        batch = range(count, session.may_open)
        for i in batch:
            session.streams[2 * i + 1] = stream = protocol.Stream(session, 2 * i + 1, "nothing")
            stream.send_over = True
        session.write(b"".join(opens(2 * i + 1, "nothing") + reset(2 * i + 1) + (stop(2 * i + 1)) for i in batch))
        count = session.may_open
    assert session.goaways[0][1] >= 4000  # two tokens each, of 4000 and some


def noise(clock, session, piece, opened=b""):
    """2,000 frames are let pass, and 4 for each stream."""
    clock.stand_still()
    session.write(opened)
    if opened:
        session.streams[1] = protocol.Stream(session, 1, "nothing")
        session.streams[1].send_over = True
    session.write(b"".join(piece(i) for i in range(1990)))
    session.ping()
    assert not session.goaways
    session.write(b"".join(piece(1990 + i) for i in range(20)))


def empty_data(clock, session, _other):
    noise(clock, session, lambda _: data(1), opens(1, "nothing"))


def unknown_frames(clock, session, _other):
    noise(clock, session, lambda _: frame(0x80, payload=b"abc"))


def small_grants(clock, session, _other):
    noise(clock, session, lambda i: u64(MAX_DATA, 0, (1 << 20) + 1 + i))


def small_stream_grants(clock, session, _other):
    noise(clock, session, lambda i: u64(MAX_STREAM_DATA, 1, 65537 + i), opens(1, "nothing"))


def the_same_goaway(clock, session, _other):
    noise(clock, session, lambda _: goaway((1 << 32) - 1))


TIMED = [("F-6", a_frame_that_drips), ("S-10", a_refusal_ignored), ("K-3", a_ping_unanswered), ("L-3", too_many_pings),
         ("L-1", too_many_opens), ("L-2", too_many_resets), ("L-4", empty_data), ("L-4", unknown_frames), ("L-4", small_grants),
         ("L-4", small_stream_grants), ("L-4", the_same_goaway)]
APART = ["H-6", "G-3", "G-5"]  # tests of their own, below


def identity(row):
    return f"{row[0]} {row[1] if isinstance(row[1], str) else row[1].__name__}"


def test_each_rule_has_a_row():
    assert len(RULES) > 40
    have = {row[0] for row in FRESH + SAID + ACTS + TIMED} | set(APART) | set(NOT_FROM_OUTSIDE)
    assert have == set(RULES)


class Two(Daemon):
    """A daemon with one worker, and two enclaves at it: the one that breaks the rules, and another."""

    def __init__(self, to, **options):
        super().__init__(**options)
        listeners = {name: {"listen": self.socket_path(name), "protocol": "framed", "peer": name, "allow": {name: ["out"]}}
                     for name in ("hostile", "other")}
        self.write_config({
            "workers": 1, "listeners": listeners, "routes": {"out": {"type": "relay", "to": to, **PATIENT, "idle_timeout": "1d", "first_byte_timeout": "1d"}}, "log": {"level": "warn", "format": "json"},
            "enclaves": {"hostile": {"cid": 16, "max_streams": STREAMS}, "other": {"cid": 17}},
            "sessions": {"handshake_timeout": "10m", "pong_timeout": "10m", "ping_interval": "1h"}})

    def session(self, name="hostile", **options):
        return protocol.Client(connect(self.socket_path(name)), **options)


def ends_with(session, rule):
    """The daemon has said which rule was broken, and nothing after it."""
    session.wait(lambda: session.ended or (session.goaways and session.goaways[-1][2]), what="GOAWAY")
    said = session.goaways[-1]
    assert (said[2], said[3].partition(":")[0]) == (CODES[RULES[rule]], rule)
    session.wait(lambda: session.ended, what="the end of the connection")
    assert session.goaways[-1] is said and not session.incoming
    session.sock.close()


class Served:
    """The other enclave, whose session goes on whatever the first one does."""

    def __init__(self, daemon):
        self.session = daemon.session("other")
        self.stream = self.session.open("out")
        self.count = 0

    def ping(self):
        self.session.ping()

    def check(self):
        self.count += 1
        said = b"exchange %d" % self.count
        self.stream.send(said)
        assert self.stream.receive(len(said)) == said

    def close(self):
        self.stream.finish()
        assert self.stream.receive_all() == b""
        self.session.close()
        self.session.sock.close()


@contextlib.contextmanager
def running(**options):
    peer = Peer(echo_until_cut)
    daemon = Two(peer.address, **options)
    try:
        daemon.start()
        other = Served(daemon)
        yield daemon, other
        other.check()
        other.close()
        if not daemon.stopped:
            daemon.wait_quiet()
            daemon.process.send_signal(signal.SIGTERM)
        assert daemon.wait() == 0
    finally:
        problems = daemon.finish() + peer.close()
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="module")
def two():
    with running() as both:
        yield both


@pytest.fixture(scope="module")
def clock_library(tmp_path_factory):
    return build_clock(tmp_path_factory.mktemp("clock"))


@pytest.fixture
def timed(clock_library, folder):
    """A daemon whose clock is the test's."""
    clock = Clock(clock_library, folder / "clock")
    with contextlib.closing(clock), running(environment=clock.environment) as (daemon, other):
        yield clock, daemon, other
        clock.go_on()


@pytest.mark.parametrize("row", FRESH, ids=identity)
def test_before_the_handshake(two, row):
    daemon, other = two
    session = daemon.session(hello=False)
    session.write(row[2])
    ends_with(session, row[0])
    other.check()


@pytest.mark.parametrize("row", SAID, ids=identity)
def test_bytes_that_are_wrong(two, row):
    daemon, other = two
    session = daemon.session()
    session.wait_ready()
    for i in range(STREAMS):  # whose answers are let come
        session.streams[2 * i + 1] = stream = protocol.Stream(session, 2 * i + 1, "nothing")
        stream.send_over = True
    session.write(row[2])
    ends_with(session, row[0])
    other.check()


@pytest.mark.parametrize("row", ACTS, ids=identity)
def test_at_the_wrong_moment(two, row):
    daemon, other = two
    session = daemon.session()
    session.answers_pings = row[1] is not a_pong_of_another
    session.wait(lambda: session.pings, what="a PING")
    row[1](session, other)
    ends_with(session, row[0])
    other.check()


@pytest.mark.parametrize("row", TIMED, ids=identity)
def test_with_time(timed, row):
    clock, daemon, other = timed
    session = daemon.session(max_streams=0)
    session.answers_pings = row[0] != "K-3"
    session.wait(lambda: session.pings, what="a PING")
    other.check()
    row[1](clock, session, other)
    ends_with(session, row[0])


@pytest.mark.parametrize("said", [b"", PREFACE[:3], PREFACE + hello()[:20]], ids=["nothing", "half a preface", "half a HELLO"])
def test_a_handshake_that_does_not_come(timed, said):
    """H-6."""
    clock, daemon, other = timed
    session = daemon.session(hello=False)
    session.write(said)
    other.check()
    pass_time(clock, session, other, 600)
    ends_with(session, "H-6")


def test_an_open_after_goaway_was_seen(timed):
    """G-3."""
    _clock, daemon, other = timed
    session = daemon.session()
    assert session.open("out").wait_answer()
    daemon.process.send_signal(signal.SIGTERM)
    daemon.stopped = True
    session.wait(lambda: session.goaways and session.goaways[-1][1] == 1, what="the final GOAWAY")
    session.write(opens(3))
    ends_with(session, "G-3")
    other.check()


@pytest.mark.parametrize("said", [b"", opens(1) + goaway(), opens(1) + b"\x03"], ids=["no GOAWAY", "a stream is open", "in a frame"])
def test_an_end_that_is_none(two, said):
    """G-5, of which the daemon alone is told."""
    daemon, other = two
    before = len(daemon.events(event="session ended", code="lost"))
    session = daemon.session()
    session.wait_ready()
    session.write(said)
    session.sock.close()
    wait_until(lambda: len(daemon.events(event="session ended", code="lost")) > before)
    assert daemon.events(event="session ended", code="lost")[-1]["detail"].startswith("G-5: ")
    other.check()
