#!/usr/bin/python3
"""The plainest forwarder there is, for bench/forward: Python's threaded HTTP server, and urllib, which makes a connection for each
request. `forwarder.py PORT UPSTREAM-PORT`, on 127.0.0.1."""

import http.server
import sys
import urllib.request

NOT_PASSED = ("host", "connection", "authorization", "content-length")


class Forwarder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one write
    upstream = ""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_PASSED}
        request = urllib.request.Request(self.upstream + self.path, body, headers | {"authorization": "Bearer secret"})
        with urllib.request.urlopen(request) as answer:
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
    urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({})))
    Forwarder.upstream = f"http://127.0.0.1:{sys.argv[2]}"
    Server(("127.0.0.1", int(sys.argv[1])), Forwarder).serve_forever()
