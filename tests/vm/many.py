"""Many connections at once, from one thread.

many.py serve                   an echo server on a loopback port, whose address it prints
many.py connect ADDRESS COUNT   opens COUNT connections to a vsock address, has a byte echoed on each, closes them
"""
import resource
import selectors
import socket
import sys
import time


def serve():
    server = socket.create_server(("127.0.0.1", 0), backlog=4096)
    server.setblocking(False)
    print(f"tcp://127.0.0.1:{server.getsockname()[1]}", flush=True)
    waiting = selectors.EpollSelector()
    waiting.register(server, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is server:
                try:
                    while True:
                        connection, _ = server.accept()
                        connection.setblocking(False)
                        waiting.register(connection, selectors.EVENT_READ)
                except BlockingIOError:
                    continue
            else:
                try:
                    data = key.fileobj.recv(4096)
                except OSError:
                    data = b""
                if data:
                    key.fileobj.send(data)
                else:
                    waiting.unregister(key.fileobj)
                    key.fileobj.close()


def open_all(port, count):
    """One after another: the kernel's queue of a listener is short, and a full one refuses at once."""
    connections = []
    while len(connections) < count:
        one = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        for _ in range(6000):
            try:
                one.connect((1, port))
                break
            except ConnectionResetError:
                time.sleep(0.01)
        else:
            raise SystemExit(f"connection {len(connections)} was refused for a minute")
        connections.append(one)
    return connections


def run(address, count):
    start = time.monotonic()
    connections = open_all(int(address.rpartition(":")[2]), count)
    opened = time.monotonic()
    for one in connections:
        one.sendall(b"?")
    for one in connections:
        one.settimeout(240)
        if one.recv(10) != b"?":
            raise SystemExit("a connection did not echo")
    echoed = time.monotonic()
    for one in connections:
        one.close()
    print(f"opened in {opened - start:.1f} s, echoed in {echoed - opened:.1f} s")


_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
if sys.argv[1] == "serve":
    serve()
else:
    run(sys.argv[2], int(sys.argv[3]))
