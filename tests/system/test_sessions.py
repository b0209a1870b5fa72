"""Sessions: many streams over one connection, each treated as a raw connection would be. The peer is tests/lib/framed.py, which was
written from docs/protocol.md alone."""
import json
import subprocess

import pytest

import framed as protocol
from framed import CODES
from hello import client_hello
from postern import abort, echo, echo_until_cut, free_port, read_all, receive, reply_after_end, wait_until
from traffic import Pattern


@pytest.mark.parametrize("transport", ["tcp", "unix", "hybrid", "tcp6"])
def test_a_stream_and_its_books(framed, peer, transport):
    daemon = framed(peer(echo).address, transport)
    with daemon.session() as session:
        stream = session.open("out")
        stream.send(b"hello")
        assert stream.receive(5) == b"hello" and stream.opened
        number = daemon.wait_event(event="session began")["session"]
        assert daemon.metrics()['postern_enclave_sessions_active{enclave="payroll"}'] == 1
        stream.finish()
        assert stream.receive_all() == b"" and stream.ended
        ended, = daemon.wait_ended("finished")
        assert (ended["session"], ended["enclave"], ended["listener"]) == (number, "payroll", "in")
        assert (ended["bytes_in"], ended["bytes_out"]) == (5, 5)
    over = daemon.wait_event(event="session ended")
    assert (over["code"], over["by"], over["session"], over["streams"], over["refused"]) == ("no_error", "client", number, 1, 0)
    assert (over["bytes_in"], over["bytes_out"], over["client"], over["level"]) == (5, 5, "test client", "info")
    metrics = daemon.metrics()
    assert metrics['postern_sessions_ended_total{code="no_error"}'] == 1
    assert metrics['postern_enclave_sessions_opened_total{enclave="payroll"}'] == 1
    assert metrics['postern_enclave_bytes_total{enclave="payroll",direction="in"}'] == 5
    assert metrics['postern_listener_accepted_total{listener="in"}'] == 1
    assert metrics['postern_session_round_trip_seconds_count'] >= 1


@pytest.mark.parametrize("transport", ["tcp", "unix", "hybrid"])
def test_neither_side_waits_for_the_other_to_begin(framed, transport):
    """The handshake has ten minutes: who says nothing is greeted all the same."""
    daemon = framed("tcp://127.0.0.1:1", transport)
    with daemon.connect() as silent:
        assert receive(silent, len(protocol.PREFACE) + 1) == protocol.PREFACE + bytes([protocol.HELLO])


def test_a_half_close_is_passed_on(framed, peer):
    daemon = framed(peer(reply_after_end).address)
    with daemon.session() as session:
        stream = session.open("out")
        stream.finish(b"0123456789")
        assert stream.receive_all() == b"got 10 bytes" and stream.ended and stream.reset is None
    daemon.wait_ended("finished")


@pytest.mark.handover
def test_many_streams_at_once(framed, peer):
    daemon = framed(peer(echo).address)
    with daemon.session() as session:
        streams = [session.open("out") for _ in range(200)]
        for stream in streams:
            stream.send(b"%d" % stream.id * 10)
        for stream in streams:
            assert stream.receive(len(b"%d" % stream.id) * 10) == b"%d" % stream.id * 10
        assert daemon.status()["streams"]["active"] == 200
        for stream in streams:
            stream.finish()
        for stream in streams:
            assert stream.receive_all() == b""
        # There is room for as many again, one after the other.
        for _ in range(300):
            stream = session.open("out")
            stream.finish(b"x")
            assert stream.receive_all() == b"x"
    daemon.wait_ended("finished", count=500)


