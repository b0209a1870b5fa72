"""Relays over real AF_VSOCK. The kernel's loopback transport shows every caller as CID 1 (local)."""
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from postern import PATIENCE, Peer, connect, echo, read_all, reply_after_end, wait_until

LOCAL = socket.VMADDR_CID_LOCAL if hasattr(socket, "VMADDR_CID_LOCAL") else 1
DOOR = "vsock://local:8000"


def relay(to, allow="any", **route):
    """One raw vsock listener on port 8000 and one route."""
    return {
        "enclaves": {"payroll": {"cid": 16}},
        "listeners": {"door": {"listen": "vsock://any:8000", "protocol": "raw", "route": "there", "allow": allow}},
        "routes": {"there": {"type": "relay", "to": to, **route}},
    }


def ended_at_once(address):
    """Whether the other side ends the stream before it carries a byte."""
    with connect(address) as client:
        try:
            client.sendall(b"hello?")
            return client.recv(100) == b""
        except (ConnectionResetError, BrokenPipeError):
            return True


def active_streams(daemon):
    return daemon.status()["streams"]["active"]


def test_the_kernel_names_the_local_cid_and_keeps_a_half_close():
    seen = []
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as server:
        server.bind((socket.VMADDR_CID_ANY, 5000))
        server.listen(8)

        def serve():
            connection, address = server.accept()
            with connection:
                seen.append(address)
                reply_after_end(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        with connect("vsock://local:5000") as client:
            client.sendall(b"abc")
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b"got 3 bytes"
        thread.join()
    assert seen[0][0] == LOCAL


def test_a_caller_whose_cid_is_no_enclave_is_refused(daemon, peer):
    there = peer(echo)
    one = daemon(**relay(there.address, allow=["payroll"]))
    assert ended_at_once(DOOR)
    one.wait_event(reason="denied_enclave")
    assert there.served == 0


def test_an_enclave_is_known_by_its_cid(daemon, peer):
    config = relay(peer(echo).address, allow=["here"])
    config["enclaves"]["here"] = {"cid": "local"}
    one = daemon(**config)
    with connect(DOOR) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
    assert one.wait_event(reason="finished")["enclave"] == "here"


def test_an_enclave_that_the_listener_does_not_name_is_refused(daemon, peer):
    config = relay(peer(echo).address, allow=["payroll"])
    config["enclaves"]["here"] = {"cid": "local"}
    one = daemon(**config)
    assert ended_at_once(DOOR)
    one.wait_event(reason="denied_route")


def test_allow_any_lets_everyone_in(daemon, peer):
    daemon(**relay(peer(echo).address))
    with connect(DOOR) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


@pytest.mark.parametrize("vsock_behind", [False, True], ids=["vsock-tcp", "vsock-vsock"])
def test_a_half_close_keeps_the_reply(daemon, peer, vsock_behind):
    there = peer(reply_after_end, **({"address": "vsock://local:8443"} if vsock_behind else {}))
    one = daemon(**relay(there.address))
    with connect(DOOR) as client:
        client.sendall(b"x" * 100_000)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"got 100000 bytes"
    one.wait_event(reason="finished")


def test_the_destination_may_end_first(daemon, peer):
    heard = []

    def end_then_listen(connection):
        connection.sendall(b"last words")
        connection.shutdown(socket.SHUT_WR)
        heard.append(read_all(connection))

    one = daemon(**relay(peer(end_then_listen).address))
    with connect(DOOR) as client:
        assert read_all(client) == b"last words"
        client.sendall(b"still here")
        client.shutdown(socket.SHUT_WR)
        one.wait_event(reason="finished")
    assert wait_until(lambda: heard) == [b"still here"]


def test_the_world_reaches_an_enclave(daemon, peer):
    """Ingress: TCP in front, vsock behind."""
    peer(echo, address="vsock://local:8443")
    config = relay("vsock://local:8443")
    config["listeners"]["door"]["listen"] = "tcp://127.0.0.1:8443"
    daemon(**config)
    with connect("tcp://127.0.0.1:8443") as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


@pytest.mark.parametrize("vsock_behind", [False, True], ids=["vsock-tcp", "vsock-vsock"])
def test_bulk_arrives_unchanged_both_ways(daemon, peer, vsock_behind):
    """More than every buffer on the way, sent while as much comes back."""
    there = peer(echo, **({"address": "vsock://local:8443"} if vsock_behind else {}))
    daemon(**relay(there.address))
    block = os.urandom(1 << 20)
    blocks = 16
    sent, got = hashlib.sha256(), hashlib.sha256()
    with connect(DOOR) as client:
        def send():
            for turn in range(blocks):
                piece = block[turn:] + block[:turn]
                sent.update(piece)
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        while piece := client.recv(1 << 20):
            got.update(piece)
        sender.join()
    assert got.digest() == sent.digest()


def test_nobody_at_the_enclaves_port_is_told_apart(daemon):
    """vsock answers a connect that nobody listens to with ECONNRESET."""
    one = daemon(**relay("vsock://local:9999"))
    assert ended_at_once(DOOR)
    one.wait_event(reason="connect_refused")


def test_no_enclave_at_the_cid_is_told_apart(daemon):
    config = relay("vsock://payroll:9999")
    one = daemon(**config)
    assert ended_at_once(DOOR)
    one.wait_event(reason="unreachable")


# What a client does that is killed while data for it is on the way: vsock tells nobody of an abort.
ABORTING_CLIENT = """
import socket, sys, time
client = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
client.connect((1, 8000))
client.sendall(b"go")
client.recv(1)
print("ready", flush=True)
time.sleep(600)
"""


def test_a_killed_client_ends_its_stream_and_the_destinations(daemon, peer):
    ended = threading.Event()

    def pour(connection):
        connection.recv(10)
        try:
            while True:
                connection.sendall(b"y" * 65536)
        except OSError:
            ended.set()

    one = daemon(**relay(peer(pour).address))
    client = subprocess.Popen([sys.executable, "-c", ABORTING_CLIENT], stdout=subprocess.PIPE)
    with client:
        assert client.stdout.readline() == b"ready\n"
        wait_until(lambda: active_streams(one) == 1, what="the stream")
        client.send_signal(signal.SIGKILL)
    assert ended.wait(PATIENCE)
    wait_until(lambda: active_streams(one) == 0, what="the end of the stream")
    one.wait_event(reason="client_reset")


def test_a_killed_silent_client_looks_like_an_end(daemon, peer):
    """The destination sees the end of the stream, as it would after a close."""
    heard = []
    one = daemon(**relay(peer(lambda connection: (connection.sendall(b"z"), heard.append(read_all(connection)))).address))
    client = subprocess.Popen([sys.executable, "-c", ABORTING_CLIENT], stdout=subprocess.PIPE)
    with client:
        assert client.stdout.readline() == b"ready\n"
        client.send_signal(signal.SIGKILL)
    wait_until(lambda: heard == [b"go"], what="the end at the destination")
    wait_until(lambda: active_streams(one) == 0, what="the end of the stream")


def test_ten_thousand_connections_at_once(daemon, peer):
    """All open together, each carries a byte both ways, and nothing is left afterwards."""
    count = 10_000
    program = os.path.join(os.path.dirname(__file__), "many.py")
    with subprocess.Popen([sys.executable, program, "serve"], stdout=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().strip()
            config = relay(address, max_streams=count, first_byte_timeout="10m", idle_timeout="10m")
            config["limits"] = {"max_streams": count}
            config["log"] = {"level": "warn", "format": "json"}
            one = daemon(**config)
            before = len(one.descriptors())
            start = time.monotonic()
            run = subprocess.run([sys.executable, program, "connect", DOOR, str(count)], text=True, capture_output=True)
            assert run.returncode == 0, run.stdout + run.stderr + one.log()
            print(f"{count} connections in {time.monotonic() - start:.1f} s: {run.stdout}")
            wait_until(lambda: active_streams(one) == 0, what="the end of the streams")
            wait_until(lambda: len(one.descriptors()) <= before + 10, what="the release of the descriptors")
        finally:
            server.kill()


def vsock_proxy(tmp_path, *arguments):
    """The command and its list, which allows one port of this machine."""
    allowlist = tmp_path / "allowlist.yaml"
    allowlist.write_text("allowlist:\n- {address: 127.0.0.1, port: %s}\n" % arguments[-1])
    return ["/usr/bin/vsock-proxy", *map(str, arguments), "--config", str(allowlist)]


def test_vsock_proxy_wants_the_parents_cid(tmp_path):
    """AWS's tool listens at CID 3 and nowhere else. This machine is not 3: it says so, and ends."""
    run = subprocess.run(vsock_proxy(tmp_path, 8000, "127.0.0.1", 443), text=True, capture_output=True, timeout=PATIENCE)
    assert run.returncode == 1
    assert "Could not bind to cid: 3 port: 8000" in run.stderr, run.stderr


def test_vsock_proxy_carries_vsock(tmp_path, peer):
    there = peer(reply_after_end)
    command = vsock_proxy(tmp_path, "--listen", "vsock://any:8000", 8000, "127.0.0.1", there.port)
    with subprocess.Popen(command, stderr=subprocess.PIPE) as proxy:
        try:
            wait_until(lambda: answers(DOOR), what="the listener")
            with connect(DOOR) as client:
                client.sendall(b"x" * 1000)
                client.shutdown(socket.SHUT_WR)
                assert read_all(client) == b"got 1000 bytes"
        finally:
            proxy.terminate()


def answers(address):
    try:
        connect(address).close()
        return True
    except OSError:
        return False


def test_a_peer_on_vsock_can_be_made_and_closed():
    """The tests' own server: a leftover would make the next test fail for a wrong reason."""
    for _ in range(3):
        one = Peer(echo, address="vsock://local:8443")
        with connect("vsock://local:8443") as client:
            client.sendall(b"a")
            assert client.recv(1) == b"a"
        assert one.close() == []
