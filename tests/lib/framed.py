"""A client of the framed protocol, written from docs/protocol.md alone: the second implementation that shows the document is enough.

It is small, slow, and strict: what the daemon sends is held against every rule that a receiver checks. Everything happens in the caller's
thread, while it waits for something:

    with Client(daemon.connect()) as session:
        stream = session.open("kms")
        stream.send(b"hello")
        assert stream.receive(5) == b"hello"
        stream.finish()

For hostile tests, Client(..., hello=False) says nothing by itself, and write() and frame() send anything.
"""
import contextlib
import pathlib
import re
import select
import socket
import struct
import time

from postern import PATIENCE

PREFACE = bytes.fromhex("f05053544e0d0a00")
HELLO, GOAWAY, PING, PONG, MAX_DATA, MAX_STREAMS = range(1, 7)
OPEN, OPENED, REFUSED, DATA, MAX_STREAM_DATA, RESET, STOP = range(0x10, 0x17)
FIN = 1
LAST_WARNING = 2**32 - 1

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs/protocol.md"


def _codes():
    """The numbers of chapter 9, by their words."""
    chapter = DOCUMENT.read_text().split("## 9 Codes")[1].split("## 10")[0]
    own = {word: int(number, 16) for number, word in re.findall(r"^\| ([0-9a-f]{2}) \| ([A-Z_]+) \|", chapter, re.M)}
    return own | {word: int(number, 16) for number, word in re.findall(r"\| ([0-9a-f]{3}) \| `(\w+)`", chapter)}


CODES = _codes()


class Breach(AssertionError):
    """The other side broke a rule."""


def check(rule, condition):
    if not condition:
        raise Breach(rule)


# ---- Deterministic CBOR: unsigned integers, texts, byte strings, booleans, arrays, maps ----

def _head(major, value):
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 24:
            return bytes([major << 5 | value])
        if value < 1 << 8 * size:
            return bytes([major << 5 | info]) + value.to_bytes(size, "big")
    raise ValueError(value)


def encode(value):
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return _head(0, value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value)) + value.encode("ascii")
    if isinstance(value, (list, tuple)):
        return _head(4, len(value)) + b"".join(map(encode, value))
    pairs = sorted((encode(key), encode(item)) for key, item in value.items())
    return _head(5, len(pairs)) + b"".join(key + item for key, item in pairs)


def _decode(data, at, level):
    check("C-1", at < len(data))
    check("C-5", level <= 4)
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        check("C-4", info in (20, 21))
        return info == 21, at
    check("C-4", major in (0, 2, 3, 4, 5) and info < 28)
    value = info
    if info >= 24:
        size = 1 << info - 24
        check("C-1", at + size <= len(data))
        value = int.from_bytes(data[at:at + size], "big")
        at += size
        check("C-2", value >= (24, 1 << 8, 1 << 16, 1 << 32)[info - 24])
    if major == 0:
        return value, at
    if major in (2, 3):
        check("C-1", at + value <= len(data))
        piece = data[at:at + value]
        check("C-6", major == 2 or all(0x20 <= byte <= 0x7e for byte in piece))
        return (piece if major == 2 else piece.decode()), at + value
    check("C-5", value <= 32)
    if major == 4:
        items = []
        for _ in range(value):
            item, at = _decode(data, at, level + 1)
            items.append(item)
        return items, at
    result, before = {}, b""
    for _ in range(value):
        begin = at
        key, at = _decode(data, at, level + 1)
        check("C-3", data[begin:at] > before and isinstance(key, (int, str)) and not isinstance(key, bool))
        before = data[begin:at]
        result[key], at = _decode(data, at, level + 1)
    return result, at


def decode(data):
    value, end = _decode(data, 0, 1)
    check("C-1", isinstance(value, dict) and end == len(data))
    return value


def frame(kind, stream=0, payload=b"", flags=0):
    return struct.pack(">BBHI", kind, flags, len(payload), stream) + payload


def open_payload(route, meta=None, kind=0, timeout=0):
    return encode({1: route} | ({2: kind} if kind else {}) | ({3: meta} if meta else {}) | ({4: timeout} if timeout else {}))


