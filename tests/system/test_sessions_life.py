"""Sessions over a reload, and at the end of the daemon. Callers who mean harm are in test_sessions_hostile.py."""
import contextlib
import signal
import threading

import pytest

import framed as protocol
from framed import CODES
from postern import connect, echo, echo_until_cut, wait_until
from traffic import Background


def reload(daemon, **changes):
    """With the listener and the routes as they were, but for the changes."""
    listeners, routes = daemon.config["listeners"], daemon.config["routes"]
    daemon.configure(**{"listener": {"route": None, **listeners["in"]}, "routes": routes, **changes})
    code, verdict = daemon.request("POST", "/reload")
    assert code == 200, verdict
    return verdict


def listener(*routes, **more):
    return {"protocol": "framed", "route": None, "peer": "payroll", "allow": {"payroll": list(routes)}, **more}


def exchanged(stream):
    stream.send(b"hello")
    return stream.receive(5) == b"hello"


# ---- Reload ----

def test_streams_go_on_and_new_ones_are_judged_anew(framed, peer):
    address = peer(echo).address
    daemon = framed(address, routes={"other": {"type": "relay", "to": address}})
    with daemon.session() as session:
        old = session.open("out")
        assert exchanged(old)
        assert not session.open("other").wait_answer()
        reload(daemon, listener=listener("other"))
        refused = session.open("out")  # the reload is complete when it says so
        assert not refused.wait_answer() and refused.refused[1] == CODES["denied_route"]
        new = session.open("other")
        assert exchanged(new) and exchanged(old)
        for stream in (old, new):
            stream.finish()
            assert stream.receive_all() == b""
        assert not session.goaways
    daemon.wait_ended("finished")
    daemon.wait_ended("finished", route="other")


@pytest.mark.parametrize("changes", [
    {"listener": {"peer": "fraud", "protocol": "framed", "route": None, "allow": {"payroll": ["out"], "fraud": ["out"]}}},
    {"listener": {"peer": "fraud", "protocol": "framed", "route": None, "allow": {"fraud": ["out"]}}},
    {"listener": {"route": "out", "allow": "any"}},
], ids=["another enclave", "not its listener", "raw"])
def test_a_session_that_has_lost_its_right_says_goodbye(framed, peer, changes):
    daemon = framed(peer(echo).address)
    with daemon.session() as session, daemon.session() as idle:
        idle.wait_ready()
        stream = session.open("out")
        assert exchanged(stream)
        reload(daemon, **changes)
        idle.wait(lambda: idle.goaways and idle.goaways[-1][1] != protocol.LAST_WARNING, what="the final GOAWAY")
        session.wait(lambda: session.goaways, what="GOAWAY")
        assert session.goaways[0][2] == CODES["NO_ERROR"] and exchanged(stream)
        stream.finish()
        assert stream.receive_all() == b""
    wait_until(lambda: len(daemon.events(event="session ended", code="no_error")) == 2)
    daemon.wait_ended("finished")


@pytest.mark.handover
def test_a_reload_over_many_sessions_on_many_workers(framed, peer):
    address = peer(echo).address
    daemon = framed(address, workers=4, enclaves={"payroll": {"cid": 16, "max_sessions": 100}}, routes={"other": {"type": "relay", "to": address}})
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(daemon.session()) for _ in range(20)]
        for turn in range(10):
            yes, no = ("out", "other") if turn % 2 else ("other", "out")
            reload(daemon, listener=listener(yes))
            streams = [(session.open(yes), session.open(no)) for session in sessions]
            for good, bad in streams:
                assert good.wait_answer() and not bad.wait_answer()
                good.finish()
                assert good.receive_all() == b""


@pytest.mark.handover
def test_sessions_come_while_the_file_is_reloaded(framed, peer):
    daemon = framed(peer(echo).address, workers=4, enclaves={"payroll": {"cid": 16, "max_sessions": 100}})
    stop = threading.Event()

    def come_and_go():
        count = 0
        while not stop.is_set():
            with daemon.session() as session:
                stream = session.open("out")
                assert exchanged(stream)
                stream.finish()
                assert stream.receive_all() == b""
            count += 1
        return count

    clients = [Background(come_and_go) for _ in range(4)]
    try:
        for _ in range(20):
            reload(daemon)
    finally:
        stop.set()
    assert sum(client.result() for client in clients) >= 4
    assert not daemon.events(event="stream refused")


# ---- The end ----

