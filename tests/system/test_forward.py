"""Routes of `type: forward`: requests over raw connections and over sessions, to real servers. What is refused: test_forward_smuggling.py."""
import contextlib
import http.client
import signal
import socket
import subprocess
import threading

import pytest

from http_peers import Answer, Answering, Haproxy, Nginx, Store, chunked, request
from postern import PATIENCE, abort, sanitizers, wait_until
from traffic import Pattern, send_pattern

PATIENT = {"connect_timeout": "10m", "response_timeout": "10m", "idle_timeout": "10m", "head_timeout": "10m"}


@pytest.fixture
def forward(relay, framed):
    """forward(url, listen="tcp", ...) starts a daemon with a forward route `out`; on a listener of sessions with over="framed"."""
    def start(url, listen="tcp", over="raw", route=None, listener=None, **config):
        whole = {"type": "forward", "to": url, "allow_private": True, **PATIENT, **(route or {})}
        for key in ("hello_timeout",):
            whole.pop(key, None)
        begin = config.pop("begin", True)
        daemon = (framed if over == "framed" else relay)(url, listen, begin=False, listener=listener, **config)
        daemon.config["routes"] = {"out": whole} | (config.get("routes") or {})
        daemon.write_config(daemon.config)
        return daemon.start() if begin else daemon
    return start


class Channel:
    """A stream of a session, as a connection."""

    def __init__(self, daemon, kind=1):
        self.session = daemon.session()
        self.stream = self.session.open("out", kind=kind)
        self.sendall = self.stream.send
        assert self.stream.wait_answer()

    def recv(self, most):
        stream = self.stream
        self.session.wait(lambda: stream.data or stream.receive_over, what="bytes of an answer")
        return stream.receive(min(most, len(stream.data))) if stream.data else b""

    def shutdown(self, _):
        self.stream.finish()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None and not self.stream.over:
            self.stream.finish()
            self.stream.receive_all()
        self.session.__exit__(kind, None, None)


@pytest.fixture(params=["tcp", "unix", "framed"])
def caller(request, forward):
    """caller(url, ...) is (daemon, connect): a daemon with a route to the URL, and how an enclave connects to it."""
    def start(url, **options):
        if request.param == "framed":
            daemon = forward(url, over="framed", **options)
            return daemon, lambda: Channel(daemon)
        daemon = forward(url, listen=request.param, **options)
        return daemon, daemon.connect
    return start


def give_up(client):
    if isinstance(client, socket.socket):
        abort(client)
    else:
        with client.session:
            client.stream.abort()


def outcomes(daemon):
    """Those of the route that occurred, by the metrics."""
    series = 'postern_requests_total{route="out",outcome="'
    return {name[len(series):-2]: int(value) for name, value in daemon.metrics().items() if name.startswith(series) and value}


def wait_outcomes(daemon, expected):
    """An answer can be read a moment before it is counted."""
    wait_until(lambda: outcomes(daemon) == expected, what=f"{expected} in the metrics")


def test_one_request(caller):
    with Store() as store:
        daemon, call = caller(f"{store.url}/base", route={"headers": {"set": {"x-enclave": "${enclave}", "x-route": "${route}"}}})
        with call() as client:
            client.sendall(request("POST", "/results?run=7", ["Content-Type: text/plain"], b"a result"))
            answer = Answer(client)
            assert (answer.status, answer.body, answer.keeps_open) == (200, b"stored\n", True)
    seen, = store.seen
    assert (seen.method, seen.path, seen.body) == ("POST", "/base/results?run=7", b"a result")
    assert seen.values("host") == [f"127.0.0.1:{store.port}"] and seen.values("x-route") == ["out"]
    assert seen.values("content-type") == ["text/plain"]
    line = daemon.wait_event(event="request forwarded")
    assert (line["route"], line["method"], line["path"], line["status"]) == ("out", "POST", "/results", 200)
    assert (line["body_in"], line["body_out"], line["address"]) == (8, 7, f"127.0.0.1:{store.port}")
    assert line["request_id"] == answer.headers["x-request-id"] and "run=7" not in daemon.log()
    ended, = daemon.wait_ended("finished")
    assert ended["requests"] == 1 and outcomes(daemon) == {"2xx": 1}
    metrics = daemon.metrics()
    assert metrics['postern_request_body_bytes_total{route="out",direction="in"}'] == 8
    assert metrics['postern_request_duration_seconds_count{route="out"}'] == 1
    route, = daemon.status()["routes"]
    assert route["type"] == "forward" and route["requests"]["outcomes"] == {"2xx": 1}


