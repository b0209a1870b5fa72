"""Reloads: put in force whole or not at all, with nothing dropped, and old streams under their old rules."""
import itertools
import json
import os
import signal
import socket
import subprocess
import threading

import pytest

from postern import PATIENCE, PROGRAMS, connect, echo, free_port, listen, receive, sanitizers, wait_until
from traffic import Background, Pattern, check_pattern, is_cut, send_pattern

MIB = 1 << 20
BAD = [
    ("an unknown key", lambda config: config | {"wrokers": 2}, "wrokers"),
    ("a dangling route", lambda config: config | {"routes": {"other": {"type": "relay", "to": "tcp://127.0.0.1:1"}}}, "out"),
    ("no YAML", lambda config: "listeners: [", "not YAML"),
    ("nothing", lambda config: "", "version"),
]


def hello(connection):
    connection.sendall(b"hello")
    return receive(connection, 5) == b"hello"


def works(daemon, at=None):
    with (connect(at) if at else daemon.connect()) as client:
        return hello(client)


def says(word):
    def serve(connection):
        connection.sendall(word)
        echo(connection)
    return serve


def asked(daemon):
    with daemon.connect() as client:
        return receive(client, 3)


def reload(daemon, by="post"):
    """(accepted, what was said of it)"""
    if by == "post":
        code, verdict = daemon.request("POST", "/reload")
        return code == 200, verdict
    count = len(daemon.events(event="reloaded") + daemon.events(event="reload refused"))
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(daemon.events(event="reloaded") + daemon.events(event="reload refused")) > count)
    last = [event for event in daemon.events() if event["event"] in ("reloaded", "reload refused")][-1]
    return last["event"] == "reloaded", last["detail"]


@pytest.mark.parametrize("by", ["post", "signal"])
def test_the_new_destination_is_used_from_then_on(relay, peer, by):
    one, two = peer(says(b"one")), peer(says(b"two"))
    daemon = relay(one.address)
    with daemon.connect() as old:
        assert receive(old, 3) == b"one"
        daemon.to = two.address
        daemon.configure()
        assert asked(daemon) == b"one"
        accepted, verdict = reload(daemon, by)
        assert accepted and "1 listener (0 opened, 0 closed), 1 route" in verdict
        assert asked(daemon) == b"two"
        assert hello(old)  # goes on where it was
    daemon.wait_ended("finished", count=3)
    metrics = daemon.metrics()
    assert metrics['postern_config_reloads_total{result="accepted"}'] == 1
    assert metrics["postern_config_last_reload_successful"] == 1
    assert metrics['postern_streams_opened_total{route="out"}'] == 3  # counters survive


@pytest.mark.parametrize("by", ["post", "signal"])
@pytest.mark.parametrize("what", BAD, ids=[bad[0] for bad in BAD])
def test_a_bad_file_changes_nothing(relay, peer, by, what):
    daemon = relay(peer(echo).address)
    _, spoil, word = what
    text = spoil(json.loads(daemon.config_file.read_text()))
    daemon.config_file.write_text(text if isinstance(text, str) else json.dumps(text))
    with daemon.connect() as client:
        assert hello(client)
        accepted, verdict = reload(daemon, by)
        assert not accepted and f"{daemon.config_file}:" in verdict and word in verdict
        assert hello(client)
    assert works(daemon)
    status = daemon.status()
    assert status["config"]["last_reload"]["accepted"] is False
    assert word in status["config"]["last_reload"]["error"]
    assert daemon.metrics()['postern_config_reloads_total{result="refused"}'] == 1
    assert daemon.metrics()["postern_config_last_reload_successful"] == 0
    daemon.configure()
    assert reload(daemon, by)[0]
    assert daemon.status()["config"]["last_reload"]["error"] is None


def test_a_file_that_is_gone_changes_nothing(relay, peer):
    daemon = relay(peer(echo).address)
    daemon.config_file.unlink()
    accepted, verdict = reload(daemon)
    assert not accepted and "No such file" in verdict
    assert works(daemon)


def test_posternctl_reload_has_the_verdict_as_its_exit_code(relay):
    daemon = relay("tcp://127.0.0.1:1")
    assert daemon.ctl("reload").returncode == 0
    daemon.config_file.write_text("version: 2\n")
    run = daemon.ctl("reload", check=False)
    assert run.returncode == 1 and f"{daemon.config_file}:1:10:" in run.stdout + run.stderr