@pytest.mark.handover
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_sessions_do_not_hold_it_up(framed, number):
    daemon = framed("tcp://127.0.0.1:1", drain_timeout="1h")
    with daemon.session() as session, daemon.session() as other:
        session.wait_ready()
        other.wait_ready()
        wait_until(lambda: len(daemon.events(event="session began")) == 2)  # they heard its HELLO: it may have yet to hear theirs
        daemon.process.send_signal(number)
        daemon.stopped = True
        for one in (session, other):
            one.wait(lambda: one.goaways, what="GOAWAY")
            one.close()
            assert [goaway[2] for goaway in one.goaways] == [CODES["NO_ERROR"]] * len(one.goaways)
            assert 0 < one.goaways[0][4] <= 3_600_000  # how long it would have waited
        assert daemon.wait() == 0
    assert len(daemon.events(event="session ended", code="no_error")) == 2


def test_a_session_that_says_nothing_does_not_hold_it_up_either(framed):
    daemon = framed("tcp://127.0.0.1:1", drain_timeout="1h")
    with contextlib.closing(connect(daemon.at)) as silent:
        silent.sendall(protocol.PREFACE)
        deaf = daemon.session()
        deaf.wait_ready()
        deaf.reads = False
        wait_until(lambda: daemon.metrics()["postern_sessions_active"] == 2)
        daemon.process.send_signal(signal.SIGTERM)
        daemon.stopped = True
        assert daemon.wait() == 0
        deaf.sock.close()


@pytest.mark.handover
def test_streams_finish_and_new_ones_are_turned_away(framed, peer):
    daemon = framed(peer(echo).address, drain_timeout="10m")
    session = daemon.session()
    streams = [session.open("out") for _ in range(5)]
    assert all(exchanged(stream) for stream in streams)
    daemon.process.send_signal(signal.SIGTERM)
    daemon.stopped = True
    daemon.wait_event(event="draining")
    late = session.open("out")  # before it knows
    assert not late.wait_answer() and late.refused[1] == CODES["draining"] and late.refused[3] is True
    turned_away = daemon.session(hello=False)
    turned_away.wait(lambda: turned_away.goaways, what="GOAWAY")
    assert turned_away.goaways[0][2] == CODES["draining"]
    turned_away.sock.close()
    assert all(exchanged(stream) for stream in streams)
    assert daemon.status()["state"] == "draining"
    for stream in streams:
        stream.finish()
        assert stream.receive_all() == b""
    session.close()
    session.sock.close()
    assert daemon.wait() == 0
    assert len(daemon.events(event="stream ended", reason="finished")) == 5
    assert daemon.events(event="session ended")[-1]["code"] == "no_error"


@pytest.mark.handover
def test_the_deadline_cuts_what_is_left(framed, peer):
    daemon = framed(peer(echo_until_cut).address, drain_timeout="300ms")
    session = daemon.session()
    streams = [session.open("out") for _ in range(5)]
    assert all(exchanged(stream) for stream in streams)
    daemon.process.send_signal(signal.SIGTERM)
    daemon.stopped = True
    session.wait(lambda: session.goaways and session.goaways[-1][2] == CODES["GOING_AWAY"], what="the last GOAWAY")
    session.sock.close()
    assert daemon.wait() == 0
    assert len(daemon.events(event="stream ended", reason="shutdown")) == 5
    assert daemon.events(event="session ended", code="going_away", level="info")


def test_a_daemon_that_is_killed(framed, peer):
    daemon = framed(peer(echo_until_cut).address)
    session = daemon.session()
    assert exchanged(session.open("out"))
    daemon.kill()
    session.wait(lambda: session.ended, what="the end of the connection")
    assert not session.goaways  # so the client knows that it failed
    session.sock.close()


def test_descriptors_come_back(framed, peer):
    daemon = framed(peer(echo_until_cut).address)
    with daemon.session() as warm:
        assert exchanged(stream := warm.open("out"))
        stream.finish()
        assert stream.receive_all() == b""
    daemon.wait_quiet()
    before = daemon.status()["process"]["open_fds"]
    for turn in range(20):
        session = daemon.session()
        streams = [session.open("out", data=b"x") for _ in range(10)]
        assert all(stream.receive(1) == b"x" for stream in streams)
        if turn % 2:
            for stream in streams:
                stream.finish()
            session.close()
        session.sock.close()
    daemon.wait_quiet()
    wait_until(lambda: daemon.status()["process"]["open_fds"] <= before)