def test_many_on_one_connection(caller):
    with Store(lambda seen: (200, {}, seen.path.encode() + seen.body)) as store:
        daemon, call = caller(store.url)
        with call() as client:
            for i in range(50):
                client.sendall(request("PUT", f"/{i}", body=b"x" * i))
                assert Answer(client).body == b"/%d" % i + b"x" * i
        daemon.wait_event(event="stream ended", requests=50)
        assert outcomes(daemon) == {"2xx": 50}
        assert daemon.metrics()["postern_upstream_reused_total"] == 49


def test_all_at_once(caller):
    """Pipelined: each is answered in its turn, and the upstream has one at a time."""
    def reply(seen):
        with lock:
            assert not busy
            busy.append(seen)
        busy.clear()
        return 200, {}, seen.path.encode()

    lock, busy = threading.Lock(), []
    with Store(reply) as store:
        daemon, call = caller(store.url)
        with call() as client:
            client.sendall(b"".join(request(path=f"/{i}") + request("POST", f"/{i}b", body=b"body") for i in range(20)))
            rest = b""
            for i in range(20):
                for path in (b"/%d" % i, b"/%db" % i):
                    answer = Answer(client, rest=rest)
                    rest = answer.rest
                    assert (answer.status, answer.body) == (200, path)
    assert [seen.path for seen in store.seen] == [path for i in range(20) for path in (f"/{i}", f"/{i}b")]


@pytest.mark.parametrize("method,status,body", [("HEAD", 200, b""), ("GET", 204, b""), ("GET", 304, b""), ("GET", 404, b"no"), ("DELETE", 200, b""),
                                                ("PATCH", 500, b"broken")])
def test_answers_of_all_kinds(caller, method, status, body):
    with Store(lambda seen: (status, {"X-Own": "1"}, b"hidden" if method == "HEAD" else body)) as store:
        daemon, call = caller(store.url)
        with call() as client:
            for _ in range(3):
                client.sendall(request(method))
                answer = Answer(client, method)
                assert (answer.status, answer.body, answer.headers["x-own"], answer.rest) == (status, body, "1", b"")
            if method == "HEAD":
                assert answer.headers["content-length"] == "6"
        wait_outcomes(daemon, {f"{status // 100}xx": 3})


def test_chunks_and_trailers(caller):
    with Store() as store:
        _, call = caller(store.url)
        with call() as client:
            client.sendall(request("POST", headers=["Transfer-Encoding: chunked", "Trailer: X-Sum"]) +
                           chunked(b"one", b"two" * 1000, b"3", trailers=b"X-Sum: 42\r\n"))
            assert Answer(client).status == 200
    seen, = store.seen
    assert seen.body == b"one" + b"two" * 1000 + b"3" and seen.values("x-sum") == ["42"]


