"""Routes of type log: an enclave's lines in the daemon's log, over sessions and raw connections alike."""
import json

import pytest

from framed import CODES
from postern import connect, wait_until
from traffic import Pattern

LOGS = {"logs": {"type": "log", "lines_per_second": 10000}}


@pytest.fixture
def logging(framed):
    """A daemon with a framed listener, and a raw one at `daemon.raw`."""
    def start(transport="tcp", routes=None, **config):
        daemon = framed("tcp://127.0.0.1:1", transport, allow=["out", "logs"], routes=routes or LOGS, listeners={
            "raw": {"listen": "unix://@postern-log-test", "route": "logs", "peer": "payroll", "allow": ["payroll"]}}, begin=False, **config)
        daemon.raw = daemon.socket_path("raw.sock")
        whole = json.loads(daemon.config_file.read_text())
        whole["listeners"]["raw"]["listen"] = daemon.raw
        daemon.config_file.write_text(json.dumps(whole))
        return daemon.start()
    return start


def lines(daemon, count, **fields):
    """Once there are so many."""
    wait_until(lambda: len(daemon.events(event="enclave log", **fields)) >= count, what=f"{count} lines")
    found = daemon.events(event="enclave log", **fields)
    assert len(found) == count
    return found


@pytest.mark.parametrize("transport", ["tcp", "unix", "hybrid"])
def test_lines_of_a_session(logging, transport):
    daemon = logging(transport)
    with daemon.session() as session:
        out, err = session.open("logs", {"name": "stdout"}), session.open("logs", {"name": "stderr"})
        assert out.wait_answer() and err.wait_answer()
        out.send(b"first\nsec")
        err.send(b"trouble\n")
        out.send(b"ond\nlast")
        out.finish()
        err.finish()
        assert out.receive_all() == b"" == err.receive_all() and out.ended and err.ended
    said = lines(daemon, 4)
    assert [event["line"] for event in said if event["name"] == "stdout"] == ["first", "second", "last"]
    assert [event["line"] for event in said if event["name"] == "stderr"] == ["trouble"]
    assert {(event["enclave"], event["route"], event["level"]) for event in said} == {("payroll", "logs", "info")}
    ended = daemon.wait_ended("finished", count=2, route="logs")
    assert {(event["name"], event["lines"], event["dropped"], event["session"]) for event in ended} == {("stdout", 3, 0, 1), ("stderr", 1, 0, 1)}
    assert daemon.metrics()['postern_enclave_log_lines_total{enclave="payroll"}'] == 4
    assert daemon.metrics()['postern_stream_bytes_total{route="logs",direction="in"}'] == 25


def test_lines_of_a_raw_connection(logging):
    daemon = logging()
    with connect(daemon.raw) as client:
        client.sendall(b"one\r\n\ntwo\nthr")
        client.sendall(b"ee")
    said = lines(daemon, 3)
    assert [event["line"] for event in said] == ["one", "two", "three"] and "name" not in said[0]
    assert "session" not in daemon.wait_ended("finished", route="logs")[0]


def test_what_an_enclave_writes_forges_nothing(logging):
    daemon = logging()
    hostile = b'"} \\ \x1b[2J\0\r{"event":"stream refused"}\xff\xe2\x80\xae'
    with connect(daemon.raw) as client:
        client.sendall(hostile + b"\n")
    event, = lines(daemon, 1)
    assert event["line"] == hostile.decode(errors="replace") and not daemon.events(event="stream refused")
    raw = [line for line in daemon.log().splitlines() if "enclave log" in line]
    assert len(raw) == 1 and all(" " <= character for character in raw[0]) and "\u202e" not in raw[0]


def test_long_lines_are_continued(logging):
    daemon = logging()
    text = bytes(33 + byte % 90 for byte in Pattern(5).at(0, 200_000))
    with daemon.session() as session:
        stream = session.open("logs")
        stream.finish(text + b"\nafter\n")
        assert stream.receive_all() == b""
    daemon.wait_ended("finished", route="logs")
    wait_until(lambda: daemon.events(event="enclave log", line="after"))
    pieces = daemon.events(event="enclave log")
    assert "".join(piece["line"] for piece in pieces[:-1]).encode() == text
    assert all(piece.get("continues") for piece in pieces[:-2]) and not pieces[-2].get("continues")