def test_bytes_both_ways_in_bulk(framed, peer):
    daemon = framed(peer(echo).address)
    pattern = Pattern(3)
    with daemon.session(session_window=1 << 20) as session:
        streams = [session.open("out") for _ in range(3)]
        sent = received = 0
        while received < 6_000_000:
            if sent < 6_000_000 and sent - received < 30_000:
                piece = bytes(pattern.at(sent, 20_000))
                for stream in streams:
                    stream.send(piece)
                sent += len(piece)
            length = min(10_000, sent - received)
            for stream in streams:
                assert stream.receive(length) == pattern.at(received, length)
            received += length
        for stream in streams:
            stream.finish()
            assert stream.receive_all() == b""
    assert sum(event["bytes_in"] for event in daemon.wait_ended("finished", count=3)) == 3 * sent


# ---- What is refused ----

def test_routes_that_are_not_there_or_not_for_it(framed, peer):
    daemon = framed(peer(echo).address, routes={"other": {"type": "relay", "to": "tcp://127.0.0.1:1"}},
                    listeners={"more": {"listen": "unix://@postern-test-unused", "protocol": "framed", "peer": "fraud",
                                        "allow": {"fraud": ["other"]}}})
    names = ["other", "nothing", "ou", "outt", "OUT", "x" * 255, 'a"b\\c']
    with daemon.session() as session:
        for name in names:
            stream = session.open(name)
            assert not stream.wait_answer()
            assert stream.refused[1] == CODES["denied_route"] and stream.refused[3] is False and stream.refused[2]
        stream = session.open("out")
        stream.finish(b"still good")
        assert stream.receive_all() == b"still good"
    wait_until(lambda: len(daemon.events(event="stream refused", reason="denied_route")) == len(names))
    events = daemon.events(event="stream refused", reason="denied_route")
    assert [event["route"] for event in events] == names and {event["enclave"] for event in events} == {"payroll"}
    assert daemon.wait_event(event="session ended")["refused"] == len(names)
    metrics = daemon.metrics()
    assert metrics['postern_opens_refused_total{code="denied_route"}'] == len(names)
    assert metrics['postern_enclave_streams_refused_total{enclave="payroll"}'] == len(names)
    assert not any("nothing" in name for name in metrics)


def test_destinations_that_fail(framed):
    daemon = framed(f"tcp://127.0.0.1:{free_port()}", allow=["out", "gone"],
                    routes={"gone": {"type": "relay", "to": "unix:///nonexistent/socket"}})
    with daemon.session() as session:
        stream = session.open("out", data=b"lost")
        assert not stream.wait_answer()
        assert stream.refused[1] == CODES["connect_refused"] and stream.refused[3] is True
        assert stream.refused[2] == "the destination refused the connection"  # the addresses are for the log
        stream = session.open("gone")
        assert not stream.wait_answer() and stream.refused[1] >= 0x100
    ended, = daemon.wait_ended("connect_refused")
    assert ended["session"] >= 1 and "127.0.0.1" in ended["detail"]
    assert daemon.metrics()['postern_opens_refused_total{code="connect_refused"}'] == 1


def test_kinds_that_nobody_knows(framed):
    daemon = framed("tcp://127.0.0.1:1")
    with daemon.session() as session:
        stream = session.open("out", kind=7)
        assert not stream.wait_answer()
        assert stream.refused[1] == CODES["UNSUPPORTED"] and stream.refused[3] is False
    daemon.wait_event(event="session ended", refused=1)
    assert daemon.metrics()['postern_opens_refused_total{code="unsupported_kind"}'] == 1


def test_the_name_in_the_client_hello_is_judged(framed, peer):
    daemon = framed(peer(echo).address, route={"sni": ["kms.us-east-1.amazonaws.com"]})
    good, bad = client_hello("kms.us-east-1.amazonaws.com"), client_hello("evil.example.com")
    with daemon.session() as session:
        stream = session.open("out")
        for at in range(0, len(good), 100):
            stream.send(good[at:at + 100])
        assert stream.wait_answer() and stream.receive(len(good)) == good
        stream.finish()
        assert stream.receive_all() == b""
        for hello, reason in ((bad, "denied_sni"), (b"GET / HTTP/1.1\r\n\r\n", "not_tls")):
            stream = session.open("out", data=hello)
            assert not stream.wait_answer() and stream.refused[1] == CODES[reason] and stream.refused[3] is False
    assert daemon.wait_ended("denied_sni")[0]["sni"] == "evil.example.com"
    daemon.wait_ended("finished")


