#!/usr/bin/python3
"""The plainest forwarder there is, for bench/forward: Python's threaded HTTP server, and a connection to the upstream for each of its
threads, which is kept. `forwarder.py PORT UPSTREAM-PORT`, on 127.0.0.1."""

import http.client
import http.server
import sys
import threading


class Forwarder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer is one write
    upstream_port = 0
    own = threading.local()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not hasattr(self.own, "upstream"):
            self.own.upstream = http.client.HTTPConnection("127.0.0.1", self.upstream_port)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection", "authorization")}
        self.own.upstream.request("POST", self.path, body, headers | {"authorization": "Bearer secret"})
        answer = self.own.upstream.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


if __name__ == "__main__":
    Forwarder.upstream_port = int(sys.argv[2])
    Server(("127.0.0.1", int(sys.argv[1])), Forwarder).serve_forever()
