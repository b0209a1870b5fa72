"""What tests of a hostile peer have in common: frames in short, a clock that they set, and a server that says anything to clients."""
import contextlib
import functools
import mmap
import os
import pathlib
import re
import socket
import struct
import subprocess
import time

import pytest

import framed as protocol
from framed import CODES, DATA, FIN, GOAWAY, HELLO, PREFACE, RESET, STOP, decode, encode, frame
from postern import PATIENCE, Acceptor, sanitizers

RULES = dict(re.findall(r"^- \*\*\[([A-Z]-\d+)\]\*\* ([A-Z_]+)", protocol.DOCUMENT.read_text(), re.M))


def hello(role=0, versions=(1, 1), max_payload=65528, max_streams=0, stream_window=65536, session_window=1 << 20, ping_interval=15000, **more):
    """A HELLO, as the keys of the document have it; **more are keys by their numbers, as `k64=...`."""
    keys = {1: list(versions), 2: role, 3: max_payload, 4: max_streams, 5: stream_window, 6: session_window, 7: ping_interval}
    return frame(HELLO, payload=encode(keys | {int(key[1:]): value for key, value in more.items()}))


def data(stream, payload=b"", fin=False):
    return frame(DATA, stream, payload, FIN if fin else 0)


def u64(kind, stream, value):
    return frame(kind, stream, struct.pack(">Q", value))


def u32(kind, stream, value):
    return frame(kind, stream, struct.pack(">I", value))


open_payload = functools.lru_cache(protocol.open_payload)  # floods are made of hundreds of thousands


def opens(stream, route="out"):
    return frame(protocol.OPEN, stream, open_payload(route))


def reset(stream, size=0, code="CANCEL"):
    return frame(RESET, stream, struct.pack(">IQ", CODES[code], size))


def stop(stream, code="CANCEL"):
    return u32(STOP, stream, CODES[code])


def goaway(last=0, code="NO_ERROR"):
    return frame(GOAWAY, payload=encode({1: last, 2: CODES[code]}))


def frames(data):
    """(kind, flags, stream, payload) of each whole frame."""
    while len(data) >= 8:
        kind, flags, length, stream = struct.unpack(">BBHI", data[:8])
        if len(data) < 8 + length:
            return
        yield kind, flags, stream, data[8:8 + length]
        data = data[8 + length:]


class Clock:
    """The time of a program that is started with `environment`: see set_clock.c."""

    def __init__(self, library, file):
        self.file = open(file, "w+b")
        self.file.write(bytes(16))
        self.file.flush()
        self.map = mmap.mmap(self.file.fileno(), 16)
        self.environment = {"LD_PRELOAD": ":".join([*sanitizers(), str(library)]), "POSTERN_TEST_CLOCK": str(file)}

    def advance(self, seconds):
        ahead, = struct.unpack("=q", self.map[:8])
        self.map[:8] = struct.pack("=q", ahead + int(seconds * 1e9))

    def stand_still(self):
        ahead, = struct.unpack("=q", self.map[:8])
        self.map[8:] = struct.pack("=q", time.monotonic_ns() + ahead)

    def go_on(self):
        self.map[8:] = bytes(8)

    def close(self):
        # The map goes with the last who has it: a peer's thread may still be setting the time.
        self.file.close()


def build_clock(folder):
    if "POSTERN_IN_VM" in os.environ:
        pytest.skip("there is no compiler in the virtual machine")
    library = pathlib.Path(folder) / "set_clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, pathlib.Path(__file__).with_name("set_clock.c")], check=True)
    return library


class FalseDaemon(Acceptor):
    """A server at a unix address that clients take for a daemon. Each connection gets `says` after its HELLO came (`greets` False:
    as soon as it is there), which is bytes, or a function of this class' Caller. Then it is heard to its end, unless
    the function ended it."""

    def __init__(self, folder, says=b"", greets=True, **greeting):
        self.says, self.greets, self.greeting = says, greets, {"role": 1, "max_streams": 1000} | greeting
        self.callers, self.problems = [], []
        super().__init__(f"unix://{folder}/false.sock")

    def _take(self, connection):
        connection.settimeout(PATIENCE)
        self.callers.append(Caller(connection))
        return self.callers[-1]

    def _serve(self, caller):
        with caller.connection, contextlib.suppress(ConnectionError):
            try:
                if self.greets:
                    caller.wait(lambda: len(caller.heard) >= 16 and list(frames(caller.heard[8:])))
                    caller.say(PREFACE + hello(**self.greeting))
                if callable(self.says):
                    self.says(caller)
                else:
                    caller.say(self.says)
                caller.hear_all()
            except AssertionError as problem:
                self.problems.append(str(problem))

    def close(self):
        self.stop_accepting()
        for caller in self.callers:
            with contextlib.suppress(OSError):
                caller.connection.shutdown(socket.SHUT_RDWR)
        self.join(PATIENCE)
        assert not self.problems, self.problems


class Caller:
    """One connection of a client."""

    def __init__(self, connection):
        self.connection, self.heard, self.ended = connection, b"", False

    def say(self, what):
        self.connection.sendall(what)

    def hear(self):
        piece = self.connection.recv(1 << 18)
        self.heard += piece
        self.ended = not piece

    def hear_all(self):
        with contextlib.suppress(OSError):
            while not self.ended:
                self.hear()

    def wait(self, condition):
        while not (result := condition()):
            if self.ended:
                raise ConnectionError("the client ended first")
            self.hear()
        return result

    def frames(self, kind=None):
        return [one for one in frames(self.heard[8:]) if kind is None or one[0] == kind]

    def wait_frame(self, kind, stream=None):
        return self.wait(lambda: [one for one in self.frames(kind) if stream is None or one[2] == stream])[0]

    def wait_stream(self):
        """The id of the first stream that it opened."""
        return self.wait_frame(protocol.OPEN)[2]

    def goodbye(self):
        """Its GOAWAY, decoded; None: it said none."""
        said = self.frames(GOAWAY)
        return decode(said[-1][3]) if said else None


def cpu_seconds(pid):
    """What a process has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
