"""The end: a drain that lets streams finish, one that runs out of time, one that is cut short, and no end at all."""
import contextlib
import os
import signal
import socket
import threading

import pytest

from postern import PATIENT, PROGRAMS, blackhole, connect, echo, echo_until_cut, receive, wait_until
from traffic import Background, Pattern, check_pattern, is_cut, send_pattern

MIB = 1 << 20
UP = Pattern(1)


def hello(connection):
    connection.sendall(b"hello")
    return receive(connection, 5) == b"hello"


def terminate(daemon, count=1):
    for _ in range(count):
        daemon.process.send_signal(signal.SIGTERM)
    daemon.stopped = True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_daemon_ends_at_once(relay, number):
    daemon = relay("tcp://127.0.0.1:1", "unix", drain_timeout="1h")
    daemon.process.send_signal(number)
    assert daemon.wait() == 0
    wait_until(lambda: any("STOPPING=1" in message for message in daemon.notified))
    assert [event["event"] for event in daemon.events()][-2:] == ["draining", "stopped"]
    assert not os.path.exists(daemon.at.removeprefix("unix://")) and not daemon.admin.exists()


@pytest.mark.handover
def test_streams_finish_and_new_ones_are_turned_away(relay, peer):
    total, go = 20 * MIB, threading.Event()

    def serve(connection):
        go.wait()
        assert check_pattern(connection, UP) == total
        connection.sendall(b"ok")

    daemon = relay(peer(serve).address, drain_timeout="10m")

    def upload():
        with daemon.connect() as client:
            send_pattern(client, UP, total)
            client.shutdown(socket.SHUT_WR)
            return receive(client, 2)

    clients = [Background(upload) for _ in range(5)]
    wait_until(lambda: daemon.metrics()["postern_daemon_streams_active"] == 5)
    terminate(daemon)
    daemon.wait_event(event="draining")
    wait_until(lambda: is_cut(daemon) and daemon.events(reason="draining"))
    assert daemon.request("GET", "/readyz") == (503, "draining\n")
    assert daemon.request("GET", "/healthz")[0] == 200
    status = daemon.status()
    assert status["state"] == "draining" and 0 < status["drain_left_ms"] <= 600000
    assert daemon.metrics()['postern_streams_ended_total{route="out",reason="draining"}'] >= 1
    go.set()
    assert [client.result() for client in clients] == [b"ok"] * 5
    assert daemon.wait() == 0
    assert len(daemon.events(reason="finished")) == 5 and not daemon.events(reason="shutdown")


@pytest.mark.handover
def test_the_deadline_cuts_what_is_left(relay, peer):
    daemon = relay(peer(echo_until_cut).address, drain_timeout="300ms")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(daemon.connect()) for _ in range(20)]
        assert all(hello(client) for client in clients)
        terminate(daemon)
        assert daemon.wait() == 0
        for client in clients:
            with pytest.raises(ConnectionResetError):
                client.recv(1)
    cut = daemon.events(reason="shutdown", event="stream ended")
    assert len(cut) == 20 and all(event["duration_ms"] >= 300 and event["bytes_in"] == 5 for event in cut)


def test_streams_that_are_still_opening_are_cut_too(relay, peer):
    """In the middle of a hello, and in the middle of a connect."""
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(blackhole())
        daemon = relay(peer(echo).address, begin=False)
        slow = daemon.socket_path("slow.sock")
        daemon.configure(drain_timeout="200ms", route={"sni": ["a.test"]},
                         listeners={"slow": {"listen": slow, "route": "slow", "allow": "any"}},
                         routes={"slow": {"type": "relay", "to": f"tcp://127.0.0.1:{port}", **PATIENT}}).start()
        stack.enter_context(daemon.connect())
        stack.enter_context(connect(slow))
        wait_until(lambda: daemon.metrics()["postern_daemon_streams_active"] == 2)
        terminate(daemon)
        assert daemon.wait() == 0
    assert {event["route"] for event in daemon.events(reason="shutdown")} == {"out", "slow"}


def test_a_second_signal_ends_it_at_once(relay, peer):
    daemon = relay(peer(echo_until_cut).address, drain_timeout="1h")
    with daemon.connect() as client:
        assert hello(client)
        terminate(daemon)
        daemon.wait_event(event="draining")
        assert hello(client)
        terminate(daemon)
        assert daemon.wait() == 1
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    assert daemon.events(event="exiting")


def test_a_drain_that_was_asked_for(relay, peer):
    daemon = relay(peer(echo).address)
    assert daemon.request("GET", "/drain")[0] == 405
    assert daemon.request("POST", "/drain?deadline=soon")[0] == 400
    with daemon.connect() as client:
        assert hello(client)
        code, said = daemon.request("POST", "/drain?deadline=10m")
        assert code == 202 and "1 stream with" in said
        daemon.stopped = True
        assert hello(client)
        assert daemon.status()["drain_left_ms"] <= 600000
    assert daemon.wait() == 0
    assert daemon.wait_event(event="stream ended")["reason"] == "finished"


