"""`delivery: spool`: what was answered with 202 arrives, once under one key, whatever happens in between."""
import contextlib
import http.client
import json
import os
import random
import re
import subprocess
import threading
import time

import pytest

from postern import PATIENCE, PROGRAMS, Daemon, Peer, connect, free_port, read_all, sanitizers, wait_until
from store import Store, send
from test_units import NOT_MISSED, SERVICE, allowed_system_calls, needs_header, plain_build

# Quick, so that nobody waits; no test counts on how quick.
RETRY = {"attempts": 1000, "max_age": "1d", "min_pause": "20ms", "max_pause": "100ms"}


class Spooling(Daemon):
    """posternd with a listener for an enclave to the route `results`, which spools."""

    def __init__(self, store):
        super().__init__()
        self.store = store
        self.at = f"tcp://127.0.0.1:{free_port()}"
        self.spool_path = self.folder / "spool"
        self.configure()

    def configure(self, spool=None, routes=None, **route):
        self.route = {"type": "forward", "to": self.store.url, "delivery": "spool", "retry": RETRY, "in_flight": 8,
                      "allow_private": True, "response_timeout": "10m", "connect_timeout": "10m", "head_timeout": "10m",
                      "idle_timeout": "10m", **route}
        self.write_config({
            "enclaves": {"payroll": {"cid": 16}},
            "spool": {"path": str(self.spool_path), **(spool or {})},
            "listeners": {"in": {"listen": self.at, "protocol": "raw", "route": "results", "allow": ["payroll"],
                                 "peer": "payroll"},
                          "session": {"listen": self.socket_path("door"), "protocol": "framed", "peer": "payroll",
                                      "allow": {"payroll": ["results"]}}},
            "routes": {"results": self.route, **(routes or {})}})
        return self

    def configuration(self):
        return json.loads(self.config_file.read_text())

    def send(self, body=b"result", **options):
        return send(self.at, body, **options)

    def keep(self, body=b"result", **options):
        """Sends one that must be kept; its id and key."""
        status, _, answer = self.send(body, **options)
        assert status == 202, (status, answer, self.log())
        return answer["id"], answer["key"]

    def stats(self):
            return json.loads(self.ctl("spool", "stats", "--json").stdout)

    def records(self, *arguments):
            return json.loads(self.ctl("spool", "list", "--json", *arguments).stdout)["records"]

    def wait_empty(self):
        """Until nothing is to be delivered any more; what gauges, list and statistics say is the same."""
        wait_until(lambda: not self.records(), what="an empty spool")
        wait_until(lambda: not any(self.stats()["records"].values()), what="figures of an empty spool")
        metrics = self.metrics()
        assert not any(value for name, value in metrics.items() if name.startswith("postern_spool_records")), metrics


@pytest.fixture
def spooling():
    """spooling(store, start=True, ...): a daemon, ended after the test."""
    started = []

    def make(store, start=True, **config):
        one = Spooling(store)
        started.append(one)
        if config:
            one.configure(**config)
        return one.start() if start else one

    yield make
    problems = [problem for one in started for problem in one.finish()]
    assert not problems, "\n".join(problems)


@pytest.fixture
def store():
    one = Store()
    yield one
    one.stop()


def test_a_result_survives_the_store_and_the_daemon(store, spooling):
    daemon = spooling(store)
    identity, key = daemon.keep(b"aggregate: 1204", path="/results?run=7")
    assert daemon.kill() in (-9, 255)  # systemd's word for it, under the unit
    store.start()
    daemon.start()
    [request] = store.wait(1)
    assert (request.key, request.body, request.method, request.path) == (key, b"aggregate: 1204", "POST", "/results?run=7")
    daemon.wait_empty()
    assert len(store.requests) == 1
    line = daemon.wait_event(event="record delivered")
    assert (line["record"], line["route"], line["enclave"], line["status"]) == (identity, "results", "payroll", 200)


