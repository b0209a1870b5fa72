"""Who may do what, and how much of it: CIDs, `peer`, `allow`, and the limits of route, enclave and daemon."""
import contextlib
import os
import pathlib
import socket
import subprocess
import threading

import pytest

from postern import PATIENCE, connect, echo, free_port, receive, sanitizers, wait_until
from traffic import Background, Pattern, exchange, is_cut

MIB = 1 << 20
SOURCE = pathlib.Path(__file__).resolve().parents[1] / "lib" / "fake_vsock.c"
ENCLAVES = {"payroll": {"cid": 16}, "fraud": {"cid": 17}}


def works(connection):
    connection.sendall(b"hello")
    return receive(connection, 5) == b"hello"


# ---- By CID ----

@pytest.fixture(scope="session")
def preload(tmp_path_factory):
    """The environment that makes 127.0.0.N the CID N. A sanitizer wants to be loaded before all else."""
    if "POSTERN_IN_VM" in os.environ:
        pytest.skip("there are real CIDs in the virtual machine, and no compiler: tests/vm/test_vsock.py")
    library = tmp_path_factory.mktemp("preload") / "fake_vsock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    return {"LD_PRELOAD": ":".join([*sanitizers(), str(library)])}


@pytest.fixture
def enclaves(relay, preload):
    """A daemon with a listener at vsock://any:8000, and call(cid) that connects to it from that CID."""
    def start(to, allow, **config):
        daemon = relay(to, begin=False)
        daemon.at = "vsock://any:8000"
        daemon.configure(listener={"allow": allow}, enclaves=ENCLAVES, **config)
        daemon.environment = {**preload, "LISTEN_FDNAMES": "in"}
        with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
            port = server.getsockname()[1]
            daemon.start(hand_over=[server])

        def call(cid):
            one = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=(f"127.0.0.{cid}", 0))
            return one
        return daemon, call
    return start


def test_the_kernel_says_who_calls(enclaves, peer):
    daemon, call = enclaves(peer(echo).address, ["payroll"])
    with call(16) as client:
        assert works(client)
    ended, = daemon.wait_ended("finished")
    assert (ended["enclave"], ended["cid"]) == ("payroll", 16)
    assert daemon.metrics()['postern_enclave_streams_opened_total{enclave="payroll"}'] == 1
    assert daemon.metrics()['postern_enclave_bytes_total{enclave="payroll",direction="in"}'] == 5


@pytest.mark.parametrize("cid,reason,name", [(17, "denied_route", "fraud"), (18, "denied_enclave", "-"),
                                             (3, "denied_enclave", "-")])
def test_others_are_refused(enclaves, peer, cid, reason, name):
    server = peer(echo)
    daemon, call = enclaves(server.address, ["payroll"])
    with contextlib.suppress(ConnectionError), call(cid) as client:
        assert client.recv(1) == b""
    refused, = daemon.wait_ended(reason)
    assert refused["event"] == "stream refused" and refused["peer"].startswith(f"vsock {cid}:")
    assert refused.get("enclave", "-") == name
    metrics = daemon.metrics()
    assert metrics[f'postern_enclave_streams_refused_total{{enclave="{name}"}}'] == 1
    assert metrics['postern_listener_refused_total{listener="in"}'] == metrics['postern_listener_denied_total{listener="in"}'] == 1
    assert server.served == 0


def test_anybody_where_anybody_is_allowed(enclaves, peer):
    daemon, call = enclaves(peer(echo).address, "any")
    for cid in (16, 18):
        with call(cid) as client:
            assert works(client)
    ended = daemon.wait_ended("finished", count=2)
    assert {(event["cid"], event.get("enclave")) for event in ended} == {(16, "payroll"), (18, None)}


def test_what_may_not_enter_does_not_use_up_the_limits(enclaves, peer):
    daemon, call = enclaves(peer(echo).address, ["payroll"], limits={"max_streams": 1}, route={"max_streams": 1})
    with call(16) as client:
        assert works(client)
        for _ in range(5):
            with contextlib.suppress(ConnectionError), call(18) as other:
                assert other.recv(1) == b""
    daemon.wait_ended("denied_enclave", count=5)


