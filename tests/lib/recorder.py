"""A listener in the middle that passes everything on, and keeps it: what somebody sees who has the wire."""
import base64
import contextlib
import socket
import threading

from postern import connect, listen, stop_listening


class Recorder:
    """Listens at an address, and connects to another for each connection. Half-closes pass."""

    def __init__(self, to, at="tcp://127.0.0.1:0"):
        self.to = to
        self.socket, self.address = listen(at)
        self.socket.settimeout(0.05)  # on vsock nothing from outside wakes accept()
        self.up, self.down = bytearray(), bytearray()  # all connections' bytes, as they came
        self.connections = 0
        self.closing = False
        self._open, self._lock = set(), threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def seen(self):
        with self._lock:
            return bytes(self.up) + b"\n" + bytes(self.down)

    def _accept(self):
        while not self.closing:
            try:
                one, _ = self.socket.accept()
            except TimeoutError:
                continue
            except OSError:
                if self.closing:
                    return
                raise
            one.settimeout(None)
            try:
                other = connect(self.to)
            except OSError:
                one.close()
                continue
            other.settimeout(None)
            self.connections += 1
            with self._lock:
                self._open |= {one, other}
            done = threading.Semaphore(0)
            for source, sink, kept in ((one, other, self.up), (other, one, self.down)):
                threading.Thread(target=self._pump, args=(source, sink, kept, done), daemon=True).start()
            threading.Thread(target=self._end, args=(one, other, done), daemon=True).start()

    def _pump(self, source, sink, kept, done):
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                with self._lock:
                    kept += piece
                sink.sendall(piece)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        done.release()

    def _end(self, one, other, done):
        done.acquire()
        done.acquire()
        with self._lock:
            self._open -= {one, other}
        one.close()
        other.close()

    def close(self):
        self.closing = True
        stop_listening(self.socket)
        self._thread.join()
        self.socket.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def spellings(text):
    """The bytes of a text, and how they look within base64, wherever they begin there, and in hex."""
    plain = text.encode()
    found = {plain, plain.hex().encode(), plain.hex().upper().encode()}
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + plain)
        whole = coded[4 if shift else 0:len(coded) - 4]  # without the groups that depend on what is beside it
        if len(whole) >= 12:  # shorter ones would be found by chance
            found.add(whole)
    return found


def find(texts, *seen):
    """Those of the texts that are in what somebody has seen, in any of these spellings."""
    return {text for text in texts for spelling in spellings(text) if any(spelling in one for one in seen)}
