"""`delivery: spool`: what was answered with 202 arrives, once under one key; what its store says counts, and what operators do."""
import contextlib
import http.client
import json
import os
import random
import re
import sqlite3
import subprocess
import time

import pytest

from postern import PATIENCE, PROGRAMS, Peer, connect, read_all, wait_until
from spooling import RETRY
from store import send


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


def test_a_head_that_grows_as_it_is_kept(store, spooling, monkeypatch):
    """Written anew it has a blank behind each colon, and a key: what was let in goes out, however near to its bounds it was."""
    monkeypatch.setattr(http.client, "_MAXHEADERS", 2000)  # of the store
    daemon = spooling(store.start(), start=False)
    daemon.configure(max_head="8KiB", max_headers=1000).start()
    head = b"POST /r HTTP/1.1\r\nhost:x\r\ncontent-length:1\r\n" + b"".join(b"x%03d:v\r\n" % i for i in range(997))
    with connect(daemon.at) as connection:
        connection.sendall(head + b"pad:" + b"p" * (8192 - len(head) - 8) + b"\r\n\r\nx")
        assert read_until_answer(connection).startswith(b"HTTP/1.1 202 ")
    daemon.wait_event(event="record delivered")
    [request] = store.requests
    assert (request.body, request.headers["x000"], request.headers["x996"]) == (b"x", "v", "v")
    daemon.wait_empty()


def read_until_answer(connection):
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(4096)
    return answer


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
    assert "1 record ready" in daemon.ctl("spool", "retry", str(identity)).stdout
    store.wait(3)
    assert [request.key for request in store.requests] == [key, other, key]
    daemon.wait_empty()


@pytest.mark.parametrize("code, cause", [
    ("ProvisionedThroughputExceededException", "(ProvisionedThroughputExceededException)"),
    ("UnrecognizedClientException", "(UnrecognizedClientException): see that the route's key, secret or certificate is good")])
def test_what_aws_refuses_for_now_is_not_dead(store, spooling, code, cause):
    """DynamoDB and Kinesis answer 400 to what comes too fast, and to keys that they do not know, as to what they will never take."""
    told = ["com.amazonaws.dynamodb.v20120810#" + code] * 2 + ["com.amazon.coral.validate#ValidationException"]
    store.answer = lambda request: (400, {}, json.dumps({"__type": told.pop(0), "message": "no"}).encode())
    daemon = spooling(store.start(), start=False)
    keys = daemon.folder / "keys"
    keys.write_text("[default]\naws_access_key_id = ID\naws_secret_access_key = KEY\n")
    daemon.configure(sign={"aws": {"service": "dynamodb", "region": "us-east-1", "credentials": "file", "file": str(keys)}}).start()
    daemon.keep()
    wait_until(lambda: daemon.records("--state", "dead"), what="a dead record")
    [record] = daemon.records()
    assert (record["attempts"], record["cause"]) == (3, "the upstream answered 400 (ValidationException)")
    assert [line["detail"] for line in daemon.events(event="delivery failed")] == [f"the upstream answered 400 {cause}"] * 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_secret_that_the_store_refuses_kills_no_record(store, spooling, status):
    """It was rotated at the store alone: all records would meet that, and all go out once it is right here, too."""
    store.answer = lambda request: 201 if request.headers["Authorization"] == "Bearer new" else status
    daemon = spooling(store.start(), start=False)
    secret = daemon.folder / "secret"
    secret.write_text("old")
    daemon.configure(headers={"set": {"authorization": f"Bearer ${{file:{secret}}}"}}).start()
    keys = {daemon.keep()[1] for _ in range(10)}
    line = daemon.wait_event(event="deliveries held", route="results")
    assert f"answered {status}: see that the route's key, secret or certificate is good" in line["detail"]
    assert len(daemon.records()) == len(keys) and not daemon.records("--state", "dead")
    secret.write_text("new")
    daemon.wait_empty()
    assert {request.key for request in store.requests if request.headers["Authorization"] == "Bearer new"} == keys


def test_what_one_enclave_is_refused_is_not_in_the_way_of_another(store, spooling):
    """Both share the route; the first one's records are older, many, and refused with what holds the route."""
    store.answer = lambda request: 201 if request.headers["X-Enclave"] == "payroll" else 403
    daemon = spooling(store, start=False)
    daemon.configure(in_flight=1, headers={"set": {"x-enclave": "${enclave}", "authorization": "Bearer ${env:HOME}"}})
    other = daemon.add_enclave("fraud", 17)
    daemon.start()
    for _ in range(30):
        assert send(other, b"poison")[0] == 202
    for _ in range(5):
        daemon.keep(b"good")
    store.start()
    wait_until(lambda: len(daemon.records()) == 30, what="the delivery of what is good")
    enclaves = [request.headers["X-Enclave"] for request in store.requests]
    last = max(i for i, enclave in enumerate(enclaves) if enclave == "payroll")
    assert enclaves[:last + 1].count("fraud") <= 6, enclaves