def test_bytes_on_a_vsock_stream(enclaves, peer):
    """Written in pieces of `vsock.write_size`, and never spliced; both ends by themselves."""
    up, down, total = Pattern(1), Pattern(2), 8 * MIB + 3
    daemon, call = enclaves(peer(lambda connection: exchange(connection, down, up, total)).address, ["payroll"],
                            vsock={"write_size": "4KiB"})
    with call(16) as client:
        exchange(client, up, down, total)
    daemon.wait_ended("finished")


# ---- Where no kernel says it ----

def test_peer_says_whom_a_caller_counts_as(relay, peer):
    daemon = relay(peer(echo).address, "unix", enclaves=ENCLAVES, listener={"peer": "fraud", "allow": ["fraud"]})
    with daemon.connect() as client:
        assert works(client)
    ended, = daemon.wait_ended("finished")
    assert ended["enclave"] == "fraud" and "cid" not in ended


def test_a_unix_socket_has_the_mode_it_was_given(relay):
    daemon = relay("tcp://127.0.0.1:1", "unix", listener={"mode": "0600"})
    assert os.stat(daemon.at.removeprefix("unix://")).st_mode & 0o777 == 0o600
    assert os.stat(daemon.admin).st_mode & 0o777 == 0o660


def test_an_address_without_a_listener_is_not_there(relay):
    daemon = relay("tcp://127.0.0.1:1")
    with pytest.raises(ConnectionRefusedError):
        connect(f"tcp://127.0.0.1:{free_port()}")
    assert daemon.metrics()['postern_listener_accepted_total{listener="in"}'] == 0


# ---- Limits ----

LIMITS = {
    "limit_route": {"route": {"max_streams": 3}},
    "limit_enclave": {"enclaves": {"payroll": {"cid": 16, "max_streams": 3}}},
    "limit_daemon": {"limits": {"max_streams": 3}},
}


@pytest.mark.handover
@pytest.mark.parametrize("reason", LIMITS)
def test_a_limit_refuses_and_recovers(relay, peer, reason):
    daemon = relay(peer(echo).address, **{"enclaves": {"payroll": {"cid": 16}}, **LIMITS[reason]},
                   listener={"peer": "payroll", "allow": ["payroll"]})
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(daemon.connect()) for _ in range(3)]
        assert all(works(client) for client in clients)
        assert all(is_cut(daemon) for _ in range(4))
        refused = daemon.wait_ended(reason, count=4)
        assert all(event["level"] == "warn" and event["enclave"] == "payroll" for event in refused)
        whose = {"limit_route": "the route's ", "limit_enclave": "the enclave's ", "limit_daemon": "limits."}[reason]
        assert {event["detail"] for event in refused} == {f"3 of {whose}max_streams 3 are open"}
        assert all(works(client) for client in clients)
    daemon.wait_quiet()
    with daemon.connect() as client:
        assert works(client)
    metrics = daemon.metrics()
    assert metrics['postern_streams_opened_total{route="out"}'] == 4
    assert metrics['postern_listener_accepted_total{listener="in"}'] == 8
    assert metrics['postern_listener_refused_total{listener="in"}'] == 4
    assert metrics['postern_listener_denied_total{listener="in"}'] == 0


@pytest.mark.handover
def test_a_limit_is_kept_under_a_rush(relay, peer):
    """A hundred at once for ten places: ten are served, the others turned away; and when these have gone, ten more."""
    daemon = relay(peer(echo).address, route={"max_streams": 10})
    for rush in (1, 2):
        outcomes, over = [], threading.Event()

        def call():
            try:
                with daemon.connect() as client:
                    outcomes.append(works(client))
                    over.wait()
            except ConnectionError:
                outcomes.append(False)

        clients = [Background(call) for _ in range(100)]
        wait_until(lambda: len(outcomes) == 100)
        assert outcomes.count(True) == 10
        over.set()
        for client in clients:
            client.result()
        daemon.wait_quiet()
        daemon.wait_ended("limit_route", count=90 * rush)
        daemon.wait_ended("finished", count=10 * rush)
