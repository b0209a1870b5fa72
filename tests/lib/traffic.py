"""Bytes that can be told apart, sent and checked fast, and the programs that speak odd dialects."""
import random
import socket
import threading

from postern import PATIENCE

# A prime, so that no buffer's size is a multiple of it: a chunk that is lost, doubled or swapped shows.
PERIOD = 1000003


class Pattern:
    """An endless sequence of bytes, different for each seed."""

    def __init__(self, seed):
        block = random.Random(seed).randbytes(PERIOD)
        self.block = memoryview(block * 2)

    def at(self, offset, length):
        """Of at most PERIOD bytes."""
        start = offset % PERIOD
        return self.block[start:start + length]


def send_pattern(connection, pattern, total, piece=65536):
    sent = 0
    while sent < total:
        sent += connection.send(pattern.at(sent, min(piece, total - sent)))


def check_pattern(connection, pattern, total=None):
    """Reads `total` bytes, or all there are, and returns how many. They have to be the pattern's."""
    buffer = bytearray(262144)
    view = memoryview(buffer)
    received = 0
    while total is None or received < total:
        length = connection.recv_into(view if total is None else view[:min(len(view), total - received)])
        if length == 0:
            break
        assert view[:length] == pattern.at(received, length), f"the bytes from {received} on are not those sent"
        received += length
    assert total is None or received == total, f"only {received} of {total} bytes came"
    return received


class Background:
    """Runs a function in a thread. result() waits for it and raises what it raised."""

    def __init__(self, function, *arguments):
        self.value = self.problem = None
        self.thread = threading.Thread(target=self._run, args=(function, arguments), daemon=True)
        self.thread.start()

    def _run(self, function, arguments):
        try:
            self.value = function(*arguments)
        except BaseException as problem:  # raised again by result()
            self.problem = problem

    def result(self, seconds=2 * PATIENCE):
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "the thread is still at work"
        if self.problem is not None:
            raise self.problem
        return self.value


def exchange(connection, sends, awaits, total, reply=None):
    """Sends one pattern and ends, while checking the other, both of `total` bytes (the second of `reply`). Each side of a
    relay does this."""
    def send():
        send_pattern(connection, sends, total)
        connection.shutdown(socket.SHUT_WR)
    sender = Background(send)
    received = check_pattern(connection, awaits)
    sender.result()
    wanted = total if reply is None else reply
    assert received == wanted, f"{received} of {wanted} bytes came"


def is_cut(daemon, says=b""):
    """Whether a client of the daemon's `in` gets nothing but an end or a reset, which may come while it still connects."""
    try:
        with daemon.connect() as client:
            client.sendall(says)
            return client.recv(1) == b""
    except ConnectionError:
        return True


def exhaust(daemon, count, event):
    """Leaves the daemon, which has one worker, `count` descriptors, and has a client cut for it, of which the log says `event`."""
    daemon.wait_idle()
    daemon.leave_descriptors(count)
    assert is_cut(daemon)
    return daemon.wait_event(event=event, reason="no_descriptors")


def hybrid_backend(handler, seen):
    """A peer's handler that greets as Firecracker does: CONNECT PORT, OK PORT."""
    def greet(connection):
        line = b""
        while not line.endswith(b"\n"):
            piece = connection.recv(1)
            if not piece:
                return
            line += piece
        seen.append(line)
        # In one piece with the first data, as a guest that speaks at once makes it.
        connection.sendall(b"OK 1073741824\n")
        handler(connection)
    return greet