def test_listeners_come_go_and_move(relay, peer):
    server = peer(echo)
    daemon = relay(server.address)
    second, unix = f"tcp://127.0.0.1:{free_port()}", daemon.socket_path("two.sock")
    more = {"second": {"listen": second, "route": "out", "allow": "any"},
            "local": {"listen": unix, "route": "out", "allow": "any"}}
    daemon.configure(listeners=more)
    assert "3 listeners (2 opened, 0 closed)" in reload(daemon)[1]
    assert works(daemon) and works(daemon, second) and works(daemon, unix)

    with connect(second) as old, connect(unix) as old_unix:
        assert hello(old) and hello(old_unix)
        first, daemon.at = daemon.at, f"tcp://127.0.0.1:{free_port()}"
        daemon.configure()
        assert "1 listener (1 opened, 3 closed)" in reload(daemon)[1]
        assert works(daemon)
        for gone in (first, second):
            wait_until(lambda: refuses(gone))
        assert not os.path.exists(unix.removeprefix("unix://"))
        assert hello(old) and hello(old_unix)  # the listener is gone, its streams are not
    names = {listener["name"]: listener["configured"] for listener in daemon.status()["listeners"]}
    assert names == {"in": True, "second": False, "local": False}


def refuses(address):
    try:
        connect(address).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_listener_that_changes_its_name_keeps_its_socket(relay, peer):
    """Nothing in the backlog is lost."""
    daemon = relay(peer(echo).address)
    config = json.loads(daemon.config_file.read_text())
    config["listeners"] = {"renamed": config["listeners"]["in"]}
    daemon.write_config(config)
    assert "(0 opened, 0 closed)" in reload(daemon)[1]
    assert works(daemon)
    assert daemon.wait_event(event="stream ended")["listener"] == "renamed"


def test_what_changed_is_named(relay, peer):
    daemon = relay(peer(echo).address)
    config = json.loads(daemon.config_file.read_text())
    config["routes"]["out"]["max_streams"] = 50
    config["routes"] |= {f"new{i}": config["routes"]["out"] for i in range(10)}
    config["enclaves"] = {"payroll": {"cid": 16}}
    config["limits"] = {"max_streams": 500}
    daemon.write_config(config)
    verdict = reload(daemon)[1]
    assert "; added: " in verdict and "enclave payroll" in verdict and "route new0" in verdict and " more; changed: " in verdict
    assert "`limits`" in verdict.partition("; changed: ")[2] + verdict.partition("; added: ")[2] and "route out" in verdict
    assert reload(daemon)[1].endswith("; the file says the same\n")
    del config["enclaves"], config["routes"]["new3"]
    daemon.write_config(config)
    assert "; removed: " in reload(daemon)[1]


def test_a_listener_that_goes_and_comes_back(relay, peer):
    """Its worker may not have closed it yet."""
    daemon = relay(peer(echo).address)
    second = {"second": {"listen": f"tcp://127.0.0.1:{free_port()}", "route": "out", "allow": "any"}}
    for turn in range(20):
        daemon.configure(listeners=second if turn % 2 else {})
        closed = int(turn % 2 == 0 and turn > 0)
        assert reload(daemon) == (True, f"{'2 listeners' if turn % 2 else '1 listener'} ({turn % 2} opened, {closed} closed), 1 route, 0 enclaves; "
                                        + ("added: listener second" if turn % 2 else "removed: listener second" if turn > 0 else "the file says the same") + "\n")


def test_a_socket_that_was_handed_over_goes_and_comes_back(relay, peer):
    """systemd holds it as well, so nobody could bind its address again."""
    daemon = relay(peer(echo).address, begin=False)
    server, address = listen("tcp://127.0.0.1:0")
    handed = {"handed": {"listen": address, "route": "out", "allow": "any"}}
    taken = {"taken": {"listen": address, "route": "out", "allow": "any"}}
    daemon.environment = {"LISTEN_FDNAMES": "handed"}
    with server:
        daemon.configure(listeners=handed).start(hand_over=[server])
        assert works(daemon, address)
        daemon.configure(listeners=None)
        assert reload(daemon)[0]
        daemon.configure(listeners=taken)
        assert not reload(daemon)[0]  # by another name it is not handed over
        for _ in range(2):
            daemon.configure(listeners=handed)
            assert reload(daemon)[0]
            assert works(daemon, address)
            daemon.configure(listeners=None)
            assert reload(daemon)[0]