def test_chunks_and_trailers_of_the_answer(caller):
    def script(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
        connection.sendall(chunked(b"first", b"second", trailers=b"X-Sum: 7\r\n"))
        return True

    upstream = Answering(script)
    _, call = caller(upstream.url)
    with call() as client:
        for _ in range(2):
            client.sendall(request())
            answer = Answer(client)
            assert answer.body == b"firstsecond" and answer.trailers == b"x-sum: 7"
    assert upstream.served == 1 and not upstream.close()


def test_an_answer_comes_as_it_is_made(caller):
    """Nothing of it is held back, neither a head nor a small piece."""
    go_on = threading.Event()

    def script(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert go_on.wait(PATIENCE)
        go_on.clear()
        connection.sendall(b"5\r\npiece\r\n")
        assert go_on.wait(PATIENCE)
        connection.sendall(b"0\r\n\r\n")
        return True

    upstream = Answering(script)
    _, call = caller(upstream.url)
    with call() as client:
        client.sendall(request())
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += client.recv(65536)
        go_on.set()
        data = b""
        while b"piece" not in data:
            data += client.recv(65536)
        go_on.set()
        while not data.endswith(b"0\r\n\r\n"):
            data += client.recv(65536)
    assert not upstream.close()


def test_a_client_of_http_1_0(caller):
    def script(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"until", b"the end"))
        return True

    upstream = Answering(script)
    _, call = caller(upstream.url)
    with call() as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = Answer(client)
        assert answer.body == b"untilthe end" and "transfer-encoding" not in answer.headers and not answer.keeps_open
    assert not upstream.close()


def test_expect_continue(caller):
    with Store() as store:
        _, call = caller(store.url)
        with call() as client:
            client.sendall(request("POST", headers=["Expect: 100-continue", "Content-Length: 4"]))
            said = b""
            while b"\r\n\r\n" not in said:
                said += client.recv(65536)
            assert said == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(b"body")
            assert Answer(client).status == 200
    assert store.seen[0].body == b"body"


def test_expect_and_a_refusal(caller):
    """The upstream does not want the body: it is never sent, and the connection cannot go on."""
    def script(connection, head):
        assert b"expect: 100-continue" in head.lower()
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        return False

    upstream = Answering(script)
    _, call = caller(upstream.url)
    with call() as client:
        client.sendall(request("POST", headers=["Expect: 100-continue", "Content-Length: 4000000"]))
        answer = Answer(client)
        assert (answer.status, answer.body, answer.keeps_open) == (403, b"no", False)
        assert client.recv(1) == b""
    assert not upstream.close()


def test_an_early_answer(caller):
    """It arrives whole though the client is still sending, and the connection ends after it."""
    def script(connection, _):
        connection.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much")
        return False

    upstream = Answering(script)
    daemon, call = caller(upstream.url)
    with call() as client:
        client.sendall(request("POST", headers=["Content-Length: 100000000"]) + b"x" * 10000)
        answer = Answer(client)
        assert (answer.status, answer.body, answer.keeps_open) == (413, b"too much", False)
    daemon.wait_event(event="request forwarded", status=413)
    upstream.close()


def test_large_bodies_both_ways(caller):
    """Of 64 MiB each, in memory that has nothing to do with that."""
    total, pattern = 64 << 20, Pattern(1)

    def script(connection, head):
        rest = head.partition(b"\r\n\r\n")[2]
        assert rest == pattern.at(0, len(rest))
        received = len(rest)
        while received < total:
            piece = connection.recv(262144)
            assert piece and piece == pattern.at(received, len(piece))
            received += len(piece)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        send_pattern(connection, pattern, total)
        return False

    upstream = Answering(script)
    daemon, call = caller(upstream.url)
    with call() as client:
        client.sendall(request("POST", headers=[f"Content-Length: {total}"]))
        before = daemon.resident_bytes()
        for at in range(0, total, 262144):
            client.sendall(bytes(pattern.at(at, 262144)))
        most, at, data = daemon.resident_bytes(), 0, b""
        while b"\r\n\r\n" not in data:
            data += client.recv(65536)
        piece = data.partition(b"\r\n\r\n")[2]
        while True:
            assert piece == pattern.at(at, len(piece))
            at += len(piece)
            if at == total:
                break
            piece = client.recv(262144)
            assert piece
        most = max(most, daemon.resident_bytes())
    assert not upstream.close()
    if not sanitizers():  # which keep for a while what was freed
        assert most - before < 8 << 20


def test_slow_takers_hold_up_senders(caller):
    """An answer that nobody reads, and a body that nobody takes, stop where they come from."""
    total, written = 256 << 20, []

    def script(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        connection.settimeout(0.5)
        try:
            for _ in range(total >> 16):
                connection.sendall(b"x" * 65536)
                written.append(65536)
        except TimeoutError:
            full.set()
        return False

    full = threading.Event()
    upstream = Answering(script)
    daemon, call = caller(upstream.url)
    client = call()
    client.sendall(request())
    assert full.wait(PATIENCE) and sum(written) < total // 2
    give_up(client)
    daemon.wait_event(event="request refused")
    upstream.close()


def test_a_half_closed_client_is_answered(caller):
    with Store() as store:
        daemon, call = caller(store.url)
        with call() as client:
            client.sendall(request("POST", body=b"last words"))
            client.shutdown(socket.SHUT_WR)
            assert Answer(client).body == b"stored\n"
            assert client.recv(1) == b""
        daemon.wait_ended("finished")


def test_a_client_that_goes_away_has_its_exchange_cancelled(caller):
    begun, gone = threading.Event(), threading.Event()

    def script(connection, _):
        begun.set()
        try:
            while connection.recv(65536):
                pass
        finally:
            gone.set()
        return False

    upstream = Answering(script)
    daemon, call = caller(upstream.url)
    client = call()
    client.sendall(request("POST", headers=["Content-Length: 1000"]) + b"half")
    assert begun.wait(PATIENCE)
    give_up(client)
    assert gone.wait(PATIENCE)
    line = daemon.wait_event(event="request refused")
    assert line["reason"] == "request_cut_off" and "status" not in line
    upstream.close()


def test_the_kind_of_a_stream(framed, forward):
    """Requests may come in a stream of either kind; where there are none, one that asks for them is refused."""
    with Store() as store:
        daemon = forward(store.url, over="framed", allow=["out", "plain"],
                         routes={"plain": {"type": "relay", "to": f"tcp://127.0.0.1:{store.port}"}})
        for kind in 0, 1:
            with Channel(daemon, kind) as client:
                client.sendall(request())
                assert Answer(client).status == 200
        with daemon.session() as session:
            stream = session.open("plain", kind=1)
            assert not stream.wait_answer() and stream.refused
            stream = session.open("out", kind=2)
            assert not stream.wait_answer()
    # What the session refuses by itself is counted now and then, and at its end.
    wait_until(lambda: daemon.metrics()['postern_opens_refused_total{code="unsupported_kind"}'] == 2)


# ---- Programs

def curl(*arguments):
    return subprocess.run(["curl", "-sS", "--max-time", str(int(PATIENCE)), "--http1.1", *map(str, arguments)], check=True,
                          capture_output=True, timeout=2 * PATIENCE).stdout


@pytest.mark.parametrize("between", [Nginx, Haproxy])
def test_curl_through_servers_of_others(forward, folder, between):
    body = Pattern(2).at(0, 1000000).tobytes()
    (folder / "body").write_bytes(body)
    with Store(lambda seen: (200, {}, seen.body)) as store, between(store) as front:
        daemon = forward(front.url, listen="unix", route={"headers": {"set": {"authorization": "Bearer t"}}})
        to = ["--unix-socket", daemon.at.removeprefix("unix://")]
        assert curl(*to, "--data-binary", f"@{folder}/body", "http://parent/a", "http://parent/b") == 2 * body
        assert curl(*to, "-T", folder / "body", "http://parent/c", "-H", "Transfer-Encoding: chunked") == body
        assert b"200" in curl(*to, "-I", "http://parent/d").splitlines()[0]
    assert [seen.method + seen.path for seen in store.seen] == ["POST/a", "POST/b", "PUT/c", "HEAD/d"]
    assert all(seen.values("authorization") == ["Bearer t"] for seen in store.seen)


def test_nginx_by_itself(forward):
    with Nginx() as nginx:
        daemon = forward(nginx.url)
        host, port = daemon.at.removeprefix("tcp://").split(":")
        client = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        for _ in range(3):
            client.request("GET", "/")
            response = client.getresponse()
            assert (response.status, response.read()) == (200, b"hello from nginx")
        client.close()


def test_a_large_upload_by_curl(forward, folder):
    with open(folder / "large", "wb") as large:
        large.truncate(200 << 20)
    with Store(lambda seen: (200, {}, str(len(seen.body)).encode())) as store:
        daemon = forward(store.url)
        assert curl("-T", folder / "large", daemon.at.replace("tcp", "http") + "/large") == str(200 << 20).encode()


# ---- Drain

def test_a_drain_lets_requests_finish(caller):
    begun, go_on = threading.Event(), threading.Event()

    def reply(_):
        begun.set()
        assert go_on.wait(PATIENCE)
        return 200, {}, b"late"

    with Store(reply) as store:
        daemon, call = caller(store.url, drain_timeout="10m")
        with call() as idle, call() as client:
            client.sendall(request("POST", body=b"x"))
            assert begun.wait(PATIENCE)
            daemon.process.send_signal(signal.SIGTERM)
            if isinstance(idle, socket.socket):
                assert idle.recv(1) == b""
            else:
                client.session.wait(lambda: client.session.goaways, what="GOAWAY")
            go_on.set()
            answer = Answer(client)
            assert (answer.body, answer.keeps_open) == (b"late", False)
            assert client.recv(1) == b""
        assert daemon.wait() == 0


def test_what_is_left_at_the_deadline_is_cut(forward):
    begun = threading.Event()

    def script(connection, _):
        begun.set()
        return bool(connection.recv(1))

    upstream = Answering(script)
    daemon = forward(upstream.url, drain_timeout="1s")
    with daemon.connect() as client:
        client.sendall(request())
        assert begun.wait(PATIENCE)
        daemon.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert daemon.wait() == 0
    upstream.close()


# ---- Time

def test_a_head_that_does_not_come_whole(caller):
    daemon, call = caller("http://127.0.0.1:1", route={"head_timeout": "50ms"})
    with call() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        answer = Answer(client)
        assert (answer.status, answer.code, answer.keeps_open) == (408, "head_timeout", False)
    wait_outcomes(daemon, {"head_timeout": 1})


def test_a_body_that_stalls(caller):
    with Store() as store:
        daemon, call = caller(store.url, route={"idle_timeout": "300ms"})

        def told():
            # On a machine that has no time, the connection may have been idle too long before the request is sent.
            with contextlib.suppress(ConnectionError, EOFError), call() as client:
                client.sendall(request("POST", headers=["Content-Length: 1000"]) + b"half")
                return Answer(client)

        answer = wait_until(told, what="an answer")
        assert (answer.status, answer.code) == (408, "body_timeout")
        assert not store.seen
        wait_outcomes(daemon, {"body_timeout": 1})


def test_a_connection_on_which_nothing_comes(caller):
    daemon, call = caller("http://127.0.0.1:1", route={"idle_timeout": "50ms"})
    with call() as client:
        assert client.recv(1) == b""
    daemon.wait_ended("idle_timeout")