class Stream:
    """One that this client opened."""

    def __init__(self, session, number, route):
        self.session, self.id, self.route = session, number, route
        self.opened = self.refused = self.ended = self.reset = self.stopped = None
        self.data = bytearray()
        self.sent, self.may_send = 0, session.peer_stream_window
        self.received, self.consumed, self.may_receive = 0, 0, session.stream_window
        self.send_over = False

    @property
    def receive_over(self):
        return self.refused is not None or self.ended or self.reset is not None

    @property
    def over(self):
        return self.receive_over and self.send_over

    def send(self, data):
        """All of it, as the credit comes. Stops short when the other side wants no more."""
        view = memoryview(bytes(data))
        while view and not self.send_over and self.refused is None:
            room = min(self.may_send - self.sent, self.session.may_send - self.session.sent, self.session.peer_max_payload)
            if room <= 0:
                self.session.wait(lambda: self.send_over or self.refused or min(
                    self.may_send - self.sent, self.session.may_send - self.session.sent) > 0, what="credit")
                continue
            piece = view[:room]
            self.session.frame(DATA, self.id, bytes(piece))
            self.sent += len(piece)
            self.session.sent += len(piece)
            view = view[room:]

    def finish(self, data=b""):
        self.send(data)
        if not self.send_over:
            self.send_over = True
            self.session.frame(DATA, self.id, flags=FIN)

    def abort(self, code="CANCEL"):
        """Gives up both directions."""
        if not self.send_over:
            self.send_over = True
            self.session.frame(RESET, self.id, struct.pack(">IQ", CODES[code], self.sent))
        if not self.receive_over:
            self.session.frame(STOP, self.id, struct.pack(">I", CODES[code]))

    def wait_answer(self):
        """True if it was opened; else `refused` says why."""
        self.session.wait(lambda: self.opened or self.refused is not None, what="the answer to OPEN")
        return bool(self.opened)

    def receive(self, length):
        """That many bytes, fewer only at the end."""
        pieces, left = [], length
        while left > 0 and (self.data or not self.receive_over):
            self.session.wait(lambda: self.data or self.receive_over, what=f"{left} of {length} bytes")
            pieces.append(self._consume(left))
            left -= len(pieces[-1])
        return b"".join(pieces)

    def receive_all(self):
        pieces = []
        while not self.receive_over or self.data:
            self.session.wait(lambda: self.data or self.receive_over, what="the end of a stream")
            pieces.append(self._consume(len(self.data)))
        return b"".join(pieces)

    def _consume(self, length):
        piece = bytes(self.data[:length])
        del self.data[:length]
        self.consumed += len(piece)
        self.session.consumed += len(piece)
        self.session.give_credit(self)
        return piece


