"""Real servers as the upstreams of forward routes, and what they saw; and clients that speak HTTP by hand.

A Store is Python's own http.server; Nginx stands in front of one. Answering, a peer of one's own with a script, is for what no server does.
"""
import contextlib
import http.server
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading

from postern import PATIENCE, Peer, free_port, stop_listening, wait_until


class Seen:
    """One request, as a server read it."""

    def __init__(self, method, path, headers, body):
        self.method, self.path, self.headers, self.body = method, path, headers, body

    def values(self, name):
        return [value for field, value in self.headers if field.lower() == name]

    def __repr__(self):
        return f"{self.method} {self.path} {len(self.body)} bytes {self.headers}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one piece
    timeout = PATIENCE

    def log_message(self, *_):
        pass

    def handle_expect_100(self):
        result = super().handle_expect_100()
        self.wfile.flush()
        return result

    def read_body(self):
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.read_exactly(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.read_exactly(size)
            self.read_exactly(2)
        while line := self.rfile.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            self.headers[name] = value.strip()
        return body

    def read_exactly(self, size):
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError("the request was cut off")
        return data

    def answer(self):
        try:
            seen = Seen(self.command, self.path, list(self.headers.items()), self.read_body())
        except (ConnectionError, ValueError):
            self.close_connection = True
            self.server.cut += 1
            return
        seen.headers = list(self.headers.items())
        self.server.seen.append(seen)
        status, headers, body = self.server.reply(seen)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(body)

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)


class Store(http.server.ThreadingHTTPServer):
    """Python's server at a free port of 127.0.0.1, or another `host`. `seen` is what it read, in its order; `reply(seen)` is
    (status, headers, body)."""
    daemon_threads = False  # they are waited for at the end
    request_queue_size = 128

    def __init__(self, reply=None, host="127.0.0.1", port=0, tls=None):
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)
        self.seen, self.cut = [], 0
        self.reply = reply or (lambda seen: (200, {"Content-Type": "text/plain"}, b"stored\n"))
        self.port = self.server_address[1]
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"
        self.connections = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def get_request(self):
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def handle_error(self, *_):
        pass  # a client that went away

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """With the connections that are open."""
        stop_listening(self.socket)
        self.shutdown()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
        for connection in self.connections:
            connection.close()


class Server:
    """A program that serves from a folder of its own, until the end of the `with`."""

    def __init__(self, command, files):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-"))
        self.folder.chmod(0o755)
        for name, text in files.items():
            (self.folder / name).write_text(text.replace("@FOLDER@", str(self.folder)))
        with open(self.folder / "output", "wb") as output:
            self.process = subprocess.Popen([part.replace("@FOLDER@", str(self.folder)) for part in command],
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def __enter__(self):
        wait_until(self.is_up, what=f"{self.process.args[0]} at its port")
        return self

    def is_up(self):
        assert self.process.poll() is None, (self.folder / "output").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Nginx(Server):
    """nginx in front of `store`, to which it hands on whole requests only; without one it answers by itself."""

    def __init__(self, store=None, extra=""):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        what = (f"proxy_pass http://127.0.0.1:{store.port}; proxy_http_version 1.1; proxy_set_header Host $http_host; "
                "proxy_set_header Connection '';" if store else "return 200 'hello from nginx';")
        super().__init__(["nginx", "-p", "@FOLDER@", "-c", "@FOLDER@/nginx.conf", "-e", "@FOLDER@/error.log"], {"nginx.conf": f"""
daemon off; master_process off; worker_processes 1; pid @FOLDER@/pid; error_log @FOLDER@/error.log;
events {{ worker_connections 256; }}
http {{
  access_log @FOLDER@/access.log; client_max_body_size 0; client_body_temp_path @FOLDER@/body; proxy_temp_path @FOLDER@/proxy;
  fastcgi_temp_path @FOLDER@/f; uwsgi_temp_path @FOLDER@/u; scgi_temp_path @FOLDER@/s;
  server {{ listen 127.0.0.1:{self.port}; {extra} location / {{ {what} }} }}
}}
"""})


class Haproxy(Server):
    """HAProxy in front of `store`."""

    def __init__(self, store):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(["haproxy", "-db", "-f", "@FOLDER@/haproxy.cfg"], {"haproxy.cfg": f"""
defaults
  mode http
  timeout connect 60s
  timeout client 600s
  timeout server 600s
frontend in
  bind 127.0.0.1:{self.port}
  default_backend out
backend out
  server store 127.0.0.1:{store.port}
"""})


class Answering(Peer):
    """Reads the head of each request (and of the body what came with it), then does what `script(connection, head)` does: it returns
    whether the connection goes on."""

    def __init__(self, script, **options):
        def serve(connection):
            # What a test has the daemon cut ends as it may.
            with contextlib.suppress(ConnectionError, BrokenPipeError):
                while (head := read_head(connection)) and script(connection, head):
                    pass
        super().__init__(serve, **options)
        self.url = f"http://127.0.0.1:{self.port}"


def read_head(connection):
    """A head, and what came of the body with it; fewer bytes at the connection's end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    return data


class Answer:
    """One answer off a connection: anything with recv(n)."""

    def __init__(self, connection, method="POST", rest=b""):
        while True:
            data = rest
            while b"\r\n\r\n" not in data:
                piece = connection.recv(65536)
                if not piece:
                    raise EOFError(f"the connection ended within a head: {data!r}")
                data += piece
            head, _, data = data.partition(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")
            self.status = int(line.split(" ")[1])
            self.headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
            if self.status >= 200:
                break
            rest = data
        self.keeps_open = self.headers.get("connection") != "close"
        self.body, self.rest = self._read_body(connection, data, method)

    def _read_body(self, connection, data, method):
        def need(condition):
            nonlocal data
            while not condition():
                piece = connection.recv(65536)
                if not piece:
                    raise EOFError(f"the connection ended within a body, after {len(data)} bytes")
                data += piece

        if method == "HEAD" or self.status in (204, 304):
            return b"", data
        if "content-length" in self.headers:
            length = int(self.headers["content-length"])
            need(lambda: len(data) >= length)
            return data[:length], data[length:]
        body = b""
        if self.headers.get("transfer-encoding") == "chunked":
            while True:
                need(lambda: b"\r\n" in data)
                line, _, data = data.partition(b"\r\n")
                size = int(line, 16)
                if size == 0:
                    need(lambda: data.startswith(b"\r\n") or b"\r\n\r\n" in data)
                    if data.startswith(b"\r\n"):
                        return body, data[2:]
                    self.trailers, _, data = data.partition(b"\r\n\r\n")
                    return body, data
                need(lambda: len(data) >= size + 2)
                body, data = body + data[:size], data[size + 2:]
        while piece := connection.recv(65536):
            data += piece
        return data, b""

    @property
    def code(self):
        """The word of a refusal."""
        assert self.headers["content-type"] == "application/problem+json", self.headers
        problem = json.loads(self.body)
        assert problem["status"] == self.status and problem["request_id"] == self.headers["x-request-id"]
        return problem["code"]


def request(method="GET", path="/results", headers=(), body=None, host="parent"):
    """The bytes of an honest request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def chunked(*pieces, trailers=b""):
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"