def test_time_outs_are_those_of_the_route(framed, peer):
    daemon = framed(peer(echo_until_cut).address, allow=["out", "hello"], route={"idle_timeout": "2s"}, routes={
        "hello": {"type": "relay", "to": "tcp://127.0.0.1:1", "sni": ["a.example.com"], "hello_timeout": "100ms"}})
    with daemon.session() as session:
        stream, late = session.open("out", data=b"x"), session.open("hello", data=b"\x16")
        assert stream.receive(2) == b"x" and stream.reset == CODES["idle_timeout"] == stream.stopped
        assert not late.wait_answer() and late.refused[1] == CODES["hello_timeout"]
    daemon.wait_ended("idle_timeout")


def test_ends_from_both_sides(framed, peer):
    def cut_after_a_byte(connection):
        receive(connection, 1)
        abort(connection)
    daemon = framed(peer(echo_until_cut).address, allow=["out", "cut"],
                    routes={"cut": {"type": "relay", "to": peer(cut_after_a_byte).address}})
    with daemon.session() as session:
        stream = session.open("out", data=b"x")
        assert stream.receive(1) == b"x"
        stream.abort()
        daemon.wait_ended("client_reset")
        stream = session.open("cut", data=b"x")
        assert stream.receive(1) == b"" and stream.reset == CODES["upstream_reset"]
    daemon.wait_ended("upstream_reset", route="cut")


# ---- Limits ----

def test_limits_of_streams(framed, peer):
    daemon = framed(peer(echo).address, allow=["out", "narrow"], enclaves={"payroll": {"cid": 16, "max_streams": 3}},
                    routes={"narrow": {"type": "relay", "to": peer(echo).address, "max_streams": 1}})
    with daemon.session() as one, daemon.session() as two:
        held = [one.open("out"), one.open("narrow")]
        assert all(stream.wait_answer() for stream in held)
        full = two.open("narrow")
        assert not full.wait_answer() and full.refused[1] == CODES["limit_route"] and full.refused[3] is True
        held.append(two.open("out"))
        assert held[2].wait_answer()
        full = two.open("out")
        assert not full.wait_answer() and full.refused[1] == CODES["limit_enclave"]
        held[0].finish()
        assert held[0].receive_all() == b""
        daemon.wait_ended("finished")
        again = two.open("out")
        assert again.wait_answer()
        for stream in (*held[1:], again):
            stream.finish()
            assert stream.receive_all() == b""
    metrics = daemon.metrics()
    assert metrics['postern_opens_refused_total{code="limit_route"}'] == metrics['postern_opens_refused_total{code="limit_enclave"}'] == 1
    assert metrics['postern_streams_ended_total{route="narrow",reason="limit_route"}'] == 1


def test_the_daemons_limit_of_streams(framed, peer):
    daemon = framed(peer(echo).address, limits={"max_streams": 1})
    with daemon.session() as session:
        stream = session.open("out")
        assert stream.wait_answer()
        full = session.open("out")
        assert not full.wait_answer() and full.refused[1] == CODES["limit_daemon"]
        stream.finish()
        assert stream.receive_all() == b""
    daemon.wait_ended("finished")


