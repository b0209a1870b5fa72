"""How each carrier of many streams is started, and how its load is made: the daemon by session and raw, yamux, HTTP/2."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess

import peers
import rounds
from peers import Absent, first_line, free_ports, installed

HERE = pathlib.Path(__file__).resolve().parent
# What a session may carry at once: the more, the smaller is the first window of each stream.
STREAMS = {"unix": 12000, "tcp": 12000, "vsock": 1000}


class Raw(peers.Posternd):
    """A connection for each stream: what the session is compared to."""

    name = "raw"

    def bulk(self, streams, size, seconds):
        return rounds.run_load("bulk", self, "--streams", streams, "--bytes", size, "--seconds", seconds)

    def short(self, seconds):
        return rounds.run_load("short", self, "--count", self.short_count, "--at-once", 32, "--seconds", seconds)

    def idle_command(self, count):
        return [rounds.load_tool.program, "idle", "--connect", self.address, "--listen", self.target, "--count", count,
                "--seconds", rounds.RUN_SECONDS]


class Session(peers.Posternd):
    name = "session"
    idle_count = 10000
    echo_count = 5000

    def __init__(self, directory, kind):
        super().__init__(directory, kind)
        if kind == "vsock":
            self.echo_count = 500
        self.beside = self.place(self.kind, "beside", free_ports(1)[0])

    def command(self):
        metrics, = free_ports(1)
        streams = STREAMS[self.kind]
        listen = self.address.replace("local", "any") if self.kind == "vsock" else self.address
        caller = "" if self.kind == "vsock" else ", peer: bench"
        cid = "local" if self.kind == "vsock" else "16"
        configuration = self.directory / "postern.yaml"
        configuration.write_text(
            "version: 1\n"
            "workers: 1\n"
            "log: {level: error}\n"
            f'admin: {{listen: "unix://{self.directory}/admin.sock"}}\n'
            f'metrics: {{listen: "tcp://127.0.0.1:{metrics}"}}\n'
            f"limits: {{max_streams: {streams}}}\n"
            "sessions: {budget: 32MiB}\n"
            f"enclaves: {{bench: {{cid: {cid}, max_streams: {streams}}}}}\n"
            "listeners:\n"
            f'  bench: {{listen: "{listen}", protocol: framed{caller}, allow: {{bench: [sink, beside]}}}}\n'
            "routes:\n"
            f'  sink: {{type: relay, to: "{self.target}", max_streams: {streams}}}\n'
            f'  beside: {{type: relay, to: "{self.beside}"}}\n')
        return [self.program(), "--config", configuration]

    def bulk(self, streams, size, seconds):
        return rounds.run_load("session-bulk", self, "--route", "sink", "--streams", streams, "--bytes", size,
                               "--seconds", seconds)

    def short(self, seconds):
        return rounds.run_load("session-short", self, "--route", "sink", "--count", self.short_count, "--at-once", 32,
                               "--seconds", seconds)

    def echo(self, *options):
        return rounds.run_load("session-echo", self, "--route", "sink", "--beside", "beside", "--beside-listen", self.beside,
                               "--count", self.echo_count, *options)

    def idle_command(self, count):
        return [rounds.load_tool.program, "session-idle", "--connect", self.address, "--listen", self.target, "--route", "sink",
                "--count", count, "--carry", 4096, "--seconds", rounds.RUN_SECONDS]


class Yamux(peers.Peer):
    """Go's yamux in the daemon's place and in the client's: bench/yamux."""

    name = "yamux"

    def program(self):
        go = shutil.which("go", path=os.environ.get("PATH", "") + ":/usr/local/go/bin")
        if go is None:
            raise Absent("Go is not installed")
        program = self.directory / "yamux"
        if not program.exists():
            try:
                done = subprocess.run([go, "build", "-o", program, "."], cwd=HERE / "yamux", capture_output=True, text=True,
                                      check=False, timeout=180)
            except subprocess.TimeoutExpired as late:
                raise Absent("go build took too long") from late
            if done.returncode != 0:
                raise Absent(f"go build: {done.stderr.strip().splitlines()[-1]}")
        return program

    def command(self):
        return [self.program(), "relay", self.address, self.target]

    def version(self):
        with open(HERE / "yamux" / "go.mod", encoding="utf-8") as file:
            return next(line.strip() for line in file if "yamux v" in line).removeprefix("require ")

    def popen_options(self):
        return {"env": {**os.environ, "GOMAXPROCS": "1"}}  # one thread, as all of them

    def bulk(self, streams, size, seconds):
        with server("sink", self.target, "--streams", streams, "--seconds", seconds) as sink:
            rounds.run_tool(self.directory / "yamux", "bulk", self.address, streams, size, seconds)
            line = sink.stdout.readline()
        found = json.loads(line)
        return {"received": found["received"], "bytes_per_second": found["received"] / found["busy_seconds"]}

    def short(self, seconds):
        with server("echo", self.target):
            return rounds.run_tool(self.directory / "yamux", "short", self.address, self.short_count, 32, seconds)


