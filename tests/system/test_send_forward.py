"""postern send through the real daemon to a real HTTP server: what a forward route makes of a request, and what comes back."""
import contextlib
import hashlib
import http.server
import json
import os
import re
import subprocess
import threading

import pytest

from client import POSTERN, postern
from postern import PATIENCE, free_port, stop_listening, wait_until

MIB = 1 << 20


class Service(http.server.BaseHTTPRequestHandler):
    """Keeps what it is asked for. Paths say what it answers."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def pieces(self):
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                assert self.rfile.readline() == b"\r\n"
            assert self.rfile.readline() == b"\r\n"
            return
        left = int(self.headers.get("content-length", 0))
        while left > 0:
            piece = b""
            with contextlib.suppress(OSError):
                piece = self.rfile.read(min(left, 65536))
            if not piece:
                self.server.cut.set()
                raise ConnectionError("cut in the middle")
            left -= len(piece)
            yield piece

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_one(self):
        digest = hashlib.sha256()
        if self.path.startswith("/v1/early"):
            self.close_connection = True
            self.answer(413, b"too much")
            return
        if self.path.startswith("/v1/half"):
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
            return
        self.server.begun.set()
        for piece in self.pieces():
            digest.update(piece)
        self.server.asked.append((self.command, self.path, dict(self.headers.items()), digest.hexdigest()))
        if self.path.startswith("/v1/big"):
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for _ in range(64):
                self.wfile.write(b"100000\r\n" + bytes(MIB) + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.answer(201, b"kept")

    do_GET = do_POST = do_PUT = handle_one


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """What clients break off is no problem of the server's."""


@pytest.fixture
def service():
    server = Server(("127.0.0.1", 0), Service)
    server.asked, server.begun, server.cut = [], threading.Event(), threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    stop_listening(server.socket)
    server.shutdown()
    thread.join()
    server.server_close()


def route(port, **more):
    return {"type": "forward", "to": f"http://127.0.0.1:{port}/v1", **more}


def send(daemon, *arguments, **options):
    options = {"stdin": subprocess.DEVNULL, **options} if "input" not in options else options
    return postern(daemon.address, "send", *arguments, **options)


def told(run, code):
    assert run.returncode == code, (run.returncode, run.stderr)
    return run.stderr.decode()


@pytest.mark.parametrize("transport", ["unix", "tcp", "hybrid"])
def test_there_and_back(parent, service, transport):
    daemon = parent({"results": route(service.server_port, headers={"set": {"authorization": "Bearer secret", "x-enclave": "${enclave}"}})}, transport)
    body = os.urandom(3 * MIB)
    run = send(daemon, "results", "/a?b=c", "-H", "content-type: text/plain", "-H", "authorization: none", "--data", "-", input=body)
    assert told(run, 0) == "" and run.stdout == b"kept"
    (method, path, headers, digest), = service.asked
    assert (method, path, digest) == ("POST", "/v1/a?b=c", hashlib.sha256(body).hexdigest())
    headers = {name.lower(): value for name, value in headers.items()}
    assert headers["host"] == f"127.0.0.1:{service.server_port}" and headers["authorization"] == "Bearer secret"
    assert headers["x-enclave"] == "app" and headers["content-type"] == "text/plain"


def test_a_big_file_up_and_a_big_answer_down(parent, service, folder):
    daemon = parent({"results": route(service.server_port)})
    with open(folder / "big", "wb") as big:
        big.truncate(256 * MIB)
    assert told(send(daemon, "results", "-X", "PUT", "--data", f"@{folder / 'big'}"), 0) == ""
    assert service.asked[0][3] == hashlib.sha256(bytes(256 * MIB)).hexdigest()
    run = send(daemon, "results", "/big")
    assert told(run, 0) == "" and len(run.stdout) == 64 * MIB


def test_several_at_once(parent, service):
    daemon = parent({"results": route(service.server_port)})
    runs = [subprocess.Popen([POSTERN, "--connect", daemon.address, "send", "results", f"/{i}", "--data", "x"], stdout=subprocess.PIPE) for i in range(4)]
    assert [run.communicate(timeout=PATIENCE)[0] for run in runs] == [b"kept"] * 4
    assert sorted(one[1] for one in service.asked) == [f"/v1/{i}" for i in range(4)]


def test_an_early_answer(parent, service):
    daemon = parent({"results": route(service.server_port)})
    with open("/dev/zero", "rb") as endless:
        run = send(daemon, "results", "/early", "--data", "-", stdin=endless)
    text = told(run, 22)
    assert run.stdout == b"too much" and "413 Content Too Large" in text


