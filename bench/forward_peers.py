"""How each forwarder of HTTP requests is started, and the upstream that they all lead to: in plain, over verified TLS, and kept
alive. Each sets one header, which the upstream wants to see."""

import contextlib
import os
import pathlib
import subprocess
import sys

import peers
import rounds
from peers import Posternd, free_ports, installed

HERE = pathlib.Path(__file__).resolve().parent
KEPT = 64  # connections to the upstream: of nginx, without which it keeps none, and of posternd
HEADER = "authorization"


class Upstream:
    """The load tool as two servers, of which one speaks TLS, with a certificate of its own for `localhost`."""

    def __init__(self, directory):
        self.certificate = directory / "upstream.pem"
        self.plain_port, self.tls_port = free_ports(2)
        key = directory / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "7",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key,
                        "-out", self.certificate], check=True, capture_output=True)
        both = directory / "certificate-and-key.pem"
        both.write_bytes(self.certificate.read_bytes() + key.read_bytes())
        self.servers = []
        try:
            self.start("--listen", f"tcp://127.0.0.1:{self.plain_port}")
            self.start("--listen", f"tcp://127.0.0.1:{self.tls_port}", "--certificate", both)
        except BaseException:
            self.stop()
            raise

    def start(self, *options):
        server = subprocess.Popen([rounds.load_tool.program, "http-server", "--header", HEADER, "--seconds", "600", *options],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.servers.append(server)
        if not server.stdout.readline():
            raise rounds.Failed("the upstream did not start")

    def stop(self):
        for server in self.servers:
            server.stdin.close()  # which is what it waits for
            server.wait()
            server.stdout.close()
        self.servers = []


@contextlib.contextmanager
def upstream(directory):
    """Forwarder.upstream, for as long as the peers live."""
    Forwarder.upstream = Upstream(directory)
    try:
        yield
    finally:
        Forwarder.upstream.stop()


class Forwarder(peers.Peer):
    """One that accepts at `address` for the plain upstream, and at `tls_address` for the other."""

    upstream = None
    tests = ("empty", "small", "tls", "upload")

    def __init__(self, directory, kind):
        super().__init__(directory, kind)
        self.tls_port, = free_ports(1)
        self.tls_address = f"tcp://127.0.0.1:{self.tls_port}"


class PosterndForward(Forwarder):
    name = "posternd"
    tests = Forwarder.tests + ("spool",)
    program = staticmethod(Posternd.program)
    sync_us = 0  # that each of its syncs takes more than the disk's own

    def __init__(self, directory, kind):
        super().__init__(directory, kind)
        self.spool_port, = free_ports(1)
        self.spool_address = f"tcp://127.0.0.1:{self.spool_port}"
        self.spool_folder = self.directory / "spool"

    def command(self):
        metrics, = free_ports(1)
        headers = f'headers: {{set: {{{HEADER}: "Bearer secret"}}}}, max_idle: {KEPT}'
        plain = f"http://127.0.0.1:{self.upstream.plain_port}"
        configuration = self.directory / "postern.yaml"
        configuration.write_text(
            "version: 1\n"
            "workers: 1\n"
            "log: {level: error}\n"
            f'admin: {{listen: "unix://{self.directory}/admin.sock"}}\n'
            f'metrics: {{listen: "tcp://127.0.0.1:{metrics}"}}\n'
            f'spool: {{path: "{self.spool_folder}"}}\n'
            "listeners:\n"
            f'  plain: {{listen: "{self.address}", route: plain, allow: any}}\n'
            f'  tls: {{listen: "{self.tls_address}", route: tls, allow: any}}\n'
            f'  spool: {{listen: "{self.spool_address}", route: spool, allow: any}}\n'
            "routes:\n"
            f'  plain: {{type: forward, to: "{plain}", {headers}}}\n'
            f'  tls: {{type: forward, to: "https://localhost:{self.upstream.tls_port}", allow_private: true, {headers},\n'
            f'        tls: {{ca: "{self.upstream.certificate}"}}}}\n'
            f'  spool: {{type: forward, to: "{plain}", {headers}, delivery: spool}}\n')
        return [self.program(), "--config", configuration]

    def popen_options(self):
        if self.sync_us == 0:
            return {}
        preload = peers.BUILD / "bench" / "libbench_slow_sync.so"
        if not preload.exists():
            raise rounds.Failed(f"no {preload}: cmake --build {peers.BUILD} --target bench_slow_sync")
        return {"env": {**os.environ, "LD_PRELOAD": str(preload), "BENCH_SYNC_US": str(self.sync_us)}}

    def version(self):
        return peers.first_line([self.program(), "--version"])


class HAProxyForward(Forwarder):
    name = "haproxy"

    def command(self):
        program = installed("haproxy")
        configuration = self.directory / "haproxy.cfg"
        verified = f"ssl verify required ca-file {self.upstream.certificate} verifyhost localhost sni str(localhost)"
        set_header = f'  http-request set-header {HEADER} "Bearer secret"\n'
        configuration.write_text(
            f"global\n  nbthread 1\n  maxconn {peers.CONNECTIONS}\n"
            "defaults\n  mode http\n  http-reuse always\n"
            "  timeout connect 5s\n  timeout client 5m\n  timeout server 5m\n"
            f"listen plain\n  bind 127.0.0.1:{self.port}\n{set_header}  server up 127.0.0.1:{self.upstream.plain_port}\n"
            f"listen tls\n  bind 127.0.0.1:{self.tls_port}\n{set_header}  server up 127.0.0.1:{self.upstream.tls_port} {verified}\n")
        return [program, "-db", "-f", configuration]

    def version(self):
        return peers.first_line(["haproxy", "-v"])


class NginxForward(Forwarder):
    name = "nginx"
    TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

    def server(self, port, to, options=""):
        return (f"  server {{\n    listen 127.0.0.1:{port} backlog=4096;\n    location / {{\n"
                "      proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n"
                f"      proxy_set_header {HEADER} \"Bearer secret\";\n{options}      proxy_pass {to};\n    }}\n  }}\n")

    def command(self):
        program = installed("nginx")
        configuration = self.directory / "nginx.conf"
        user = "user root;\n" if os.geteuid() == 0 else ""  # the folder is root's then
        pools = "".join(
            f"  upstream {name} {{ server 127.0.0.1:{port}; keepalive {KEPT}; keepalive_requests 100000000; }}\n"
            for name, port in (("plain", self.upstream.plain_port), ("tls", self.upstream.tls_port)))
        verified = ("      proxy_ssl_verify on;\n      proxy_ssl_server_name on;\n      proxy_ssl_name localhost;\n"
                    f"      proxy_ssl_trusted_certificate {self.upstream.certificate};\n")
        configuration.write_text(
            f"{user}daemon off;\nworker_processes 1;\nworker_rlimit_nofile {2 * peers.CONNECTIONS + 500};\n"
            f"pid {self.directory}/pid;\nerror_log {self.directory}/error.log crit;\n"
            f"events {{ worker_connections {2 * peers.CONNECTIONS}; }}\n"
            "http {\n  access_log off;\n  keepalive_requests 100000000;\n  client_max_body_size 0;\n"
            "  proxy_request_buffering off;\n"  # else a long upload goes to the disk first
            + "".join(f"  {name}_temp_path {self.directory}/{name};\n" for name in self.TEMPORARY) + pools
            + self.server(self.port, "http://plain") + self.server(self.tls_port, "https://tls", verified) + "}\n")
        return [program, "-e", self.directory / "error.log", "-c", configuration]

    def version(self):
        return peers.first_line(["nginx", "-v"])


class Python(Forwarder):
    """bench/forwarder.py."""

    name = "python"
    tests = ("empty", "small")

    def command(self):
        return [sys.executable, HERE / "forwarder.py", str(self.port), str(self.upstream.plain_port)]

    def version(self):
        return f"{sys.implementation.name} {sys.version.split()[0]}"


ALL = (PosterndForward, HAProxyForward, NginxForward, Python)
