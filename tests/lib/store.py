"""A result store that takes requests over HTTP, and remembers each; and what sends to it by way of the daemon."""
import http.client
import http.server
import json
import socket
import threading

from postern import PATIENCE, free_port, stop_listening, wait_until


class Store:
    """On a loopback port. Every request goes to `answer(request)`, which returns a status, (status, {header: value}) or
    (status, {header: value}, body); requests are objects with key, method, path, headers, body."""

    class Request:
        def __init__(self, handler, body):
            self.method, self.path, self.headers, self.body = handler.command, handler.path, handler.headers, body
            self.key = handler.headers["Idempotency-Key"]

    def __init__(self, port=None, answer=lambda request: 200):
        self.port = port or free_port()
        self.answer = answer
        self.requests = []  # in the order of their ends
        self.server = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        store = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                if len(body) < length:  # cut off: nobody takes half a request for a whole
                    self.close_connection = True
                    return
                request = Store.Request(self, body)
                answer = store.answer(request)
                status, headers, told = (*answer, b"")[:3] if isinstance(answer, tuple) else (answer, {}, b"")
                store.requests.append(request)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(told)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(told)

            do_POST = do_PUT = do_GET = do_DELETE = handle_one

            def log_message(self, *arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, address):
                pass  # the daemon was killed, or cut it off

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self):
        if self.server is not None:
            stop_listening(self.server.socket)
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def keys(self):
        return {request.key for request in list(self.requests)}

    def wait(self, count, seconds=PATIENCE):
        """Until so many requests were answered."""
        wait_until(lambda: len(self.requests) >= count, seconds, f"{count} requests at the store")
        return list(self.requests)


def send(address, body=b"", method="POST", path="/results", headers=None, timeout=PATIENCE):
    """One request to a listener tcp://HOST:PORT: (status, headers, what the body's JSON says or None)."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
    try:
        connection.request(method, path, body, {"Connection": "close", **(headers or {})})
        response = connection.getresponse()
        text = response.read()
        kind = response.headers.get("Content-Type", "")
        return response.status, response.headers, json.loads(text) if "json" in kind else None
    finally:
        connection.close()


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