def goodbye(daemon, **options):
    """What a session that is turned away hears: the code, unless the connection was cut too soon."""
    session = daemon.session(**options)
    try:
        session.wait(lambda: session.goaways or session.ended, what="GOAWAY")
        assert session.peer is None
        return session.goaways[0][2] if session.goaways else None
    finally:
        session.sock.close()


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_limits_of_sessions(framed, transport):
    daemon = framed("tcp://127.0.0.1:1", transport, enclaves={"payroll": {"cid": 16, "max_sessions": 2}}, limits={"max_sessions": 3})
    with daemon.session() as one, daemon.session() as two:
        one.wait_ready()
        two.wait_ready()
        assert goodbye(daemon, hello=False) == CODES["limit_enclave"]
        assert goodbye(daemon) in (CODES["limit_enclave"], None)
        assert daemon.wait_event(event="session refused", reason="limit_enclave")["detail"] == "2 of the enclave's max_sessions 2 are open"
        limits = [check for check in json.loads(daemon.ctl("doctor", "--json", check=False).stdout)["checks"] if check["check"] == "limit"]
        assert [(limit["subject"], limit["found"]) for limit in limits] == [("payroll", "2 of the enclave's 2 sessions are open")]
    wait_until(lambda: daemon.metrics()["postern_sessions_active"] == 0)
    with daemon.session() as one:
        one.wait_ready()
    metrics = daemon.metrics()
    assert metrics['postern_enclave_sessions_refused_total{enclave="payroll"}'] == 2 == metrics['postern_listener_refused_total{listener="in"}']
    assert metrics['postern_enclave_sessions_opened_total{enclave="payroll"}'] == 3


def test_the_daemons_limit_of_sessions(framed):
    daemon = framed("tcp://127.0.0.1:1", limits={"max_sessions": 1})
    with daemon.session() as session:
        session.wait_ready()
        assert goodbye(daemon, hello=False) == CODES["limit_daemon"]
        assert daemon.wait_event(event="session refused", reason="limit_daemon")["detail"] == "1 of limits.max_sessions 1 are open"


@pytest.mark.handover
def test_sessions_are_spread_over_the_workers(framed):
    daemon = framed("tcp://127.0.0.1:1", workers=3)
    sessions = [daemon.session() for _ in range(6)]
    for session in sessions:
        session.wait_ready()
    assert [worker["sessions"] for worker in daemon.status()["workers"]] == [2, 2, 2]
    for session in sessions:
        session.close()
        session.sock.close()


# ---- Ends of sessions ----

def test_a_session_that_is_lost(framed, peer):
    daemon = framed(peer(echo_until_cut).address)
    session = daemon.session()
    assert session.open("out", data=b"x").receive(1) == b"x"
    session.write(protocol.frame(protocol.DATA, 1, b"y" * 100)[:50])
    session.sock.close()
    assert daemon.wait_event(event="session ended", code="lost")["level"] == "warn"
    daemon.wait_ended("client_reset")
    assert daemon.metrics()['postern_sessions_ended_total{code="lost"}'] == 1


def test_a_session_that_does_not_answer(framed):
    daemon = framed("tcp://127.0.0.1:1", sessions={"ping_interval": "1s", "pong_timeout": "200ms"})
    session = daemon.session()
    session.answers_pings = False
    session.wait(lambda: session.goaways, what="GOAWAY")
    assert session.goaways[0][2] == CODES["TIMEOUT"] and session.goaways[0][3].startswith("K-3")
    session.sock.close()
    daemon.wait_event(event="session ended", code="timeout", by="daemon")


@pytest.mark.parametrize("said,code", [
    (b"GET / HTTP/1.1\r\n\r\n", "protocol"), (b"\x16\x03\x01\x02\x00\x01", "protocol"), (protocol.PREFACE[:7] + b"\x01", "protocol"),
    (protocol.PREFACE + protocol.frame(protocol.PING, payload=b"12345678"), "protocol"), (protocol.PREFACE + b"\x01\x00\xff\xff\0\0\0\0", "frame_size"),
    (protocol.PREFACE + protocol.frame(protocol.HELLO, payload=b"\xa1\x01\x00"), "control"), (b"", "timeout"), (protocol.PREFACE[:4], "timeout"),
], ids=["http", "tls", "another preface", "no hello", "a large hello", "a bad hello", "silence", "half a preface"])
def test_handshakes_that_fail(framed, said, code):
    daemon = framed("tcp://127.0.0.1:1", sessions={"handshake_timeout": "200ms" if code == "timeout" else "1m"})
    session = daemon.session(hello=False)
    session.write(said)
    session.wait(lambda: session.goaways, what="GOAWAY")
    session.sock.close()
    assert protocol.CODES[code.upper()] == session.goaways[0][2]
    over = daemon.wait_event(event="session ended", code=code, by="daemon")
    assert over["streams"] == 0 and over["level"] == "warn" and over["detail"]


