"""Requests that servers are known to read in different ways, sent to a forward route with real servers behind it: each is refused, or the
upstream has seen one request, with the meaning that was judged. The requests are those of tests/unit/http/smuggling.table, and some of
those in a file of JSON lines with `b64`, where there is one: $POSTERN_HTTP_REQUESTS, or shared/data/http-requests.jsonl beside the project."""
import base64
import json
import os
import pathlib
import random
import re
import socket

import pytest

from http_peers import Answer, Nginx, Store, request
from http_reading import read_strictly
from postern import REPOSITORY, connect, read_all, wait_until
from test_forward import forward, outcomes  # noqa: F401  (a fixture)

CASE = re.compile(r"(?P<name>[^:\s]+): (?P<verdict>\w+)(?: after (?P<whole>\d+))?\Z")
# Of the table's route.
RULES = {"set": {"authorization": "Bearer credentialtoken", "x-enclave": "enclave"}, "add": {"via": "1.1 postern"}, "remove": ["x-internal"]}
# What the route refuses that the table's does not have.
AS_THE_TABLE = {"max_body": "1000000B"}


class Case:
    def __init__(self, name, verdict, whole):
        self.name, self.verdict = name, verdict
        self.whole = int(whole) if whole else int(verdict == "forwarded")
        self.bytes = self.wire = b""

    def __repr__(self):
        return self.name


def unescape(text):
    return re.sub(rb"\\(x[0-9a-fA-F]{2}|.)", lambda match: {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}.get(
        match[1]) or bytes([int(match[1][1:], 16)]), text.encode())


def read_table():
    cases = []
    for line in (REPOSITORY / "tests/unit/http/smuggling.table").read_text().splitlines():
        if match := CASE.match(line):
            cases.append(Case(**match.groupdict()))
        elif line.startswith("  => "):
            cases[-1].wire += unescape(line[5:])
        elif line.startswith("  "):
            cases[-1].bytes += unescape(line[2:])
    return cases


def ask(daemon, data):
    """All that comes back for these bytes and the client's end, as answers."""
    answers = []
    with daemon.connect() as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was refused before all of it was sent
        methods = [seen.method.decode() for seen in read_strictly(data).requests]
        rest = b""
        while True:
            if not rest and not (rest := client.recv(65536)):
                return answers
            method = methods[len(answers)] if len(answers) < len(methods) else "HEAD" if data.startswith(b"HEAD ") else "POST"
            answers.append(Answer(client, method, rest))
            rest = answers[-1].rest
            if not answers[-1].keeps_open:
                # Of a head that was cut the daemon does not know that it is HEAD's: its answer has a body.
                assert b"HTTP/1.1" not in rest + read_all(client), data
                return answers


def meaning_of(seen):
    """What counts of a request that a server saw; a server in between may add headers, and names its own host."""
    return (seen.method, seen.path, seen.body, seen.values("authorization"), seen.values("x-enclave"), seen.values("x-internal"))


def meaning_of_wire(wire):
    """The same of the bytes that the table expects at the upstream."""
    reading = read_strictly(wire)
    return [(one.method.decode(), one.target.decode(), one.body, *([value.decode() for value in one.values(name)] for name in (
        b"authorization", b"x-enclave", b"x-internal"))) for one in reading.requests]