def test_too_many_lines_are_dropped_and_told(logging):
    daemon = logging(routes={"logs": {"type": "log", "lines_per_second": 10}})
    with daemon.session() as session:
        stream = session.open("logs")
        stream.finish(b"".join(b"line %d\n" % i for i in range(20_000)))
        assert stream.receive_all() == b""
        again = session.open("logs")  # the bound is the enclave's
        again.finish(b"x\n" * 1000)
        assert again.receive_all() == b""
    ended = daemon.wait_ended("finished", count=2, route="logs")
    written, dropped = sum(event["lines"] for event in ended), sum(event["dropped"] for event in ended)
    assert written + dropped == 21_000 and 50 <= written < 10_000
    metrics = daemon.metrics()
    assert metrics['postern_enclave_log_lines_dropped_total{enclave="payroll"}'] == dropped
    assert metrics['postern_enclave_log_lines_total{enclave="payroll"}'] == written
    lines(daemon, written)
    wait_until(lambda: sum(event.get("dropped", 0) for event in daemon.events() if event["event"].startswith("enclave log")) == dropped)


def test_a_flood_of_lines_leaves_the_others_their_turn(logging):
    daemon = logging(routes={"logs": {"type": "log", "lines_per_second": 10}}, workers=1)
    with daemon.session() as noisy, daemon.session() as other:
        stream = noisy.open("logs")
        assert stream.wait_answer()
        for _ in range(20):
            stream.send(b"\n" * 100_000 + b"x" * 100_000)
            assert not other.open("nothing").wait_answer()
        stream.finish()
        assert stream.receive_all() == b""
    daemon.wait_ended("finished", route="logs")


def test_levels(logging):
    daemon = logging(routes={"logs": {"type": "log", "level": "warn"}}, log={"level": "warn", "format": "json"})
    with connect(daemon.raw) as client:
        client.sendall(b"still there\n")
        wait_until(lambda: daemon.events(event="enclave log", level="warn", line="still there"))


def test_places_and_policy_are_the_same(logging):
    daemon = logging(routes={"logs": {"type": "log", "max_streams": 1}})
    with daemon.session() as session:
        stream = session.open("logs")
        assert stream.wait_answer()
        full = session.open("logs")
        assert not full.wait_answer() and full.refused[1] == CODES["limit_route"]
        stream.abort()
        daemon.wait_ended("client_reset", route="logs")
        again = session.open("logs")
        assert again.wait_answer()
        again.finish()
        assert again.receive_all() == b""


def test_a_drain_asks_for_the_end(logging):
    """Streams to the log would go on for ever, and a drain would wait for its deadline."""
    daemon = logging(drain_timeout="10m")
    session, raw = daemon.session(), connect(daemon.raw)
    stream = session.open("logs", {"name": "stdout"})
    assert stream.wait_answer()
    raw.sendall(b"raw before\n")
    lines(daemon, 1)
    daemon.process.terminate()
    daemon.stopped = True
    assert stream.receive_all() == b"" and stream.ended  # the daemon's side only
    stream.send(b"and one more thing\n")
    stream.finish()
    assert raw.recv(1) == b""
    raw.sendall(b"raw after\n")
    raw.close()
    session.close()
    session.sock.close()
    assert daemon.wait() == 0
    assert [event["line"] for event in daemon.events(event="enclave log")][0] == "raw before"
    assert {event["line"] for event in daemon.events(event="enclave log")} == {"raw before", "and one more thing", "raw after"}
    assert len(daemon.events(event="stream ended", reason="finished")) == 2


def test_what_came_before_an_abort_is_written(logging):
    daemon = logging()
    with daemon.session() as session:
        stream = session.open("logs")
        stream.send(b"whole\nhalf")
        session.ping()
        stream.abort()
    assert [event["line"] for event in lines(daemon, 2)] == ["whole", "half"]
    daemon.wait_ended("client_reset", route="logs")


def test_the_lines_before_a_crash(logging):
    """The enclave dies in the middle of a session: what had come is in the log."""
    daemon = logging()
    session = daemon.session()
    stream = session.open("logs", {"name": "stderr"})
    assert stream.wait_answer()
    stream.send(b"panic: out of cheese\n")
    session.sock.close()
    assert lines(daemon, 1)[0]["line"] == "panic: out of cheese"
    daemon.wait_event(event="session ended", code="lost")


def test_a_reload_changes_the_rate(logging):
    daemon = logging(routes={"logs": {"type": "log", "lines_per_second": 1}})
    config = json.loads(daemon.config_file.read_text())
    config["routes"]["logs"]["lines_per_second"] = 1000
    daemon.config_file.write_text(json.dumps(config))
    assert daemon.request("POST", "/reload")[0] == 200
    with connect(daemon.raw) as client:
        client.sendall(b"x\n" * 500)
        lines(daemon, 500)
