"""Streams that do anything in any order. What holds for each: what arrives is a beginning of what was sent; and who sees a proper
end has seen everything, which the other side had sent and ended properly."""
import contextlib
import os
import random
import socket
import struct

import pytest

from postern import abort, receive, wait_until
from traffic import Background, Pattern

UP, DOWN = Pattern(1), Pattern(2)
KEPT, ABORTED = "kept", "aborted"
SIZES = [0, 1, 100, 16384, 65537, 300000, 2000000]


class Side:
    """Sends its pattern and ends it, properly or not, and reads the other's; each in a thread of its own."""

    def __init__(self, connection, sends, awaits, choice):
        self.connection, self.sends, self.awaits = connection, sends, awaits
        self.total, self.end, self.piece, self.reads = choice
        self.received, self.ended, self.reset = 0, False, False

    def run(self):
        writer = Background(self._write)
        if self.reads:
            self._read()
        writer.result()
        if self.end == ABORTED:
            abort(self.connection)

    @property
    def saw_end(self):
        """The kernel tells of a reset once: when the thread that writes was told, the one that reads finds an end."""
        return self.ended and not self.reset and self.end != ABORTED

    def _write(self):
        sent = 0
        try:
            while sent < self.total:
                sent += self.connection.send(self.sends.at(sent, min(self.piece, self.total - sent)))
            if self.end == ABORTED:
                # What is on its way is lost, as when a process is killed.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.shutdown(socket.SHUT_RD)
            else:
                self.connection.shutdown(socket.SHUT_WR)
        except ConnectionResetError:
            self.reset = True
        except OSError:
            pass  # an end came before: a broken pipe, or nothing left to shut down

    def _read(self):
        try:
            while piece := self.connection.recv(65536):
                assert piece == self.awaits.at(self.received, len(piece)), "a byte came that was not sent there"
                self.received += len(piece)
            self.ended = True
        except ConnectionError:
            self.reset = True


def choose(rng):
    return rng.choice(SIZES), rng.choice([KEPT, KEPT, ABORTED]), rng.choice([1000, 65536, 500000]), rng.random() < 0.9


@pytest.mark.handover
@pytest.mark.parametrize("seed", range(int(os.environ.get("POSTERN_CHAOS_SEEDS", "4"))))
def test_a_proper_end_means_that_everything_came(relay, peer, seed):
    rng = random.Random(seed)
    plans = [(choose(rng), choose(rng)) for _ in range(80)]
    served, done = {}, []

    def serve(connection):
        try:
            number, = struct.unpack(">I", receive(connection, 4))
        except (ConnectionError, struct.error):
            return  # its client was too quick
        served[number] = Side(connection, DOWN, UP, plans[number][1])
        served[number].run()
        done.append(number)

    daemon = relay(peer(serve).address)

    def call(number):
        with contextlib.suppress(ConnectionError), daemon.connect() as connection:
            connection.sendall(struct.pack(">I", number))
            side = Side(connection, UP, DOWN, plans[number][0])
            side.run()
            return side
        return None

    callers = [Background(call, number) for number in range(len(plans))]
    sides = [caller.result() for caller in callers]
    wait_until(lambda: sum(daemon.status()["routes"][0]["ended"].values()) == len(plans))
    daemon.wait_quiet()
    wait_until(lambda: set(done) == set(served), what="the end of every side")
    for number, client in enumerate(sides):
        upstream = served.get(number)
        for one, other in ((client, upstream), (upstream, client)):
            if one is not None and one.saw_end:
                assert other is not None and other.end == KEPT, f"stream {number} was aborted, and a proper end was seen"
                assert one.received == other.total, f"stream {number} ended early"
    assert any(client.saw_end for client in sides if client is not None)
