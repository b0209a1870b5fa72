"""The readers that judge the forwarder, and their judgement of it."""

import os
import pathlib
import subprocess

import pytest
from http_reading import LENIENT, read_leniently, read_strictly

SMUGGLING = pathlib.Path(__file__).resolve().parent.parent / "smuggling"
HEAD = b"POST /a HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(("data", "bodies", "end"), (
    (HEAD + b"Content-Length: 2\r\n\r\nhi", [b"hi"], "over"),
    (HEAD + b"Content-Length: 2\r\n\r\nh", [], "incomplete"),
    (HEAD + b"Content-Length: +2\r\n\r\nhi", [], "bad"),
    (HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", [], "bad"),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;a=\"b\"\r\nhi\r\n0\r\nT: 1\r\n\r\n" + HEAD + b"\r\n", [b"hi", b""], "over"),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n", [], "bad"),
    (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", [], "bad"),
    (HEAD + b"Connection: close\r\n\r\nnonsense", [b""], "over"),
    (HEAD + b"\r\nnonsense\r\n", [b""], "bad"),
    (HEAD.replace(b"Host: x\r\n", b"") + b"\r\n", [], "bad"),
    (HEAD + b"A : b\r\n\r\n", [], "bad"),
    (HEAD + b"A: b\n\r\n", [], "bad"),
    (HEAD + b"A: b\r\n c\r\n\r\n", [], "bad"),
))
def test_the_strict_reading(data, bodies, end):
    reading = read_strictly(data)
    assert [request.body for request in reading.requests] == bodies
    assert reading.end == end


def test_lenient_readings_differ_where_they_should():
    smuggled = HEAD + b"Content-Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n"
    read = {how.name: read_leniently(smuggled, how) for how in LENIENT}
    assert read["underscores are hyphens"] == ([(b"POST", b"/a", b"")], "over")
    assert read["Content-Length goes first"] == ([(b"POST", b"/a", b"0\r\n\r\n")], "over")
    split = HEAD + b"A: b\rContent-Length: 1\r\n\r\nx"
    read = {how.name: read_leniently(split, how) for how in LENIENT}
    assert read["lines end with CR"] == ([(b"POST", b"/a", b"x")], "over")
    assert read["lines end with LF"][1] != "over"


def test_nothing_is_forwarded_unsafely():
    """Those of the project's own table; scripts/scorecard R1 has more where there are more."""
    environment = {name: value for name, value in os.environ.items() if name != "POSTERN_HTTP_REQUESTS"}
    run = subprocess.run([SMUGGLING], env=environment, stdout=subprocess.PIPE, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert " 0 forwarded unsafely" in run.stdout
