"""A daemon with forward routes, written from docs/protocol.md: sessions at a unix address whose streams of kind 1 are given to a function.

    def answer(exchange):
        method, path, headers = exchange.head()
        exchange.say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        exchange.finish()

    with Forwarder(folder, answer) as daemon:
        ...daemon.address

It waits in the function's thread, and keeps to the windows of both sides. `window` is what a stream may send that was not read.
"""
import contextlib
import socket
import struct

from framed import (CODES, DATA, FIN, GOAWAY, HELLO, MAX_DATA, MAX_STREAM_DATA, OPEN, OPENED, PING, PONG, PREFACE, REFUSED, RESET, STOP, check, decode,
                    encode, frame)
from postern import PATIENCE, Acceptor


class Gone(Exception):
    """The client gave the stream up, or the connection."""


class Exchange:
    """One stream, and what came on it."""

    def __init__(self, session, number, opened):
        self.session, self.id, self.route, self.kind = session, number, opened[1], opened.get(2, 0)
        self.incoming = bytearray()
        self.ended = self.finished = False
        self.reset_code = self.stop_code = None
        self.received = self.read = self.sent = 0
        self.may_receive = session.window
        self.may_send = session.peer_window
        self.headers, self.left, self.chunked = {}, 0, False

    # ---- What came ----

    def some(self):
        """Bytes as they come; b"": the client said its end."""
        while not self.incoming and not self.ended:
            self.session.turn()
            self._look()
        piece = bytes(self.incoming)
        self.incoming.clear()
        self._take(len(piece))
        return piece

    def _look(self):
        if self.reset_code is not None:
            raise Gone(f"reset: {self.reset_code:#x}")

    def _take(self, length):
        self.read += length
        self.session.consumed += length
        if not self.ended and self.may_receive - self.read <= self.session.window // 2:
            self.may_receive = self.read + self.session.window
            self.session.say(frame(MAX_STREAM_DATA, self.id, struct.pack(">Q", self.may_receive)))

    def until(self, mark):
        """The bytes up to the mark, with it."""
        while mark not in self.incoming:
            assert not self.ended, f"the client ended before {mark}: {bytes(self.incoming)}"
            self.session.turn()
            self._look()
        at = self.incoming.index(mark) + len(mark)
        return self._exactly(at)

    def _exactly(self, length):
        while len(self.incoming) < length:
            assert not self.ended, "the client ended in the middle"
            self.session.turn()
            self._look()
        piece = bytes(self.incoming[:length])
        del self.incoming[:length]
        self._take(length)
        return piece

    def head(self):
        line, *fields = self.until(b"\r\n\r\n").decode("ascii").split("\r\n")[:-2]
        method, path, version = line.split(" ")
        assert version == "HTTP/1.1"
        self.headers = dict(field.split(": ", 1) for field in fields)
        assert len(self.headers) == len(fields) and not {"content-length", "transfer-encoding"} <= set(self.headers)
        self.chunked = self.headers.get("transfer-encoding") == "chunked"
        self.left = int(self.headers.get("content-length", 0))
        return method, path, self.headers

    def pieces(self):
        """The body after the head, as it comes."""
        while self.left > 0:
            piece = bytes(self.incoming[:self.left]) if self.incoming else b""
            if not piece:
                assert not self.ended, "the client ended in the middle"
                self.session.turn()
                self._look()
                continue
            del self.incoming[:len(piece)]
            self._take(len(piece))
            self.left -= len(piece)
            yield piece
        while self.chunked:
            size = int(self.until(b"\r\n"), 16)
            piece = self._exactly(size + 2)
            assert piece[-2:] == b"\r\n"
            if size == 0:
                return
            yield piece[:-2]

    def body(self):
        return b"".join(self.pieces())

    # ---- What is said ----

    def say(self, data):
        view = memoryview(data)
        while view:
            room = min(self.may_send - self.sent, self.session.may_send - self.session.sent, self.session.peer_payload, len(view))
            if self.stop_code is not None:
                raise Gone(f"stopped: {self.stop_code:#x}")
            if room <= 0:
                self.session.turn()
                continue
            self.session.say(frame(DATA, self.id, bytes(view[:room])))
            self.sent += room
            self.session.sent += room
            view = view[room:]

    def answer(self, status=200, body=b"", **headers):
        fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self.say(f"HTTP/1.1 {status} Whatever\r\n{fields}content-length: {len(body)}\r\n\r\n".encode() + body)

    def finish(self):
        self.finished = True
        self.session.say(frame(DATA, self.id, flags=FIN))

    def abort(self, code="upstream_reset"):
        self.finished = True
        self.session.say(frame(RESET, self.id, struct.pack(">IQ", CODES[code], self.sent)))

    def stop(self, code="CANCEL"):
        self.session.say(frame(STOP, self.id, struct.pack(">I", CODES[code])))

    def hear_out(self):
        """Until the client is done with the stream. Returns the code of its reset, or None: it ended it in order."""
        with contextlib.suppress(Gone):
            while self.some():
                pass
        return self.reset_code