def test_the_clients_key_is_kept(store, spooling):
    daemon = spooling(store.start())
    assert daemon.keep(headers={"Idempotency-Key": "run-7/part-1"})[1] == "run-7/part-1"
    [request] = store.wait(1)
    assert request.key == "run-7/part-1"
    assert request.headers.get_all("Idempotency-Key") == ["run-7/part-1"]


def test_over_a_session(store, spooling):
    daemon = spooling(store)
    command = [PROGRAMS / "postern", "--connect", daemon.socket_path("door"), "send", "results", "/results", "--data", "-"]
    sent = subprocess.run(command, input=b"result" * 50_000, capture_output=True, timeout=PATIENCE)
    assert sent.returncode == 0, sent.stderr
    store.start()
    [request] = store.wait(1)
    assert (request.key, request.body) == (json.loads(sent.stdout)["key"], b"result" * 50_000)


def test_the_routes_headers_are_put_in_at_delivery(store, spooling):
    """So no secret of the parent's is at rest, and one that was rotated meanwhile counts."""
    daemon = spooling(store, start=False)
    secret = daemon.folder / "secret"
    secret.write_text("before-4711\n")
    daemon.configure(headers={"set": {"authorization": f"Bearer ${{file:{secret}}}", "x-enclave": "${enclave}",
                                      "x-request": "${request_id}", "x-cid": "${cid}"},
                              "remove": ["x-internal"]}).start()
    daemon.keep(headers={"X-Internal": "mine", "X-Enclave": "somebody else", "X-Kept": "yes"})
    kept = b"".join(file.read_bytes() for file in daemon.spool_path.rglob("*") if file.is_file())
    assert b"x-kept: yes" in kept
    assert b"4711" not in kept and b"x-internal" not in kept and b"somebody else" not in kept
    secret.write_text("after-4712\n")
    store.start()
    [request] = store.wait(1)
    assert request.headers["Authorization"] == "Bearer after-4712"
    assert (request.headers["X-Enclave"], request.headers["X-Cid"], request.headers["X-Kept"]) == ("payroll", "16", "yes")
    assert request.headers["X-Internal"] is None
    line = daemon.wait_event(event="record delivered")
    assert line["request_id"] == request.headers["X-Request"]


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_of_any_size(store, spooling, size, chunked):
    daemon = spooling(store.start())
    body = random.Random(size).randbytes(size)
    # http.client sends what is iterable, and no bytes, in chunks.
    daemon.keep(iter([body[:1000], body[1000:]] if size > 1000 else [body] if size else []) if chunked else body)
    [request] = store.wait(1)
    assert request.body == body
    assert "Transfer-Encoding" not in request.headers
    daemon.wait_empty()


def test_trailers_are_refused(store, spooling):
    daemon = spooling(store)
    status, problem = send_with_trailer(daemon)
    assert (status, problem["code"]) == (400, "bad_trailer")
    assert not daemon.records()