@pytest.mark.parametrize("options,code", [({"versions": (2, 9)}, "version"), ({"role": 1}, "protocol")])
def test_peers_that_do_not_fit(framed, options, code):
    daemon = framed("tcp://127.0.0.1:1")
    session = daemon.session(**options)
    session.wait(lambda: session.goaways, what="GOAWAY")
    session.sock.close()
    daemon.wait_event(event="session ended", code=code)


def test_a_client_that_says_goodbye_with_an_error(framed, peer):
    daemon = framed(peer(echo_until_cut).address)
    session = daemon.session()
    assert session.open("out", data=b"x").receive(1) == b"x"
    session.goaway("INTERNAL", message="the program crashed")
    session.wait(lambda: session.ended, what="the end")
    session.sock.close()
    over = daemon.wait_event(event="session ended", code="internal_error", by="client")
    assert over["detail"] == "the program crashed"
    daemon.wait_ended("client_reset")


def test_two_names_for_one_code(framed):
    """A peer may end a session by any number, which adds no series."""
    daemon = framed("tcp://127.0.0.1:1")
    before = set(daemon.metrics())
    for number in (0x1f, 0x104, 2**32 - 1):
        session = daemon.session()
        session.wait_ready()
        session.frame(protocol.GOAWAY, payload=protocol.encode({1: 0, 2: number}))
        session.wait(lambda: session.ended, what="the end")
        session.sock.close()
    wait_until(lambda: daemon.metrics()['postern_sessions_ended_total{code="other"}'] == 3)
    assert set(daemon.metrics()) == before


def test_credit_stalls_are_counted(framed, peer):
    def send_much(connection):
        connection.sendall(b"x" * 400_000)
        read_all(connection)
    daemon = framed(peer(send_much).address, sessions={"ping_interval": "1s"})
    with daemon.session(stream_window=4096, session_window=1 << 20) as session:
        stream = session.open("out")
        session.wait(lambda: len(stream.data) == 4096, what="a full window")
        assert stream.receive(400_000) == b"x" * 400_000
        stream.finish()
        assert stream.receive_all() == b""
    daemon.wait_ended("finished")
    daemon.wait_event(event="session ended")
    assert daemon.metrics()['postern_enclave_credit_stalls_total{enclave="payroll",of="stream"}'] >= 1


# ---- For operators ----

def test_status_and_ctl_show_sessions(framed, peer):
    daemon = framed(peer(echo).address)
    with daemon.session() as session:
        assert not session.open("no").wait_answer()
        session.wait(lambda: session.pings, what="a PING")
        session.ping()
        status = daemon.status()
        assert status["sessions"]["active"] == 1 and status["sessions"]["opens_refused"] == {"denied_route": 1}
        listener, = status["listeners"]
        assert listener["protocol"] == "framed" and listener["route"] is None and listener["allow_routes"] == {"payroll": ["out"]}
        page = daemon.ctl("status").stdout
        assert "sessions 1 open, at most 1000" in page and "(framed)" in page
        assert "sessions 1" in daemon.ctl("top", "--once", "--interval", "10ms").stdout
    daemon.wait_event(event="session ended")


def test_promtool_has_nothing_to_say(framed, peer):
    daemon = framed(peer(echo).address)
    with daemon.session() as session:
        session.open("no").wait_answer()
    daemon.wait_event(event="session ended")
    text = daemon.request("GET", "/metrics")[1]
    run = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