def test_the_mode_of_a_unix_socket_follows(relay, peer):
    daemon = relay(peer(echo).address, "unix", listener={"mode": "0660"})
    daemon.configure(listener={"mode": "0600"})
    assert reload(daemon)[0]
    assert os.stat(daemon.at.removeprefix("unix://")).st_mode & 0o777 == 0o600
    assert works(daemon)


@pytest.mark.parametrize("kind", ["tcp", "unix", "admin", "metrics"])
def test_an_address_that_is_taken_refuses_the_whole_reload(relay, peer, folder, kind):
    server = peer(echo)
    daemon = relay(server.address)
    taken, address = listen(f"unix://{folder}/taken.sock" if kind in ("unix", "admin") else "tcp://127.0.0.1:0")
    free = f"tcp://127.0.0.1:{free_port()}"
    listeners = {"good": {"listen": free, "route": "out", "allow": "any"}}
    with taken:
        if kind in ("admin", "metrics"):
            daemon.configure(listeners=listeners, **{kind: {"listen": address}})
        else:
            daemon.configure(listeners=listeners | {"taken": {"listen": address, "route": "out", "allow": "any"}})
        accepted, verdict = reload(daemon)
    assert not accepted and "in use" in verdict and address.rpartition("/")[2] in verdict
    assert refuses(free)  # what could be opened was closed again
    assert works(daemon)
    assert daemon.status()["listeners"][0]["configured"]


def test_the_admin_and_metrics_listeners_move(relay):
    daemon = relay("tcp://127.0.0.1:1")
    old = daemon.admin
    new, metrics = daemon.folder / "new.sock", free_port()
    daemon.configure(admin={"listen": f"unix://{new}"}, metrics={"listen": f"tcp://127.0.0.1:{metrics}"})
    assert reload(daemon)[0]
    daemon.admin = new
    assert daemon.status()["state"] == "ready"
    wait_until(lambda: not old.exists())
    with connect(f"tcp://127.0.0.1:{metrics}") as client:
        client.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        assert receive(client, 15) == b"HTTP/1.1 200 OK"


def test_the_level_of_the_log_follows(relay):
    daemon = relay("tcp://127.0.0.1:1", log={"level": "info", "format": "json"})
    daemon.configure(log={"level": "error", "format": "json"})
    assert reload(daemon)[0]
    assert is_cut(daemon)
    wait_until(lambda: daemon.status()["routes"][0]["ended"] == {"connect_refused": 1})
    assert not daemon.events(reason="connect_refused")


def test_what_needs_a_restart_is_told(relay):
    daemon = relay("tcp://127.0.0.1:1", workers=2)
    daemon.configure(workers=1)
    for _ in range(2):  # it is not in force yet, however often it is read
        accepted, verdict = reload(daemon)
        assert accepted and "; changes to `workers` take effect at the next start" in verdict
    assert len(daemon.status()["workers"]) == 2
    daemon.configure(workers=2)
    accepted, verdict = reload(daemon)
    assert accepted and "next start" not in verdict, "it is as it was at the start"