class Client:
    """One session. `sock` is a connected socket, which becomes this one's."""

    def __init__(self, sock, hello=True, max_streams=0, stream_window=65536, session_window=1 << 20, max_payload=16384,
                 versions=(1, 1), role=0, seconds=PATIENCE):
        self.sock = sock
        self.sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.seconds = seconds
        self.incoming, self.outgoing = bytearray(), bytearray()
        self.streams = {}
        self.peer = None           # its HELLO, once it came
        self.goaways, self.pongs, self.pings = [], [], 0
        self.ended = False         # the connection was, by the other side
        self.error = None
        self.preface_seen = False
        self.answers_pings = self.reads = True
        self.sent, self.may_send = 0, 0
        self.received, self.consumed, self.may_receive = 0, 0, session_window
        self.stream_window, self.session_window, self.max_payload = stream_window, session_window, max_payload
        self.peer_stream_window = self.peer_max_payload = self.may_open = 0
        self.opened = 0
        self.final_sent = False
        self.pinged = None
        if hello:
            self.write(PREFACE + frame(HELLO, payload=encode({
                1: list(versions), 2: role, 3: max_payload, 4: max_streams, 5: stream_window, 6: session_window, 7: 15000,
                9: "test client"})))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.close()
        finally:
            self.sock.close()

    # ---- Sending ----

    def write(self, data):
        """Any bytes, as soon as they go."""
        self.outgoing += data
        self._flush()

    def frame(self, kind, stream=0, payload=b"", flags=0):
        self.write(frame(kind, stream, payload, flags))

    def _flush(self):
        while self.outgoing:
            try:
                count = self.sock.send(self.outgoing)
            except BlockingIOError:
                return
            except OSError as error:
                self.error = self.error or error
                self.outgoing.clear()
                return
            del self.outgoing[:count]

    def open(self, route, meta=None, kind=0, data=b""):
        """A stream, without waiting for its answer. `data` goes with it."""
        self.wait_ready()
        self.wait(lambda: self.opened < self.may_open or self.ended, what="leave to open another stream")
        assert not self.ended and not self.goaways, f"the session is over: {self.goaways} {self.error}"
        stream = Stream(self, 2 * self.opened + 1, route)
        self.opened += 1
        self.streams[stream.id] = stream
        self.frame(OPEN, stream.id, open_payload(route, meta, kind))
        if data:
            stream.send(data)
        return stream

    def ping(self):
        """Goes there and back: whatever was sent before has been dealt with."""
        before = len(self.pongs)
        self.pinged = struct.pack(">Q", before + 1)
        self.frame(PING, payload=self.pinged)
        self.wait(lambda: len(self.pongs) > before, what="a PONG")

    def give_credit(self, stream):
        if not stream.receive_over and stream.may_receive - stream.consumed <= self.stream_window // 2:
            stream.may_receive = stream.consumed + self.stream_window
            self.frame(MAX_STREAM_DATA, stream.id, struct.pack(">Q", stream.may_receive))
        if self.may_receive - self.consumed <= self.session_window * 3 // 4:
            self.may_receive = self.consumed + self.session_window
            self.frame(MAX_DATA, payload=struct.pack(">Q", self.may_receive))

    def goaway(self, code="NO_ERROR", last=0, message=None):
        self.frame(GOAWAY, payload=encode({1: last, 2: CODES[code]} | ({3: message} if message else {})))

    def close(self):
        """Says goodbye as chapter 8 has it, and waits for the other side's."""
        if self.peer is not None and not self.ended and not self.final_sent:
            self.goaway(last=LAST_WARNING)
            with contextlib.suppress(AssertionError):
                self.ping()
            self.final_sent = True
            self.goaway()
        if not self.ended:
            self.wait(lambda: self.ended or self.goaways, what="the other side's GOAWAY")
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        self.wait(lambda: self.ended, what="the end of the connection")

    # ---- Receiving ----

    def wait_ready(self):
        self.wait(lambda: self.peer is not None or self.ended, what="HELLO")

    def wait(self, condition, seconds=None, what="the condition"):
        end = time.monotonic() + (seconds or self.seconds)
        while not (result := condition()):
            if self.ended:
                raise AssertionError(f"the connection ended before {what}: {self.goaways} {self.error}")
            if time.monotonic() > end:
                raise AssertionError(f"{what} did not come")
            self.turn(0.05)
        return result

    def turn(self, seconds=0.0):
        """Moves what can be moved, and waits for more at most so long."""
        want_read = [self.sock] if self.reads and not self.ended else []
        readable, writable, _ = select.select(want_read, [self.sock] if self.outgoing else [], [], seconds)
        if writable:
            self._flush()
        if readable:
            self._read()

    def _read(self):
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError as error:
            self.error, data = error, b""
        if not data:
            self.ended = True
            return
        self.incoming += data
        if not self.preface_seen and len(self.incoming) >= 8:
            check("H-1", self.incoming[:8] == PREFACE)
            del self.incoming[:8]
            self.preface_seen = True
        while self.preface_seen and self._take_frame():
            pass

    def _take_frame(self):
        if len(self.incoming) < 8:
            return False
        kind, flags, length, stream = struct.unpack(">BBHI", self.incoming[:8])
        check("F-1", kind in range(HELLO, MAX_STREAMS + 1) or kind in range(OPEN, STOP + 1) or kind >= 0x80)
        if kind == DATA or kind > STOP:
            check("F-2", length <= self.max_payload)
        else:
            check("F-3", {PING: length == 8, PONG: length == 8, MAX_DATA: length == 8, MAX_STREAMS: length == 4, MAX_STREAM_DATA: length == 8,
                          RESET: length == 12, STOP: length == 4}.get(kind, 1 <= length <= 4096))
        check("F-4", flags == 0 or (kind == DATA and flags == FIN))
        check("F-5", (stream == 0) == (kind < OPEN))
        if len(self.incoming) < 8 + length:
            return False
        payload = bytes(self.incoming[8:8 + length])
        del self.incoming[:8 + length]
        check("H-2", self.peer is not None or kind in (HELLO, GOAWAY))
        if kind < OPEN:
            self._on_session_frame(kind, payload)
        elif kind <= STOP:
            check("S-4", stream in self.streams)
            self._on_stream_frame(self.streams[stream], kind, payload, flags)
        return True

    def _on_session_frame(self, kind, payload):
        if kind == HELLO:
            check("H-3", self.peer is None)
            self._on_hello(decode(payload))
        elif kind == GOAWAY:
            goaway = decode(payload)
            check("C-9", {1, 2} <= set(goaway) <= {1, 2, 3, 4})
            check("G-1", not self.goaways or goaway[1] <= self.goaways[-1][1])
            self.goaways.append(goaway)
        elif kind == PING:
            self.pings += 1
            if self.answers_pings:
                self.frame(PONG, payload=payload)
        elif kind == PONG:
            check("K-2", payload == self.pinged)
            self.pongs.append(payload)
        elif kind == MAX_DATA:
            limit, = struct.unpack(">Q", payload)
            check("W-4", limit > self.may_send)
            self.may_send = limit
        else:
            limit, = struct.unpack(">I", payload)
            check("W-5", self.may_open < limit < 1 << 31)
            self.may_open = limit

    def _on_hello(self, hello):
        check("C-8", {1, 2, 3, 4, 5, 6, 7} <= set(hello))
        check("H-4", hello[2] == 1)
        check("H-5", hello[1][0] <= 1 <= hello[1][1])
        check("C-9", 1024 <= hello[3] <= 65528 and hello[5] >= 1024 and hello[6] >= 4096 and 1000 <= hello[7] <= 3600000)
        self.peer = hello
        self.peer_max_payload, self.may_open, self.peer_stream_window, self.may_send = (hello[key] for key in (3, 4, 5, 6))

    def _on_stream_frame(self, stream, kind, payload, flags):
        if kind in (OPENED, REFUSED):
            check("S-5", stream.opened is None and stream.refused is None)
            answer = decode(payload)
            if kind == OPENED:
                check("C-7", answer == {})
                stream.opened = True
            else:
                check("C-8", {1, 3} <= set(answer) <= {1, 2, 3} and isinstance(answer[3], bool))
                stream.refused = answer
                if not stream.send_over:
                    stream.send_over = True
                    self.frame(RESET, stream.id, struct.pack(">IQ", answer[1], stream.sent))
        elif kind == DATA:
            check("S-6", stream.opened)
            check("S-7", not stream.receive_over)
            stream.data += payload
            stream.received += len(payload)
            self.received += len(payload)
            check("W-1", stream.received <= stream.may_receive)
            check("W-2", self.received <= self.may_receive)
            stream.ended = bool(flags & FIN)
        elif kind == RESET:
            check("S-6", stream.opened)
            check("S-7", not stream.receive_over)
            code, size = struct.unpack(">IQ", payload)
            check("S-8", size == stream.received)
            stream.reset = code
        elif kind == STOP:
            check("S-6", stream.opened)
            check("S-9", stream.stopped is None)
            stream.stopped, = struct.unpack(">I", payload)
            if not stream.send_over:
                stream.send_over = True
                self.frame(RESET, stream.id, struct.pack(">IQ", stream.stopped, stream.sent))
        else:
            check("F-1", kind == MAX_STREAM_DATA)
            limit, = struct.unpack(">Q", payload)
            check("W-3", limit > stream.may_send)
            stream.may_send = limit
