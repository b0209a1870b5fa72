"""postern send: requests to a forward route and their answers, against a daemon that the second implementation plays."""
import contextlib
import errno
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading

import pytest

from client import POSTERN, postern
from forwarding import Forwarder, Gone
from framed import CODES
from postern import PATIENCE, sanitizers

MIB = 1 << 20


@pytest.fixture
def forwarder(folder):
    """forwarder(answer, ...): see forwarding.Forwarder."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(Forwarder(folder, *arguments, **options))


def send(daemon, *arguments, **options):
    options = {"stdin": subprocess.DEVNULL, **options} if "input" not in options else options
    return postern(daemon.address, "send", *arguments, **options)


def start(daemon, *arguments, **options):
    return subprocess.Popen([POSTERN, "--connect", daemon.address, "send", *arguments],
                            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options})


def told(run, code):
    """What it said, which a terminal can bear."""
    text = run.stderr.decode()
    assert run.returncode == code, (run.returncode, text)
    assert all(line.startswith("postern: ") or line.startswith("try `postern ") for line in text.splitlines()), text
    return text


class Book:
    """An answer function that keeps what was asked for, and says ok."""

    def __init__(self, status=200, body=b"ok", **headers):
        self.status, self.body, self.answer_headers = status, body, headers
        self.asked = []

    def __call__(self, exchange):
        method, path, headers = exchange.head()
        self.asked.append((method, path, headers, exchange.body()))
        exchange.answer(self.status, self.body, **self.answer_headers)
        exchange.finish()
        assert exchange.hear_out() is None


def test_get(forwarder):
    book = Book()
    daemon = forwarder(book)
    run = send(daemon, "results")
    assert (run.returncode, run.stdout, run.stderr) == (0, b"ok", b"")
    assert book.asked == [("GET", "/", {"host": "results", "connection": "close"}, b"")]
    daemon.finish()
    exchange, = daemon.exchanges
    assert (exchange.route, exchange.kind) == ("results", 1)
    assert [goaway[2] for goaway in exchange.session.goaways] == [0] * len(exchange.session.goaways) and exchange.session.goaways


def test_all_that_can_be_asked(forwarder):
    book = Book()
    daemon = forwarder(book)
    run = send(daemon, "results", "/a/b?c=d", "-X", "PATCH", "-H", "Content-Type: text/plain", "-H", "X-Y:z", "--data", "hello")
    assert told(run, 0) == ""
    assert book.asked == [("PATCH", "/a/b?c=d", {"host": "results", "content-type": "text/plain", "x-y": "z", "content-length": "5",
                                                "connection": "close"}, b"hello")]


@pytest.mark.parametrize("data,stdin,length", [("@{file}", None, True), ("@-", "file", True), ("-", "pipe", False), ("@{file}", "empty", True),
                                               ("@{fifo}", None, False), ("@/proc/self/status", None, False), ("", None, True)])
def test_where_the_body_comes_from(forwarder, folder, data, stdin, length):
    book = Book()
    daemon = forwarder(book)
    body = bytes(range(256)) * 1000 if stdin != "empty" and data != "" else b""
    (folder / "body").write_bytes(body)
    options = {}
    with contextlib.ExitStack() as stack:
        if stdin == "file":
            options["stdin"] = stack.enter_context(open(folder / "body", "rb"))
            body = body[1000:]
            options["stdin"].seek(1000)
        elif stdin == "pipe":
            options["input"] = body
        if "fifo" in data:
            os.mkfifo(folder / "fifo")
            writer = threading.Thread(target=lambda: (folder / "fifo").write_bytes(body))
            writer.start()
            stack.callback(writer.join)
        run = send(daemon, "results", "--data", data.format(file=folder / "body", fifo=folder / "fifo"), **options)
    assert told(run, 0) == "" and run.stdout == b"ok"
    (method, _, headers, came), = book.asked
    assert method == "POST"
    if "proc" in data:
        assert came.startswith(b"Name:\t")
    else:
        assert came == body
    assert headers.get("content-length") == (str(len(body)) if length else None)
    assert headers.get("transfer-encoding") == (None if length else "chunked")


def test_head_and_status_before_the_body(forwarder):
    daemon = forwarder(Book(201, b"made\n", location="/reports/7"))
    run = send(daemon, "results", "-i", "--data", "x")
    assert told(run, 0) == "" and run.stdout == b"HTTP/1.1 201 Created\r\nlocation: /reports/7\r\n\r\nmade\n"


def test_an_answer_to_head(forwarder):
    def answer(exchange):
        assert exchange.head()[0] == "HEAD"
        exchange.say(b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 1000\r\n\r\n")
        exchange.finish()
        exchange.hear_out()
    run = send(forwarder(answer), "results", "-X", "HEAD", "-i")
    assert told(run, 0) == "" and b"x: y\r\n" in run.stdout


# ---- Answers that are no success


PROBLEM = {"title": "Service Unavailable", "status": 503, "code": "upstream_refused", "detail": "the upstream refuses\u0007 connections",
           "advice": "start it", "more": [{"detail": "not this"}]}


def test_what_the_daemon_says_of_itself(forwarder):
    daemon = forwarder(Book(503, json.dumps(PROBLEM).encode(), content_type="application/problem+json", retry_after="7"))
    run = send(daemon, "results", "/x", "--data", "y")
    text = told(run, 22)
    assert "route results: POST /x: 503 Service Unavailable, upstream_refused: the upstream refuses" in text
    assert "start it" in text and "send it again in 7 s" in text and "not this" not in text and "\a" not in text
    assert json.loads(run.stdout) == PROBLEM


@pytest.mark.parametrize("status,words", [(301, "see the body"), (404, "Not Found"), (413, "too large"), (502, "look at the daemon's log"),
                                          (507, "no more room"), (599, "Unknown")])
def test_other_answers(forwarder, status, words):
    daemon = forwarder(Book(status, b"sorry", retry_after="Wed, 21 Oct 2026 07:28:00 GMT"))
    run = send(daemon, "results")
    text = told(run, 22)
    assert str(status) in text and words in text and "send it again after Wed, 21 Oct" in text and run.stdout == b"sorry"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"detail":', b'{"detail": 1, "a": [[["]"]]], "advice": "b"}', b"\xff" * 9000, b'{"a":' + b"[" * 5000])
def test_problems_that_are_none(forwarder, body):
    run = send(forwarder(Book(500, body, content_type="application/problem+json; charset=x")), "results")
    assert "500 Internal Server Error" in told(run, 22) and run.stdout == body


REFUSALS = {"denied_route": "denied_route", "UNSUPPORTED": "route of type forward", "draining": "draining"}


@pytest.mark.parametrize("code", REFUSALS)
def test_refused(forwarder, code):
    run = send(forwarder(refuse=code), "results", "--data", "x" * 100)
    text = told(run, 1)
    assert "route results: refused, " in text and REFUSALS[code] in text and run.stdout == b""


def test_no_daemon(folder):
    run = postern(f"unix://{folder}/nobody.sock", "send", "results")
    assert "cannot connect to unix://" in told(run, 1)


def hear(exchange):
    exchange.head()
    exchange.body()


def says(data, end=lambda exchange: exchange.finish()):
    def answer(exchange):
        hear(exchange)
        exchange.say(data)
        end(exchange)
        exchange.hear_out()
    return answer


def cut(exchange):
    exchange.session.connection.shutdown(2)


BROKEN = [
    ("no answer", b"", None, "without an answer"),
    ("half a head", b"HTTP/1.1 200 OK\r\nConte", None, "without an answer"),
    ("half a body", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", None, "cut off"),
    ("half a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", None, "cut off"),
    ("a bad chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello", None, "bad_chunk"),
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhi", None, "doubled_header"),
    ("no HTTP", b"SSH-2.0-OpenSSH\r\n", None, "no HTTP/1.1"),
    ("a long head", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10000, None, "too_many_headers"),
    ("interim without end", b"HTTP/1.1 100 Continue\r\n\r\n" * 100, None, "too_many_interim"),
    ("a reset", b"HTTP/1.1 200 OK\r\n\r\nhello", lambda exchange: exchange.abort(), "upstream_reset"),
    ("the connection breaks", b"HTTP/1.1 200 OK\r\n\r\nhello", cut, "lost"),
]


@pytest.mark.parametrize("name,data,end,words", BROKEN, ids=[row[0] for row in BROKEN])
def test_no_whole_answer(forwarder, name, data, end, words):
    run = send(forwarder(says(data, *([end] if end else []))), "results", "--data", "body")
    text = told(run, 1)
    assert words in text and "route results" in text and "4 B of 4 B were sent; whether the request was carried out is not known" in text, name


def test_more_than_was_announced(forwarder):
    run = send(forwarder(says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, HTTP/1.1 500 X\r\n\r\n")), "results")
    assert told(run, 0) == "" and run.stdout == b"hello"


# ---- Early answers


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("status,code", [(413, 22), (200, 1)])
def test_an_answer_before_the_body_was_taken(forwarder, status, code, stops):
    """It is heard although nothing of the body is taken any more, and the rest is not sent."""
    ends = []

    def answer(exchange):
        exchange.head()
        exchange.answer(status, b"enough")
        if stops:
            exchange.stop()
        exchange.finish()
        with contextlib.suppress(Gone):
            while exchange.reset_code is None:
                exchange.session.turn()
        ends.append((exchange.reset_code, exchange.received))
    daemon = forwarder(answer)
    with open("/dev/zero", "rb") as endless:
        run = send(daemon, "results", "--data", "-", stdin=endless)
    text = told(run, code)
    assert run.stdout == b"enough" and (code == 22 or "before the whole body was taken" in text)
    daemon.finish()
    (reset, received), = ends
    assert reset == CODES["CANCEL"] and received <= 2 * MIB


def test_an_early_answer_while_the_source_is_silent(forwarder):
    def answer(exchange):
        exchange.head()
        exchange.answer(507, b"full")
        exchange.finish()
        exchange.hear_out()
    daemon = forwarder(answer)
    with start(daemon, "results", "--data", "-") as process:
        assert process.wait(PATIENCE) == 22
        assert process.stdout.read() == b"full" and b"507 Insufficient Storage" in process.stderr.read()


def test_both_ways_at_once(forwarder):
    """A service that answers as it reads: neither side waits for ever."""
    def answer(exchange):
        exchange.head()
        exchange.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in exchange.pieces():
            exchange.say(b"%x\r\n%s\r\n" % (len(piece), piece))
        exchange.say(b"0\r\n\r\n")
        exchange.finish()
        exchange.hear_out()
    body = os.urandom(MIB) * 8
    run = send(forwarder(answer), "results", "--data", "-", input=body)
    assert told(run, 0) == "" and run.stdout == body


# ---- Size


def peak(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) << 10


@pytest.mark.parametrize("direction", ["up", "down"])
def test_any_size_in_constant_memory(forwarder, folder, direction):
    size = (64 if "POSTERN_IN_VM" in os.environ else 256) * MIB
    ready, go_on = threading.Event(), threading.Event()

    def pause(done):
        """Shortly before the end, for the memory to be looked at."""
        if done >= size - MIB and not ready.is_set():
            ready.set()
            assert go_on.wait(PATIENCE)

    def answer(exchange):
        exchange.head()
        done = 0
        for piece in exchange.pieces():
            done += len(piece)
            pause(done)
        assert direction == "down" or done == size
        if direction == "up":
            exchange.answer(200, b"")
        else:
            exchange.say(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
            for at in range(0, size, MIB):
                exchange.say(bytes(MIB))
                pause(at + MIB)
        exchange.finish()
        exchange.hear_out()
    daemon = forwarder(answer, window=4 * MIB)
    with open(folder / "big", "wb") as big:
        big.truncate(size)
    arguments = ["--data", f"@{folder / 'big'}"] if direction == "up" else []
    with start(daemon, "results", *arguments, stdout=subprocess.PIPE) as process:
        counted = []

        def count():
            total = 0
            while piece := os.read(process.stdout.fileno(), MIB):
                total += len(piece)
            counted.append(total)
        reader = threading.Thread(target=count)
        reader.start()
        assert ready.wait(4 * PATIENCE)
        used = peak(process.pid)
        go_on.set()
        assert process.wait(PATIENCE) == 0, process.stderr.read()
        reader.join()
    assert counted == [0 if direction == "up" else size]
    assert sanitizers() or used <= (24 if direction == "down" else 8) * MIB, used


# ---- Ends that this side makes


def waits(exchange):
    exchange.head()
    exchange.hear_out()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(forwarder, number):
    begun = threading.Event()

    def answer(exchange):
        exchange.head()
        begun.set()
        exchange.hear_out()
    daemon = forwarder(answer)
    with start(daemon, "results", "--data", "-") as process:
        process.stdin.write(b"x" * 1000)
        process.stdin.flush()
        assert begun.wait(PATIENCE)
        process.send_signal(number)
        assert process.wait(PATIENCE) == -number
        text = process.stderr.read().decode()
    assert "POST /: interrupted" in text and "of the body were sent; whether" in text
    daemon.finish()
    exchange, = daemon.exchanges
    assert exchange.reset_code == CODES["CANCEL"] and not exchange.ended


def test_nobody_reads_the_answer(forwarder):
    def answer(exchange):
        hear(exchange)
        exchange.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            exchange.say(bytes(65536))
    daemon = forwarder(answer)
    with start(daemon, "results", stdin=subprocess.DEVNULL) as process:
        assert process.stdout.read(10)
        process.stdout.close()
        assert process.wait(PATIENCE) == 1
        assert b"standard output" in process.stderr.read()


def test_a_full_disk(forwarder):
    with open("/dev/full", "wb") as full:
        run = send(forwarder(Book()), "results", stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert f"cannot write to standard output: {os.strerror(errno.ENOSPC)}".lower() in told(run, 1).lower()


@pytest.mark.parametrize("option,words", [("--timeout", "it is not done"), ("--idle-timeout", "nothing moved")])
def test_out_of_patience(forwarder, option, words):
    run = send(forwarder(waits), "results", option, "1s", "--data", "x")
    text = told(run, 1)
    assert words in text and "there is no answer" in text


def test_a_file_that_shrinks(forwarder, folder):
    path = folder / "body"
    with open(path, "wb") as file:
        file.truncate(64 * MIB)

    def answer(exchange):
        exchange.head()
        os.truncate(path, 1000)
        exchange.hear_out()
    daemon = forwarder(answer, window=1 << 16)
    run = send(daemon, "results", "--data", f"@{path}")
    assert "became shorter while it was sent" in told(run, 1)
    daemon.finish()
    assert daemon.exchanges[0].reset_code == CODES["CANCEL"]


def test_a_source_that_fails(forwarder):
    run = send(forwarder(waits), "results", "--data", "@/proc/self/mem")
    assert "cannot read /proc/self/mem" in told(run, 1)


USAGE = [
    ([], "one ROUTE is expected"),
    (["a", "/b", "c"], "one ROUTE is expected"),
    (["results", "reports/7"], "a path begins with a slash"),
    (["results", "/a b"], "a path begins with a slash"),
    (["results", "-H", "no colon"], "`name: value` is expected"),
    (["results", "-H", ": x"], "`name: value` is expected"),
    (["results", "-H", "host: x"], "library's to write"),
    (["results", "-H", "a: \x01"], "in one line"),
    (["results", "-X", "G T"], "a method is a word"),
    (["results", "--timeout", "5"], "a duration from"),
    (["results", "--idle-timeout", "0s"], "a duration from"),
    (["results", "--nothing"], "no option here"),
    (["results", *["-Ha:b"] * 101], "more than 100 headers"),
    (["r\u00f6ute"], "a route's name"),
]


@pytest.mark.parametrize("arguments,words", USAGE, ids=[words for _, words in USAGE])
def test_wrong_usage(folder, arguments, words):
    """Before anybody is asked."""
    run = postern(f"unix://{folder}/nobody.sock", "send", *arguments)
    assert run.returncode == 2 and words in run.stderr.decode() and "try `postern send --help`" in run.stderr.decode()


@pytest.mark.parametrize("data,words", [("@/nowhere/file", "cannot open /nowhere/file"), ("@/", "is a directory")])
def test_no_such_body(folder, data, words):
    assert words in told(postern(f"unix://{folder}/nobody.sock", "send", "results", "--data", data), 1)


# ---- What a terminal sees


class Terminal:
    """Standard error as a terminal of 100 columns, whose bytes are kept."""

    def __init__(self):
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.seen = b""

    def read(self, pattern):
        """Until that was drawn."""
        while not re.search(pattern, self.seen):
            ready, _, _ = select.select([self.master], [], [], PATIENCE)
            assert ready, self.seen
            self.seen += os.read(self.master, 65536)

    def close(self):
        os.close(self.slave)
        with contextlib.suppress(OSError):
            while piece := os.read(self.master, 65536):
                self.seen += piece
        os.close(self.master)


@pytest.mark.parametrize("known", [True, False])
def test_progress_on_a_terminal(forwarder, folder, known):
    drawn = threading.Event()

    def answer(exchange):
        exchange.head()
        for count, _ in enumerate(exchange.pieces()):
            if count == 0:
                assert drawn.wait(PATIENCE)
        exchange.answer(200, b"ok")
        exchange.finish()
        exchange.hear_out()
    (folder / "body").write_bytes(bytes(4 * MIB))
    terminal = Terminal()
    with open(folder / "body", "rb") as file, subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE) as cat:
        data = f"@{folder / 'body'}" if known else "-"
        with start(forwarder(answer, window=1 << 16), "results", "--data", data, stdin=cat.stdout, stderr=terminal.slave) as process:
            terminal.read(rb"sending [\d.]+ .?i?B of 4 MiB  \[=* *\] [\d.]+ .?i?B/s" if known else rb"sending [\d.]+ .?i?B  [\d.]+ .?i?B/s")
            drawn.set()
            assert process.wait(PATIENCE) == 0 and process.stdout.read() == b"ok"
    terminal.close()
    assert terminal.seen.endswith(b"\r\x1b[K") and b"\n" not in terminal.seen  # nothing is left of it
    for line in terminal.seen.split(b"\r"):
        assert len(line) <= 100 + 3


@pytest.mark.parametrize("early", [False, True])
def test_an_answer_on_the_terminal_that_had_the_progress(forwarder, folder, early):
    """What was drawn is gone before it, and nothing of it is rubbed out after it: it does not end its line."""
    drawn = threading.Event()

    def answer(exchange):
        exchange.head()
        for count, _ in enumerate(exchange.pieces()):
            if count == 0:
                assert drawn.wait(PATIENCE)
                if early:
                    break
        exchange.answer(507 if early else 200, b"all of it")
        exchange.finish()
        exchange.hear_out()
    (folder / "body").write_bytes(bytes(4 * MIB))
    terminal = Terminal()
    arguments = "results", "--data", f"@{folder / 'body'}"
    with start(forwarder(answer, window=1 << 16), *arguments, stdin=subprocess.DEVNULL, stdout=terminal.slave, stderr=terminal.slave) as process:
        terminal.read(rb"sending [\d.]+ .?i?B of 4 MiB")
        drawn.set()
        assert process.wait(PATIENCE) == (22 if early else 0)
    terminal.close()
    assert terminal.seen.rpartition(b"\x1b[K")[2].startswith(b"all of it"), terminal.seen


def test_no_progress_where_it_is_not_wanted(forwarder):
    drawn = threading.Event()

    def answer(exchange):
        hear(exchange)
        drawn.wait(1)  # longer than it takes to be drawn
        exchange.answer(200, b"ok")
        exchange.finish()
        exchange.hear_out()
    terminal = Terminal()
    with start(forwarder(answer), "results", "-q", stdin=subprocess.DEVNULL, stderr=terminal.slave) as process:
        assert process.wait(PATIENCE) == 0
    terminal.close()
    assert terminal.seen == b""