def test_a_reload_by_way_of_the_metrics_listener(relay):
    metrics = f"tcp://127.0.0.1:{free_port()}"
    relay("tcp://127.0.0.1:1", metrics={"listen": metrics})
    done = subprocess.run([PROGRAMS / "posternctl", "--socket", metrics, "reload"], text=True, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 1 and "only tells" in done.stderr and "--socket" in done.stderr


def test_streams_keep_the_limits_and_timeouts_they_were_opened_under(relay, peer):
    daemon = relay(peer(echo).address, route={"idle_timeout": "30s"})
    with daemon.connect() as client:
        assert hello(client)
        daemon.configure(route={"idle_timeout": "1ms", "max_streams": 1})
        assert reload(daemon)[0]
        assert is_cut(daemon)  # the old stream counts against the new limit
        daemon.wait_ended("limit_route")
        assert hello(client)
    daemon.wait_ended("finished")


def test_a_route_that_is_removed_keeps_its_streams(relay, peer):
    server = peer(echo)
    daemon = relay(server.address)
    with daemon.connect() as client:
        assert hello(client)
        config = json.loads(daemon.config_file.read_text())
        config["routes"] = {"other": config["routes"]["out"]}
        config["listeners"]["in"]["route"] = "other"
        daemon.write_config(config)
        assert reload(daemon)[0]
        assert works(daemon)
        assert hello(client)
        status = {route["name"]: (route["configured"], route["active"]) for route in daemon.status()["routes"]}
        assert status["out"] == (False, 1)
    daemon.wait_ended("finished")
    daemon.wait_ended("finished", route="other")


@pytest.mark.handover
def test_nothing_is_dropped_by_reloads_under_load(relay, peer):
    """Short streams without a pause, a long one, and meanwhile reloads that open, close and refuse listeners: thirty, and as many
    more as it takes for sixty streams to have been served."""
    up, total, stop = Pattern(1), 60 * MIB, threading.Event()
    one, two = peer(echo), peer(echo)
    sink = peer(lambda connection: (check_pattern(connection, up, total), connection.sendall(b"ok")))
    at = f"tcp://127.0.0.1:{free_port()}"
    bulk = {"bulk": {"listen": at, "route": "bulk", "allow": "any"}}
    daemon = relay(one.address, listeners=bulk, routes={"bulk": {"type": "relay", "to": sink.address}})

    def short():
        count = 0
        while not stop.is_set():
            assert works(daemon)
            count += 1
        return count

    def long():
        with connect(at) as client:
            send_pattern(client, up, total, piece=16384)
            return receive(client, 2)

    shorts, longer = [Background(short) for _ in range(4)], Background(long)
    extra = {"extra": {"listen": f"tcp://127.0.0.1:{free_port()}", "route": "out", "allow": "any"}}
    for turn in itertools.count():
        if turn >= 30 and one.served + two.served >= 60:
            break
        daemon.to = two.address if turn % 2 else one.address
        daemon.configure(listeners=bulk | (extra if turn % 3 else {}), routes={"bulk": {"type": "relay", "to": sink.address}})
        if turn % 5 == 4:
            daemon.config_file.write_text("nonsense")
        assert reload(daemon)[0] == (turn % 5 != 4)
    stop.set()
    count = sum(client.result() for client in shorts)
    assert longer.result() == b"ok"
    daemon.wait_ended("finished", count=count)
    daemon.wait_ended("finished", route="bulk")
    assert one.served + two.served == count


def test_reloads_leave_nothing_behind(relay, peer):
    daemon = relay(peer(echo).address, "unix")
    extra = {"extra": {"listen": daemon.socket_path("extra.sock"), "route": "out", "allow": "any"}}

    def leaves_nothing():
        daemon.wait_idle()
        descriptors, memory = len(daemon.descriptors()), daemon.resident_bytes()
        for number in range(100):
            daemon.configure(listeners={} if number % 2 else extra, route={} if number % 2 else {"sni": ["a.test"]})
            assert reload(daemon)[0]
        daemon.wait_idle()
        return len(daemon.descriptors()) <= descriptors and (daemon.resident_bytes() <= memory or sanitizers())

    # What reloads take for good, they take every time; what else grows, a heap or the log's ring, does so for a while.
    wait_until(leaves_nothing)


def test_a_reload_in_a_storm_of_signals(relay, peer):
    daemon = relay(peer(echo).address)
    for _ in range(50):
        daemon.process.send_signal(signal.SIGHUP)
    assert reload(daemon)[0]
    assert works(daemon)


def test_a_draining_daemon_does_not_reload(relay, peer):
    daemon = relay(peer(echo).address)
    with daemon.connect() as client:
        assert hello(client)
        daemon.process.send_signal(signal.SIGTERM)
        daemon.stopped = True
        daemon.wait_event(event="draining")
        code, verdict = daemon.request("POST", "/reload")
        assert code == 409 and "draining" in verdict
        assert hello(client)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert daemon.wait() == 0