def check(daemon, store, case):
    del store.seen[:]
    before = outcomes(daemon)
    answers = ask(daemon, case.bytes)
    forwarded = answers[:case.whole]
    refused = answers[case.whole:]
    assert all(answer.status == 200 for answer in forwarded), f"{case}: {answers}"
    assert len(forwarded) == case.whole, f"{case}: {[answer.status for answer in answers]}"
    if case.verdict == "forwarded":
        assert not refused, f"{case}: {refused}"
        word = None
    else:
        word = "request_cut_off" if case.verdict == "incomplete" else case.verdict
        assert len(refused) == 1 and not refused[0].keeps_open, f"{case}: {[answer.status for answer in answers]}"
        # The body of an answer to HEAD is announced and left out.
        assert not refused[0].body or refused[0].code == word, f"{case}: {refused[0].body}"
    expected = dict(before)
    for name, count in ((word, 1), ("2xx", case.whole)):
        if name and count:
            expected[name] = expected.get(name, 0) + count
    wait_until(lambda: outcomes(daemon) == expected, what=f"{case}: {expected} in the metrics")
    # Of a request that was begun and cut nothing whole was seen.
    assert [meaning_of(seen) for seen in store.seen] == meaning_of_wire(case.wire)[:case.whole], case


@pytest.fixture(params=["python", "nginx"])
def upstream(request):
    with Store() as store:
        store.name = request.param
        if request.param == "python":
            yield store, store.url
        else:
            with Nginx(store, extra="ignore_invalid_headers off; underscores_in_headers on; merge_slashes off;") as nginx:
                yield store, nginx.url


def test_the_table(forward, upstream):  # noqa: F811
    store, url = upstream
    daemon = forward(url + "/base", listen="unix", route={"headers": RULES, **AS_THE_TABLE})
    cases = read_table()
    assert len(cases) >= 60
    for case in cases:
        check(daemon, store, case)
    # And the connections to the upstream are as good as ever.
    del store.seen[:]
    with daemon.connect() as client:
        client.sendall(request(path="/honest"))
        assert Answer(client).status == 200
    assert [seen.path for seen in store.seen] == ["/base/honest"]


BESIDE = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "http-requests.jsonl"


def others():
    file = pathlib.Path(os.environ.get("POSTERN_HTTP_REQUESTS", BESIDE))
    if not file.exists():
        pytest.skip(f"there is no file of others' requests at {file}")
    requests = [base64.b64decode(json.loads(line)["b64"]) for line in file.read_text().splitlines()]
    return random.Random(7).sample(requests, min(len(requests), 150))


def test_requests_of_others(forward, upstream):  # noqa: F811
    """Whatever the upstream saw is among what the strict reader sees, in its order, and there is an answer for each."""
    store, url = upstream
    daemon = forward(url, listen="unix", route={"headers": {"set": {"x-enclave": "e"}}})
    for data in others():
        del store.seen[:]
        try:
            answers = ask(daemon, data)
        except EOFError as cut:
            raise AssertionError(f"{data!r}: {cut}") from cut
        whole = [answer for answer in answers if answer.status < 400]
        strict = read_strictly(data).requests
        assert len(whole) == len(store.seen) <= len(strict), (data, [answer.status for answer in answers])
        for seen, read in zip(store.seen, strict):
            assert (seen.method.encode(), seen.body) == (read.method, read.body), data
            assert seen.values("x-enclave") == ["e"], data


def test_a_refused_request_takes_none_with_it(forward):  # noqa: F811
    """What follows it on the connection is not read, and those on others go on."""
    with Store() as store:
        daemon = forward(store.url, listen="unix")
        with daemon.connect() as honest:
            honest.sendall(request("POST", headers=["Content-Length: 8"]) + b"half")
            hostile = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + request(path="/smuggled")
            answer, = ask(daemon, hostile)
            assert (answer.status, answer.code) == (400, "both_lengths")
            honest.sendall(b"half")
            assert Answer(honest).status == 200
        wait_until(lambda: len(store.seen) == 1, what="one request")
        assert store.seen[0].body == b"halfhalf"


def test_answers_that_are_not_lost(forward):  # noqa: F811
    """A client that sends on, without reading, for as long as it likes, still finds why it was refused."""
    daemon = forward("http://127.0.0.1:1", listen="tcp")
    for _ in range(5):
        with connect(daemon.at) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n" + b"more " * 100000)
            client.shutdown(socket.SHUT_WR)
            assert Answer(client).code == "bad_header_name"
            assert client.recv(1) == b""