def test_half_an_answer(parent, service):
    daemon = parent({"results": route(service.server_port)})
    text = told(send(daemon, "results", "/half", "--data", "x"), 1)
    assert "route results: POST /half: " in text and "whether the request was carried out is not known" in text


@pytest.mark.parametrize("arguments,status,code", [(["-X", "DELETE"], 405, "denied_method"), (["/../x"], 400, "ambiguous_path"),
                                                   (["-X", "TRACE"], 501, "unknown_method")])
def test_what_the_daemon_refuses(parent, service, arguments, status, code):
    daemon = parent({"results": route(service.server_port, methods=["GET", "POST"])})
    run = send(daemon, "results", *arguments)
    assert f" {status} " in told(run, 22) and code in told(run, 22)
    assert json.loads(run.stdout)["code"] == code and not service.asked


def test_nobody_behind_the_route(parent):
    daemon = parent({"results": route(free_port())})
    run = send(daemon, "results", "/x", "--data", "y")
    text = told(run, 22)
    problem = json.loads(run.stdout)
    assert problem["status"] == 502 and f"POST /x: 502 Bad Gateway, {problem['code']}: {problem['detail']}" in text


def test_garbage_behind_the_route(parent, peer):
    def garbage(connection):
        connection.recv(65536)
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    daemon = parent({"results": route(peer(garbage).port)})
    run = send(daemon, "results", "/x", "--data", "y")
    assert "502 Bad Gateway, bad_response_head" in told(run, 22)


own_folder = pytest.mark.skipif("POSTERN_UNIT" in os.environ,
                                reason="under the unit the daemon writes to a folder of its own, where test_spool.py has the spool")


@own_folder
def test_a_route_that_keeps_it(parent, service, folder):
    """202 as soon as it is safe; it arrives afterwards."""
    daemon = parent({"results": route(service.server_port, delivery="spool")}, spool={"path": str(folder / "spool")})
    body = os.urandom(MIB)
    run = send(daemon, "results", "/x", "--data", "-", input=body)
    assert told(run, 0) == "" and json.loads(run.stdout)["id"]
    wait_until(lambda: service.asked, what="the delivery")
    assert service.asked[0][:2] == ("POST", "/v1/x") and service.asked[0][3] == hashlib.sha256(body).hexdigest()


@own_folder
def test_a_spool_that_is_full(parent, folder):
    daemon = parent({"results": route(free_port(), delivery="spool")}, spool={"path": str(folder / "spool"), "max_size": "1MiB"})
    run = send(daemon, "results", "/x", "--data", "-", input=bytes(2 * MIB))
    text = told(run, 22)
    assert re.search(r"POST /x: (507 Insufficient Storage|413 Content Too Large), \w+: ", text), text


def test_a_route_of_another_type(parent, service):
    daemon = parent({"out": f"tcp://127.0.0.1:{service.server_port}"})
    text = told(send(daemon, "out"), 1)
    assert "refused, unsupported_kind: " in text and "route of type forward" in text and not service.asked
    wait_until(lambda: daemon.events(event="stream refused", reason="unsupported_kind", route="out"))


def test_a_route_that_it_may_not_have(parent, service):
    daemon = parent({"results": route(service.server_port)})
    assert "refused, denied_route: " in told(send(daemon, "nowhere"), 1)


def test_interrupted(parent, service):
    """The service is not left with a part that looks whole."""
    daemon = parent({"results": route(service.server_port)})
    with subprocess.Popen([POSTERN, "--connect", daemon.address, "send", "results", "--data", "-"], stdin=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        process.stdin.write(bytes(100000))
        process.stdin.flush()
        assert service.begun.wait(PATIENCE)
        process.terminate()
        assert process.wait(PATIENCE) < 0
    daemon.wait_quiet()
    assert not service.asked


def test_an_interrupted_file_reaches_nobody_as_whole(parent, service, folder):
    with open(folder / "big", "wb") as big:
        big.truncate(1 << 40)
    daemon = parent({"results": route(service.server_port)})
    with subprocess.Popen([POSTERN, "--connect", daemon.address, "send", "results", "--data", f"@{folder / 'big'}"],
                          stderr=subprocess.PIPE) as process:
        assert service.begun.wait(PATIENCE)
        process.terminate()
        assert process.wait(PATIENCE) < 0
        assert b"interrupted" in process.stderr.read()
    assert service.cut.wait(PATIENCE) and not service.asked