def test_lines_of_what_is_given_up_are_bounded(store, spooling):
    """An enclave makes as many as it likes; the records are all there to be looked at."""
    store.answer = lambda request: 400
    daemon = spooling(store, in_flight=64)
    kept = 800
    for _ in range(kept):
        daemon.keep(b"poison")
    started = time.monotonic()
    store.start()
    lines = []

    def counted():
        """The next line that passes tells how many did not."""
        nonlocal kept, lines
        daemon.keep(b"poison")
        kept += 1
        wait_until(lambda: daemon.stats()["records"]["dead"] == kept, what="all of them dead")
        lines = daemon.events(event="record given up")
        return sum(1 + line.get("suppressed", 0) for line in lines) == kept

    wait_until(counted, what="a line that counts the others")
    assert 200 <= len(lines) <= 200 + 100 * (time.monotonic() - started) + 10


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
    held = 'postern_spool_held{route="results"}'
    assert daemon.metrics()[held] == 1 and daemon.status()["spool"]["routes"][0]["held"] is True
    assert "held      results: its upstream is down or refuses them, and is tried" in daemon.ctl("spool", "stats").stdout
    assert re.search(r"^spool .*; HELD: results$", daemon.ctl("status").stdout, re.MULTILINE)
    store.start()
    store.wait(1)
    daemon.wait_empty()
    daemon.wait_event(event="deliveries go on", route="results")
    assert daemon.metrics()[held] == 0 and "held" not in daemon.ctl("spool", "stats").stdout
    assert "HELD" not in daemon.ctl("status").stdout


@pytest.mark.parametrize("all_of_them", [False, True])
def test_a_retry_probes_a_held_route_at_once(store, spooling, all_of_them):
    """The upstream is mended, and who mended it does not wait for the next probe, half a minute away."""
    daemon = spooling(store, retry={**RETRY, "min_pause": "1h", "max_pause": "1h"})
    identity, _ = daemon.keep()
    daemon.wait_event(event="deliveries held", route="results")
    held_at = time.monotonic()
    store.start()
    daemon.ctl("spool", "retry", *(["--all", "--route", "results"] if all_of_them else [str(identity)]))
    store.wait(1)
    assert time.monotonic() - held_at < 25
    daemon.wait_event(event="deliveries go on", route="results")


def test_a_backlog_does_not_spin_while_the_store_is_down(store, spooling):
    """One record at a time is a probe, whatever waits: the others are not touched."""
    daemon = spooling(store, retry={**RETRY, "min_pause": "50ms", "max_pause": "50ms"})
    for number in range(40):
        daemon.keep(b"%d" % number)
    attempts = 'postern_spool_attempts_total{route="results"}'
    began, before = time.monotonic(), daemon.metrics()[attempts]
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


# ---- Operators ----

def test_operators_see_and_change_it(store, spooling):
    daemon = spooling(store)
    first, key = daemon.keep(b"the first", path="/a?b=c", headers={"X-Mine": "1"})
    second, _ = daemon.keep(b"the second")
    assert [record["id"] for record in daemon.records()] == [first, second]
    assert not daemon.records("--state", "dead") and len(daemon.records("--route", "results")) == 2
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
                        ([], 2), (["show", "999"], 1), (["drop", "999"], 1), (["list", "--state", "odd"], 2),
                        (["list", "--all"], 2), (["export", str(first)], 2)]:
        assert daemon.ctl("spool", *wrong, check=False).returncode == code, wrong
    for words in (["show", "4711"], ["export", "4711", "-"]):
        assert "there is no record 4711: `posternctl spool list` shows" in daemon.ctl("spool", *words, check=False).stderr
    wait_until(lambda: daemon.ctl("spool", "drop", str(first), check=False).returncode == 0, what="the first dropped")
    assert [record["id"] for record in daemon.records()] == [second]
    wait_until(lambda: "1 record removed" in daemon.ctl("spool", "drop", "--all", "--route", "results").stdout,
               what="the second dropped")
    daemon.wait_empty()
    assert daemon.request("GET", "/spool/drop")[0] == 405
    assert daemon.request("GET", "/spool/list?x=1")[0] == 400


@pytest.mark.parametrize("words", [["list"], ["retry", "--all"], ["drop", "--all"]])
def test_a_mistyped_route_is_told(store, spooling, words):
    """Not as a list that is empty, or nothing that was removed."""
    daemon = spooling(store)
    daemon.keep()
    done = daemon.ctl("spool", *words, "--route", "reslts", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert '--route is "reslts", but of the spool are only: results' in done.stderr
    assert len(daemon.records()) == 1


def test_an_empty_list_says_so(store, spooling):
    daemon = spooling(store)
    assert daemon.ctl("spool", "list").stderr == "nothing is kept\n"
    assert daemon.ctl("spool", "list", "--route", "results", "--state", "dead").stderr == "nothing of what is kept is of route results and dead\n"
    assert (done := daemon.ctl("spool", "list", "--json")).stderr == "" and json.loads(done.stdout)["records"] == []


def test_what_is_forged_on_the_disk_does_not_reach_the_terminal(store, spooling):
    """The text of a failure is under no sum, and whoever looks may be root."""
    daemon = spooling(store)
    daemon.keep()
    assert daemon.stop() == 0
    with contextlib.closing(sqlite3.connect(daemon.spool_path / "spool.db")) as database, database:
        database.execute("UPDATE record SET state = 2, cause = 'a' || char(27) || '[2J' || char(10) || 'key b' || char(155)")
        database.execute("INSERT INTO tally SELECT 'c' || char(27) || '[2J', enclave, 0, 0, 0, 0, 1, 600, 0, 0 FROM tally")
    daemon.start()
    shown = daemon.ctl("spool", "show", "1").stdout
    listed = daemon.ctl("spool", "list").stdout
    routes = daemon.ctl("spool", "list", "--route", "mistyped", check=False).stderr
    assert "only: results\n" in routes
    for text in (shown, listed, routes, daemon.ctl("spool", "stats").stdout):
        assert not any(c in text for c in "\x1b\x9b"), text
    assert "cause     a\\u001b[2J\\nkey b\\u009b\n" in shown


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
