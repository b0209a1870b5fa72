"""Routes of `type: time`: who asks is told the time, over sessions and over raw connections."""
import struct
import time

import pytest

from framed import CODES
from postern import connect, free_port, receive


def check(answer, asked, before):
    assert len(answer) == 16 and answer[:8] == asked
    told, = struct.unpack(">Q", answer[8:])
    assert before <= told <= time.time_ns()


@pytest.fixture
def clock(framed):
    """clock(...) starts a daemon with a route `time` on a session's listener and on one of its own, `daemon.raw`."""
    def start(route=None, **config):
        raw = f"tcp://127.0.0.1:{free_port()}"
        daemon = framed("tcp://127.0.0.1:1", allow=["time"], routes={"time": {"type": "time", **(route or {})}},
                        listeners={"raw": {"listen": raw, "route": "time", "allow": "any"}}, **config)
        daemon.raw = raw
        return daemon
    return start


def test_over_a_session(clock):
    daemon = clock()
    with daemon.session() as session:
        stream = session.open("time")
        assert stream.wait_answer()
        for asked in b"question", b"\0\xff\n\r\x80abc":
            before = time.time_ns()
            stream.send(asked)
            check(stream.receive(16), asked, before)
        stream.finish(b"half")
        assert stream.receive_all() == b"" and stream.reset is None
    ended, = daemon.wait_ended("finished", route="time")
    assert (ended["route"], ended["enclave"], ended["bytes_in"], ended["bytes_out"]) == ("time", "payroll", 20, 32)
    route, = [one for one in daemon.status()["routes"] if one["name"] == "time"]
    assert (route["type"], route["to"], route["bytes_in"]) == ("time", "time", 20)


def test_the_questions_may_come_with_the_opening(clock):
    daemon = clock()
    before = time.time_ns()
    with daemon.session() as session:
        stream = session.open("time", data=b"first---second--")
        check(stream.receive(16), b"first---", before)
        check(stream.receive(16), b"second--", before)
        stream.finish()
        assert stream.receive_all() == b""


def test_over_a_raw_connection(clock):
    daemon = clock()
    with connect(daemon.raw) as client:
        before = time.time_ns()
        client.sendall(b"question")
        check(receive(client, 16), b"question", before)
    daemon.wait_ended("finished", route="time")


def test_a_thousand_questions_at_once(clock):
    daemon = clock()
    with connect(daemon.raw) as client:
        client.sendall(b"".join(b"%08d" % i for i in range(1000)))
        answers = receive(client, 16000)
    assert [answers[i:i + 8] for i in range(0, 16000, 16)] == [b"%08d" % i for i in range(1000)]
    daemon.wait_ended("finished", route="time")


def test_who_asks_nothing_is_ended(clock):
    daemon = clock(route={"idle_timeout": "100ms"})
    with daemon.session() as session, connect(daemon.raw) as client:
        stream = session.open("time")
        assert stream.receive_all() == b"" and stream.reset == CODES["idle_timeout"]
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass
    assert len(daemon.wait_ended("idle_timeout", route="time", count=2)) == 2


def test_a_client_that_resets(clock):
    daemon = clock()
    with daemon.session() as session:
        stream = session.open("time", data=b"question")
        stream.receive(16)
        stream.abort()
        daemon.wait_ended("client_reset", route="time")


def test_a_drain_does_not_wait_for_who_may_ask_again(clock):
    daemon = clock()
    with daemon.session() as session, connect(daemon.raw) as client:
        stream = session.open("time", data=b"question")
        stream.receive(16)
        client.sendall(b"question")
        receive(client, 16)
        assert daemon.stop() == 0
    assert len(daemon.events(event="stream ended", reason="draining")) == 2