def test_a_signal_after_a_drain_that_was_asked_for_leaves_streams_their_time(relay, peer):
    """It is the first one: what was asked for over the admin socket is no signal. It has as long as any signal gives."""
    daemon = relay(peer(echo).address, drain_timeout="1m")
    with daemon.connect() as client:
        assert hello(client)
        assert daemon.request("POST", "/drain?deadline=10m")[0] == 202
        terminate(daemon)
        wait_until(lambda: daemon.status()["drain_left_ms"] <= 60000)
        assert hello(client)
    assert daemon.wait() == 0
    assert daemon.wait_event(event="stream ended")["reason"] == "finished"


def test_the_second_signal_after_such_a_drain_ends_it_at_once(relay, peer):
    daemon = relay(peer(echo_until_cut).address, drain_timeout="1m")
    with daemon.connect() as client:
        assert hello(client)
        assert daemon.request("POST", "/drain?deadline=10m")[0] == 202
        terminate(daemon)
        wait_until(lambda: daemon.status()["drain_left_ms"] <= 60000)
        terminate(daemon)
        assert daemon.wait() == 1
    assert daemon.events(event="exiting")


def test_a_drain_without_patience(relay, peer):
    """A deadline of nothing is now, not the default."""
    daemon = relay(peer(echo_until_cut).address, drain_timeout="1h")
    with daemon.connect() as client:
        assert hello(client)
        assert daemon.request("POST", "/drain?deadline=0s")[0] == 202
        daemon.stopped = True
        assert daemon.wait() == 0


def test_a_drain_that_is_to_end_sooner(relay, peer):
    daemon = relay(peer(echo_until_cut).address, drain_timeout="1h")
    with daemon.connect() as client:
        assert hello(client)
        assert daemon.request("POST", "/drain")[0] == 202
        assert "2h" not in daemon.request("POST", "/drain?deadline=2h")[1]
        assert daemon.request("POST", "/drain?deadline=0s")[0] == 202
        daemon.stopped = True
        assert daemon.wait() == 0


@pytest.mark.skipif(not (PROGRAMS / "posternctl").exists(), reason="posternctl is not built")
def test_posternctl_drain(relay):
    daemon = relay("tcp://127.0.0.1:1")
    assert daemon.ctl("drain").returncode == 0
    assert daemon.wait() == 0


@pytest.mark.handover
def test_the_end_comes_in_a_rush_of_clients(relay, peer):
    """Clients come and go all the time; each is served whole, or turned away."""
    daemon = relay(peer(echo_until_cut).address, drain_timeout="10m")
    outcomes, stop = [], threading.Event()

    def rush():
        while not stop.is_set():
            try:
                with daemon.connect() as client:
                    outcomes.append(hello(client))
            except ConnectionError:
                outcomes.append(None)

    clients = [Background(rush) for _ in range(8)]
    wait_until(lambda: len(outcomes) > 200)
    terminate(daemon)
    assert daemon.wait() == 0
    stop.set()
    for client in clients:
        client.result()
    assert daemon.events(event="stopped")[0]["detail"].startswith("0 streams")
    reasons = {event["reason"] for event in daemon.events() if "reason" in event}
    assert reasons <= {"finished", "draining", "client_reset"}


@pytest.mark.parametrize("listen", ["tcp", "unix", "hybrid"])
def test_kill_and_start_again(relay, peer, listen):
    """What a killed daemon left of its sockets is replaced."""
    daemon = relay(peer(echo_until_cut).address, listen)
    with daemon.connect() as client:
        assert hello(client)
        daemon.kill()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    assert daemon.admin.exists()
    daemon.start()
    with daemon.connect() as client:
        assert hello(client)
    assert daemon.status()["state"] == "ready"


def test_a_socket_that_answers_is_not_taken_away(relay, peer):
    """A second daemon with the same file fails, and the first goes on."""
    daemon = relay(peer(echo).address, "unix")
    other = relay("tcp://127.0.0.1:1", begin=False)
    other.at = daemon.at
    other.configure().spawn()
    assert other.wait() == 1
    assert "in use" in other.log() and "listener in" in other.log()
    with daemon.connect() as client:
        assert hello(client)


def test_a_file_that_is_no_socket_is_not_taken_away(relay, folder):
    (folder / "precious").write_text("data")
    daemon = relay("tcp://127.0.0.1:1", begin=False)
    daemon.at = f"unix://{folder}/precious"
    daemon.configure().spawn()
    assert daemon.wait() == 1
    assert (folder / "precious").read_text() == "data"