class Http2(peers.Peer):
    """nghttpx, which takes HTTP/2 apart into requests to an nginx, and h2load. Bytes go the other way, from the server."""

    name = "nghttpx"

    def __init__(self, directory, kind):
        if kind != "tcp":
            raise Absent("is measured over tcp")
        super().__init__(directory, kind)
        self.backend = None

    def command(self):
        program = installed("nghttpx")
        installed("h2load")
        self.start_backend()
        return [program, "--conf=/dev/null", "--workers=1", "--no-server-rewrite", f"--frontend=127.0.0.1,{self.port};no-tls",
                f"--backend=127.0.0.1,{self.target_port};;proto=http/1.1", "--frontend-http2-window-size=16M",
                "--frontend-http2-connection-window-size=16M"]

    def start_backend(self):
        program = installed("nginx")
        with open(self.directory / "small", "wb") as file:
            file.write(bytes(64))
        with open(self.directory / "large", "wb") as file:
            file.truncate(1 << 30)
        configuration = self.directory / "nginx.conf"
        configuration.write_text(
            f"user root;\ndaemon off;\nworker_processes 1;\npid {self.directory}/pid;\nerror_log {self.directory}/error.log crit;\n"
            "events { worker_connections 4000; }\n"
            f"http {{ access_log off; sendfile on; keepalive_requests 1000000; server {{ listen 127.0.0.1:{self.target_port}; "
            f"root {self.directory}; }} }}\n")
        self.backend = subprocess.Popen([program, "-e", self.directory / "error.log", "-c", configuration],
                                        stdin=subprocess.DEVNULL, start_new_session=True)

    def stop(self):
        super().stop()
        if self.backend is not None:
            self.backend.terminate()
            self.backend.wait()
            self.backend = None

    def load(self, name, count, at_once):
        done = subprocess.run(["h2load", "-n", str(count), "-c", "1", "-m", str(at_once), "-w", "24", "-W", "24",
                               f"http://127.0.0.1:{self.port}/{name}"], capture_output=True, text=True, check=False,
                              timeout=rounds.RUN_SECONDS)
        finished = re.search(r"finished in ([0-9.]+)(m?s), ([0-9.]+) req/s", done.stdout)
        good = re.search(r"(\d+) succeeded", done.stdout)
        data = re.search(r"\((\d+)\) data", done.stdout)
        if not finished or not good or not data or int(good[1]) != count:
            raise rounds.Failed(f"h2load: {done.stdout.strip() or done.stderr.strip()}")
        seconds = float(finished[1]) / (1000 if finished[2] == "ms" else 1)
        return {"received": int(data[1]), "bytes_per_second": int(data[1]) / seconds, "per_second": float(finished[3]),
                "connections": count}

    def bulk(self, streams, size, _seconds):
        with open(self.directory / "large", "r+b") as file:
            file.truncate(min(size, 2 * 10**9) // streams)
        return self.load("large", streams, streams)

    def short(self, _seconds):
        return self.load("small", self.short_count, 32)

    def version(self):
        return first_line(["nghttpx", "--version"])


@contextlib.contextmanager
def server(mode, listen, *options):
    """The load tool as a server alone."""
    command = [rounds.load_tool.program, mode, "--listen", listen, *(str(option) for option in options)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tool:
        if not tool.stdout.readline():
            raise rounds.Failed(f"{mode}: the server did not start")
        yield tool
        tool.stdin.close()


ALL = (Raw, Session, Yamux, Http2)