class Session:
    """A connection of a client."""

    def __init__(self, connection, window, serve_stream):
        self.connection, self.window, self.serve_stream = connection, window, serve_stream
        self.incoming = bytearray()
        self.streams = {}
        self.queue = []
        self.over = False
        self.goaways = []
        self.consumed, self.may_receive = 0, 1 << 20
        self.sent = self.may_send = self.peer_window = self.peer_payload = 0
        self.preface = self.greeted = False

    def say(self, data):
        try:
            self.connection.sendall(data)
        except OSError as problem:
            raise Gone(str(problem)) from None

    def turn(self):
        try:
            data = self.connection.recv(1 << 18)
        except TimeoutError:
            raise AssertionError("the client says nothing any more") from None
        except OSError:
            data = b""
        if not data:
            self.over = True
            raise Gone("the connection ended")
        self.incoming += data
        if not self.preface and len(self.incoming) >= 8:
            check("H-1", self.incoming[:8] == PREFACE)
            del self.incoming[:8]
            self.preface = True
        at = 0
        while self.preface and len(self.incoming) - at >= 8:
            kind, flags, length, stream = struct.unpack_from(">BBHI", self.incoming, at)
            if len(self.incoming) - at < 8 + length:
                break
            self._on_frame(kind, flags, stream, bytes(self.incoming[at + 8:at + 8 + length]))
            at += 8 + length
        del self.incoming[:at]
        if self.may_receive - self.consumed <= 1 << 19:
            self.may_receive = self.consumed + (1 << 20)
            self.say(frame(MAX_DATA, payload=struct.pack(">Q", self.may_receive)))

    def _on_frame(self, kind, flags, stream, payload):
        if kind == HELLO:
            hello = decode(payload)
            self.peer_payload, self.peer_window, self.may_send = hello[3], hello[5], hello[6]
            self.greeted = True
        elif kind == PING:
            self.say(frame(PONG, payload=payload))
        elif kind == GOAWAY:
            self.goaways.append(decode(payload))
        elif kind == MAX_DATA:
            self.may_send, = struct.unpack(">Q", payload)
        elif kind == OPEN:
            self.streams[stream] = Exchange(self, stream, decode(payload))
            self.queue.append(self.streams[stream])
        elif stream in self.streams:
            self._on_stream_frame(self.streams[stream], kind, flags, payload)

    @staticmethod
    def _on_stream_frame(exchange, kind, flags, payload):
        if kind == DATA:
            exchange.received += len(payload)
            check("W-1", exchange.received <= exchange.may_receive)
            exchange.incoming += payload
            exchange.ended = bool(flags & FIN)
        elif kind == RESET:
            exchange.reset_code, _ = struct.unpack(">IQ", payload)
        elif kind == STOP:
            exchange.stop_code, = struct.unpack(">I", payload)
            if not exchange.finished:
                exchange.abort("CANCEL")
        elif kind == MAX_STREAM_DATA:
            exchange.may_send, = struct.unpack(">Q", payload)

    def serve(self):
        while not self.greeted:
            self.turn()
        self.say(PREFACE + frame(HELLO, payload=encode({1: [1, 1], 2: 1, 3: 65528, 4: 1000, 5: self.window, 6: self.may_receive, 7: 15000})))
        while not self.over:
            while not self.queue and not self.goaways:
                self.turn()
            if not self.queue:
                break
            self.serve_stream(self.queue.pop(0))
        self.say(frame(GOAWAY, payload=encode({1: max(self.streams, default=0), 2: 0})))
        while True:
            self.turn()


class Forwarder(Acceptor):
    """`answer` is called for each stream; `refuse` is a code to refuse all with."""

    def __init__(self, folder, answer=None, refuse=None, window=1 << 18):
        self.answer, self.refuse, self.window = answer, refuse, window
        self.problems, self.exchanges, self.sessions = [], [], []
        super().__init__(f"unix://{folder}/forwarder.sock")

    def _take(self, connection):
        connection.settimeout(PATIENCE)
        self.sessions.append(Session(connection, self.window, self._serve_stream))
        return self.sessions[-1]

    def _serve_stream(self, exchange):
        self.exchanges.append(exchange)
        if self.refuse:
            exchange.session.say(frame(REFUSED, exchange.id, encode({1: CODES[self.refuse], 3: False})))
            return
        exchange.session.say(frame(OPENED, exchange.id, encode({})))
        with contextlib.suppress(Gone):
            self.answer(exchange)

    def _serve(self, session):
        with session.connection:
            try:
                session.serve()
            except Gone:
                pass
            except Exception as problem:  # pylint: disable=broad-except
                self.problems.append(repr(problem))

    def finish(self):
        """Ends it. Nothing may have gone wrong."""
        self.stop_accepting()
        self.join(PATIENCE)
        assert not self.problems, self.problems

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.finish()