def send_with_trailer(daemon):
    with connect(daemon.at) as connection:
        connection.sendall(b"POST /r HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                           b"1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n")
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_a_client_that_goes_leaves_nothing(store, spooling):
    daemon = spooling(store)
    for part in (b"", b"x" * 100_000):
        with connect(daemon.at) as connection:
            connection.sendall(b"POST /r HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + part)
    wait_until(lambda: len(daemon.events(event="stream ended")) == 2, what="the end of both")
    incoming = 'postern_spool_incoming_bytes{route="results"}'
    wait_until(lambda: daemon.metrics()[incoming] == 0, what="no bytes on their way")
    daemon.keep()
    assert len(daemon.records()) == 1


# ---- Failure of the store ----

def test_what_the_store_cannot_take_now_is_tried_again(store, spooling):
    statuses = [408, 425, 429, 500, 502, 503, 504, 599]
    waiting = list(statuses)
    store.answer = lambda request: waiting.pop() if waiting else 201
    daemon = spooling(store.start())
    _, key = daemon.keep()
    store.wait(len(statuses) + 1)
    daemon.wait_empty()
    assert [request.key for request in store.requests] == [key] * (len(statuses) + 1)
    metrics = daemon.metrics()
    assert metrics['postern_spool_outcomes_total{route="results",outcome="retry"}'] == len(statuses)
    assert metrics['postern_spool_outcomes_total{route="results",outcome="delivered"}'] == 1
    assert metrics['postern_spool_attempts_total{route="results"}'] == len(statuses) + 1


@pytest.mark.parametrize("status", [301, 400, 403, 404, 409, 413, 422])
def test_what_it_will_never_take_is_dead_at_once(store, spooling, status):
    store.answer = lambda request: status
    daemon = spooling(store.start())
    identity, key = daemon.keep(b"poison")
    wait_until(lambda: daemon.records("--state", "dead"), what="a dead record")
    [record] = daemon.records()
    assert (record["id"], record["state"], record["key"]) == (identity, "dead", key)
    assert str(status) in record["cause"]
    line = daemon.wait_event(event="record given up")
    assert (line["record"], line["status"]) == (identity, status)
    # The others go on, and the dead one can be tried again by hand.
    store.answer = lambda request: 200
    _, other = daemon.keep(b"good")
    store.wait(2)
    assert "1 records ready" in daemon.ctl("spool", "retry", str(identity)).stdout
    store.wait(3)
    assert [request.key for request in store.requests] == [key, other, key]
    daemon.wait_empty()


def test_attempts_are_bounded(store, spooling):
    store.answer = lambda request: 500
    daemon = spooling(store.start(), retry={**RETRY, "attempts": 3})
    daemon.keep()
    wait_until(lambda: daemon.records("--state", "dead"), what="a dead record")
    assert [record["attempts"] for record in daemon.records()] == [3]
    assert len(store.requests) == 3


def test_a_store_that_is_not_there_uses_no_attempts_up(store, spooling):
    daemon = spooling(store, retry={**RETRY, "attempts": 2})
    daemon.keep()
    outcome = 'postern_spool_outcomes_total{route="results",outcome="unreached"}'
    wait_until(lambda: daemon.metrics()[outcome] >= 5, what="five attempts in vain")
    [record] = daemon.records()
    assert record["attempts"] == 0 and record["state"] in ("ready", "waiting")
    daemon.wait_event(event="deliveries held", route="results")
    store.start()
    store.wait(1)
    daemon.wait_empty()
    daemon.wait_event(event="deliveries go on", route="results")


def test_a_backlog_does_not_spin_while_the_store_is_down(store, spooling):
    """One record at a time is a probe, whatever waits: the others are not touched."""
    daemon = spooling(store, retry={**RETRY, "min_pause": "50ms", "max_pause": "50ms"})
    for number in range(40):
        daemon.keep(b"%d" % number)
    attempts = 'postern_spool_attempts_total{route="results"}'
    before, began = daemon.metrics()[attempts], time.monotonic()
    wait_until(lambda: daemon.metrics()[attempts] >= before + 5, what="probes")
    # Each pause is 50 ms, so there cannot have been more; without the throttle there would be thousands.
    assert daemon.metrics()[attempts] - before <= (time.monotonic() - began) / 0.05 + 8 + 2
    store.start()
    store.wait(40)
    daemon.wait_empty()
    assert len(store.keys()) == len(store.requests) == 40


def test_retry_after_is_honoured(store, spooling):
    told = []

    def answer(request):
        told.append(time.monotonic())
        return (503, {"Retry-After": "1"}) if len(told) == 1 else 200

    store.answer = answer
    daemon = spooling(store.start())
    daemon.keep()
    store.wait(2)
    assert told[1] - told[0] >= 0.99
    daemon.wait_empty()


def test_an_answer_without_end_is_cut(store, spooling):
    def endless(connection):
        request = b""
        while b"result" not in request:
            request += connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"1000\r\n" + bytes(0x1000) + b"\r\n")
        served.append(connection)

    served = []
    peer = Peer(endless)
    daemon = spooling(store, to=f"http://127.0.0.1:{peer.port}")
    daemon.keep()
    daemon.wait_empty()
    wait_until(lambda: served, what="the answer cut off")
    assert not peer.close()
    assert len(served) == 1


# ---- Bounds and disks ----

def test_a_full_spool_says_so_and_loses_nothing(store, spooling):
    daemon = spooling(store, spool={"max_size": "1MiB"})
    keys = []
    for _ in range(20):
        status, headers, answer = daemon.send(os.urandom(100_000))
        if status != 202:
            break
        keys.append(answer["key"])
    assert (status, answer["code"]) == (507, "spool_full") and int(headers["Retry-After"]) > 0
    assert str(daemon.folder) not in str(answer)
    assert 5 <= len(keys) <= 10
    assert daemon.metrics()['postern_spool_refused_total{route="results"}'] == 1
    store.start()
    store.wait(len(keys))
    daemon.wait_empty()
    assert sorted(keys) == sorted(request.key for request in store.requests)
    daemon.keep()


def test_a_route_has_a_bound_of_its_own(store, spooling):
    daemon = spooling(store, max_spool="1MiB")
    statuses = [daemon.send(os.urandom(300_000))[0] for _ in range(5)]
    assert statuses[:3] == [202] * 3 and statuses[-1] == 507


@contextlib.contextmanager
def small_disk(folder, options):
    """What starts a program with a file system of its own at `folder`."""
    probe = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", folder], capture_output=True, text=True)
    if probe.returncode != 0:
        pytest.skip(f"no mount namespace may be made here: {probe.stderr.strip()}")
    yield ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o {options} none {folder} && exec "$@"', "sh"]


def test_a_full_disk_says_so_and_loses_nothing(store, spooling):
    daemon = spooling(store, start=False)
    daemon.spool_path.mkdir(mode=0o700)
    with small_disk(daemon.spool_path, "size=2m,mode=700") as wrapper:
        daemon.start(wrapper=wrapper)
        keys, refused = [], 0
        while refused < 3:
            status, headers, answer = daemon.send(os.urandom(150_000))
            if status == 202:
                keys.append(answer["key"])
            else:
                assert status in (503, 507) and int(headers["Retry-After"]) > 0, answer
                refused += 1
        assert keys
        store.start()
        wait_until(lambda: store.keys() >= set(keys), what="all that was acknowledged at the store")
        assert store.keys() == set(keys)
        daemon.wait_empty()
        daemon.keep()  # there is room again


def test_a_disk_that_cannot_be_written_leaves_the_other_routes_alone(store, spooling):
    daemon = spooling(store.start(), start=False)
    daemon.spool_path.mkdir(mode=0o700)
    other = f"tcp://127.0.0.1:{free_port()}"
    daemon.configure(routes={"direct": {"type": "relay", "to": f"tcp://127.0.0.1:{store.port}"}})
    whole = daemon.configuration()
    whole["listeners"]["plain"] = {"listen": other, "protocol": "raw", "route": "direct", "allow": "any"}
    daemon.write_config(whole)
    with small_disk(daemon.spool_path, "ro,mode=700") as wrapper:
        daemon.start(wrapper=wrapper)
        status, headers, answer = daemon.send()
        assert (status, answer["code"]) == (503, "spool_unavailable") and int(headers["Retry-After"]) > 0
        assert send(other)[0] == 200
        assert str(daemon.spool_path) in str(daemon.wait_event(event="spool not opened"))
        stats = daemon.ctl("spool", "stats", check=False)
        assert stats.returncode == 1 and "not open" in stats.stdout
        assert daemon.metrics()["postern_spool_up"] == 0


def test_a_corrupt_database_is_said_and_set_aside(store, spooling):
    daemon = spooling(store)
    daemon.keep()
    daemon.kill()
    database = daemon.spool_path / "spool.db"
    (daemon.spool_path / "spool.db-wal").unlink(missing_ok=True)
    database.write_bytes(b"this is no database" * 1000)
    daemon.start()
    status, _, answer = daemon.send()
    assert (status, answer["code"]) == (503, "spool_unavailable")
    assert "posternctl spool set-aside" in str(daemon.wait_event(event="spool not opened"))
    assert "spool set-aside" not in str(answer)
    aside = subprocess.run([daemon.program.parent / "posternctl", "--config", daemon.config_file, "spool", "set-aside"],
                           capture_output=True, text=True)
    assert aside.returncode == 0, aside.stderr
    daemon.ctl("reload")
    store.start()
    daemon.keep(b"after")
    assert [request.body for request in store.wait(1)] == [b"after"]
    assert any(b"no database" in file.read_bytes() for file in daemon.spool_path.rglob("spool.db"))
    refused = subprocess.run([daemon.program.parent / "posternctl", "--config", daemon.config_file, "spool", "set-aside"],
                             capture_output=True, text=True)
    assert refused.returncode == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_root_sets_aside_as_the_spool_s_user(folder):
    """Who is called at night is root, and the spool is not; what is made must stay its user's."""
    spool, nobody = folder / "spool", 65534
    spool.mkdir(mode=0o700)
    (spool / "spool.db").write_bytes(b"this is no database" * 1000)
    (spool / "spool.db").chmod(0o600)
    for path in spool, spool / "spool.db":
        os.chown(path, nobody, nobody)
    # The search for leaks stops a process that has changed its user.
    options = os.environ | {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
    aside = subprocess.run([PROGRAMS / "posternctl", "spool", "set-aside", "--path", spool], capture_output=True, text=True, env=options)
    assert aside.returncode == 0, aside.stderr
    assert {path.stat().st_uid for path in spool.rglob("*")} == {nobody}


def test_a_damaged_record_is_set_apart(store, spooling):
    daemon = spooling(store)
    bad, _ = daemon.keep(os.urandom(200_000))
    _, key = daemon.keep(b"good")
    [body] = (daemon.spool_path / "bodies").iterdir()
    with open(body, "r+b") as file:
        file.seek(150_000)
        file.write(b"damage")
    verify = daemon.ctl("spool", "verify", check=False)
    assert verify.returncode == 1 and "1 damaged" in verify.stdout
    store.start()
    assert [request.key for request in store.wait(1)] == [key]
    wait_until(lambda: [record["state"] for record in daemon.records()] == ["damaged"], what="the good one gone")
    assert daemon.ctl("spool", "retry", str(bad), check=False).returncode == 1
    assert daemon.ctl("spool", "export", str(bad), str(daemon.folder / "export"), check=False).returncode == 1
    assert not (daemon.folder / "export").exists()
    daemon.ctl("spool", "drop", str(bad))
    daemon.wait_empty()


# ---- Life of the daemon ----

def test_a_route_that_goes_leaves_its_records(store, spooling):
    daemon = spooling(store)
    _, key = daemon.keep()
    whole = daemon.configuration()
    without = daemon.configuration()
    without["routes"], without["listeners"] = {}, {}
    daemon.write_config(without)
    daemon.ctl("reload")
    assert "results" in daemon.wait_event(event="spooled records without a route")["detail"]
    [route] = daemon.stats()["routes"]
    assert (route["route"], route["configured"], sum(route["records"].values())) == ("results", False, 1)
    assert "(no route)" in daemon.ctl("spool", "stats").stdout
    store.start()
    daemon.write_config(whole)
    daemon.ctl("reload")
    assert [request.key for request in store.wait(1)] == [key]
    daemon.wait_empty()


def test_the_newest_rules_count(store, spooling):
    daemon = spooling(store)
    _, moved = daemon.keep(path="/allowed")
    denied, _ = daemon.keep(path="/denied")
    with Store() as other:
        daemon.configure(to=other.url, paths=["/allowed"])
        daemon.ctl("reload")
        [request] = other.wait(1)
        assert request.key == moved
        wait_until(lambda: daemon.records("--state", "dead"), what="a dead record")
        [record] = daemon.records()
        assert record["id"] == denied and "denied_path" in record["cause"]


def test_a_drain_waits_for_what_is_on_its_way(store, spooling):
    arrived, go_on = threading.Event(), threading.Event()

    def answer(request):
        arrived.set()
        go_on.wait(PATIENCE)
        return 200

    store.answer = answer
    daemon = spooling(store.start(), in_flight=1)
    daemon.write_config({**daemon.configuration(), "drain_timeout": "10m"})
    daemon.ctl("reload")
    _, first = daemon.keep(b"1")
    _, second = daemon.keep(b"2")
    arrived.wait(PATIENCE)
    daemon.ctl("drain")
    go_on.set()
    assert daemon.wait() == 0
    assert [request.key for request in store.requests] == [first]
    daemon.start()
    store.wait(2)
    daemon.wait_empty()
    assert [request.key for request in store.requests] == [first, second]


def test_a_delivery_that_is_cut_off_comes_again_under_its_key(store, spooling):
    arrived, go_on = threading.Event(), threading.Event()

    def answer(request):
        arrived.set()
        go_on.wait(PATIENCE)
        return 200

    store.answer = answer
    daemon = spooling(store.start())
    daemon.write_config({**daemon.configuration(), "drain_timeout": "0s"})
    daemon.ctl("reload")
    _, key = daemon.keep()
    arrived.wait(PATIENCE)
    daemon.stop()
    go_on.set()
    daemon.start()
    wait_until(lambda: len(store.requests) >= 2, what="the second delivery")
    daemon.wait_empty()
    assert store.keys() == {key}


def test_many_at_once_share_syncs(store, spooling):
    daemon = spooling(store)
    keys = []

    def run():
        for _ in range(4):
            keys.append(daemon.keep()[1])

    threads = [threading.Thread(target=run) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 256
    metrics = daemon.metrics()
    assert metrics['postern_spool_accepted_total{route="results"}'] == 256
    assert metrics["postern_spool_settled_total"] >= metrics["postern_spool_commits_total"]
    store.start()
    wait_until(lambda: store.keys() == set(keys), what="all of them at the store")
    daemon.wait_empty()


def test_a_backlog_costs_no_memory_at_the_start(store, spooling):
    if "POSTERN_UNIT" in os.environ or sanitizers():
        pytest.skip("memory is measured without the unit, and without a sanitizer's own")
    daemon = spooling(store)
    daemon.keep(b"warm")
    daemon.kill()
    daemon.start()
    wait_until(lambda: daemon.events(event="spool opened"), what="the spool")
    empty = daemon.resident_bytes()
    for _ in range(100):
        daemon.keep(os.urandom(1 << 20))
    daemon.kill()
    daemon.start()
    assert len(daemon.records()) == 101
    assert daemon.resident_bytes() - empty < 32 << 20  # of 100 MiB


@needs_header
@plain_build
def test_the_spool_calls_nothing_that_the_unit_forbids(store, spooling):
    daemon = spooling(store.start(), start=False)
    trace = daemon.folder / "trace"
    daemon.start(wrapper=["strace", "-f", "-qq", "-e", "signal=none", "-o", str(trace)])
    daemon.keep()
    daemon.keep(os.urandom(200_000))
    daemon.wait_empty()
    daemon.ctl("spool", "verify")
    daemon.ctl("drain")
    assert daemon.wait() == 0
    calls = set(re.findall(r"(?m)^\d+ +(\w+)\(", trace.read_text()))
    assert "fdatasync" in calls
    # Of root's alone: SQLite gives its files to whom the database belongs.
    assert calls - allowed_system_calls(SERVICE) <= NOT_MISSED | {"fchown"}


# ---- Operators ----

def test_operators_see_and_change_it(store, spooling):
    daemon = spooling(store)
    first, key = daemon.keep(b"the first", path="/a?b=c", headers={"X-Mine": "1"})
    second, _ = daemon.keep(b"the second")
    assert [record["id"] for record in daemon.records()] == [first, second]
    assert not daemon.records("--state", "dead") and not daemon.records("--route", "other")
    assert len(daemon.records("--limit", "1")) == 1
    listed = daemon.ctl("spool", "list").stdout
    assert "ROUTE" in listed and "results" in listed and "payroll" in listed
    shown = daemon.ctl("spool", "show", str(first)).stdout
    assert "POST /a?b=c HTTP/1.1" in shown and "x-mine: 1" in shown and key in shown
    file = daemon.folder / "export"
    daemon.ctl("spool", "export", str(first), str(file))
    head, _, body = file.read_bytes().partition(b"\r\n\r\n")
    assert head.startswith(b"POST /a?b=c HTTP/1.1\r\n") and b"content-length: 9" in head and body == b"the first"
    assert file.stat().st_mode & 0o777 == 0o600
    assert daemon.ctl("spool", "export", str(first), str(file), check=False).returncode == 1  # is there already
    assert daemon.ctl("spool", "export", str(first), "-").stdout.endswith("the first")
    assert "0 damaged" in daemon.ctl("spool", "verify").stdout
    for wrong, code in [(["drop"], 2), (["drop", "x"], 2), (["drop", str(first), "--route", "results"], 2), (["nonsense"], 2),
                        ([], 2), (["show", "999"], 1), (["drop", "999"], 1), (["list", "--state", "odd"], 1),
                        (["list", "--all"], 2), (["export", str(first)], 2)]:
        assert daemon.ctl("spool", *wrong, check=False).returncode == code, wrong
    wait_until(lambda: daemon.ctl("spool", "drop", str(first), check=False).returncode == 0, what="the first dropped")
    assert [record["id"] for record in daemon.records()] == [second]
    wait_until(lambda: "1 records removed" in daemon.ctl("spool", "drop", "--all", "--route", "results").stdout,
               what="the second dropped")
    daemon.wait_empty()
    assert daemon.request("GET", "/spool/drop")[0] == 405
    assert daemon.request("GET", "/spool/list?x=1")[0] == 400


def test_an_export_of_any_size(store, spooling):
    daemon = spooling(store)
    body = os.urandom(40 << 20)  # more than the admin socket's server would hold
    identity, _ = daemon.keep(body)
    daemon.ctl("spool", "export", str(identity), str(daemon.folder / "export"))
    assert (daemon.folder / "export").read_bytes().partition(b"\r\n\r\n")[2] == body


def test_without_a_route_that_spools_there_is_none(store, spooling):
    daemon = spooling(store, start=False)
    whole = daemon.configuration()
    whole["routes"]["results"] = {"type": "forward", "to": store.url, "allow_private": True}
    daemon.write_config(whole)
    daemon.start()
    assert not daemon.spool_path.exists()
    assert "not open" in daemon.ctl("spool", "stats").stdout
    assert daemon.ctl("spool", "list", check=False).returncode == 1
    assert not any(name.startswith("postern_spool_") for name in daemon.metrics())


# ---- Killed at any instant ----

KILLS = int(os.environ.get("POSTERN_SPOOL_KILLS", "20"))


def test_killed_at_random_under_load(store, spooling):
    """Nothing acknowledged is lost, and nothing arrives under two keys, however often the daemon is killed."""
    daemon = spooling(store.start())
    acknowledged, lock, over = {}, threading.Lock(), threading.Event()
    dice = random.Random(os.environ.get("POSTERN_SPOOL_SEED"))

    def run(number):
        count = 0
        while not over.is_set():
            body = b"%d/%d " % (number, count) + b"x" * random.choice([0, 100, 70_000])
            count += 1
            try:
                status, _, answer = daemon.send(body, timeout=PATIENCE)
            except (OSError, http.client.HTTPException):
                time.sleep(0.005)
                continue
            if status == 202:
                with lock:
                    acknowledged[answer["key"]] = body

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(KILLS):
            goal = len(acknowledged) + dice.randint(1, 20)
            wait_until(lambda: len(acknowledged) >= goal, what="acknowledgements")
            daemon.kill()
            daemon.start()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    wait_until(lambda: store.keys() >= set(acknowledged), what="all that was acknowledged at the store")
    daemon.wait_empty()
    keys_of = {}
    for request in store.requests:
        keys_of.setdefault(request.body, set()).add(request.key)
        if request.key in acknowledged:
            assert request.body == acknowledged[request.key]
    assert all(len(keys) == 1 for keys in keys_of.values())
    assert set(acknowledged) <= store.keys()
    print(f"{KILLS} kills of the daemon under load: {len(acknowledged)} requests acknowledged, all at the store under their keys")
