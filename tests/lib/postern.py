"""The built programs from outside, and the peers that they talk to: what the system tests are made of.

The programs are those of the build directory in $POSTERN_BUILD, or build/.
"""
import contextlib
import http.client
import json
import os
import pathlib
import random
import re
import resource
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time

from sandbox import Sandboxed

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("POSTERN_BUILD", REPOSITORY / "build"))
PROGRAMS = BUILD / "bin"


def built(file):
    """A program that is built and not installed, such as bin/postern-sim; None if it is not there."""
    return next((path for path in (BUILD / file, REPOSITORY / "build" / file) if path.exists()), None)


# For what comes within milliseconds on a machine that has time. One that has none may need many of these seconds, and only a
# test that would fail anyway waits for them all. Nothing is told by how long something took.
PATIENCE = 240.0 if "POSTERN_IN_VM" in os.environ else 60.0

# Of a route: what is not to end a stream on such a machine.
PATIENT = {"connect_timeout": "10m", "hello_timeout": "10m"}

# What a sanitizer writes when it has found something.
FINDING = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:")


def end(one, what):
    """Ends what runs in one.process, unless one.stopped. Returns what was wrong, one.log() with it."""
    process, problems = one.process, []
    if not one.stopped and process.poll() is not None:
        problems.append(f"{what} ended by itself, with {process.returncode}:\n{one.log()}")
    elif process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)  # streams are still open: now at once
        try:
            code = process.wait(PATIENCE)
            if code not in (0, 1):
                problems.append(f"{what} ended with {code}:\n{one.log()}")
        except subprocess.TimeoutExpired:
            problems.append(f"{what} did not end:\n{one.log()}")
            process.kill()
            process.wait()
    if FINDING.search(one.log()):
        problems.append(f"a sanitizer found something:\n{one.log()}")
    return problems


def sanitizers():
    """The libraries of the sanitizers that the programs are built with: their memory is not the daemon's."""
    needed = subprocess.run(["ldd", PROGRAMS / "posternd"], check=True, text=True, capture_output=True).stdout
    return [line.split()[2] for line in needed.splitlines() if line.split()[0].startswith(("libasan", "libtsan"))]


def cached(option):
    """The value of a build option; None where there is no build directory, but what was installed."""
    cache = BUILD / "CMakeCache.txt"
    found = re.search(rf"(?m)^{option}:\w+=(.*)$", cache.read_text()) if cache.exists() else None
    return found and found[1]


def wait_until(condition, seconds=PATIENCE, what="the condition"):
    """Returns what the condition returns, once that is true. Fails when the time has passed."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {seconds} seconds")
        time.sleep(0.01)
    return result


def free_port(host="127.0.0.1"):
    """A port that nobody holds, and that the kernel will give to nobody: it is below those it chooses from for the
    outgoing connections of other tests."""
    for port in random.SystemRandom().sample(range(10000, 32000), 1000):
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.bind((host, port))
            return port
    raise AssertionError("no port is free")


def connect(address, timeout=PATIENCE):
    """A connected socket. The address is written as in the configuration."""
    if address.startswith("unix://"):
        family, target = socket.AF_UNIX, address.removeprefix("unix://")
    elif address.startswith("tcp://"):
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        family, target = (socket.AF_INET6 if "[" in host else socket.AF_INET), (host.strip("[]"), int(port))
    elif address.startswith("vsock://"):
        cid, _, port = address.removeprefix("vsock://").partition(":")
        family, target = socket.AF_VSOCK, (1 if cid == "local" else int(cid), int(port))
    else:
        raise ValueError(address)
    one = socket.socket(family, socket.SOCK_STREAM)
    one.settimeout(timeout)
    try:
        one.connect(target)
    except BaseException:
        one.close()
        raise
    return one


def listen(address, backlog=1024):
    """A listening socket, and its address with the port that it was given for 0."""
    if address.startswith("unix://"):
        one, at = socket.socket(socket.AF_UNIX), address.removeprefix("unix://")
    elif address.startswith("tcp://"):
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        one, at = socket.socket(socket.AF_INET6 if "[" in host else socket.AF_INET), (host.strip("[]"), int(port))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    elif address.startswith("vsock://"):
        one, at = socket.socket(socket.AF_VSOCK), (socket.VMADDR_CID_ANY, int(address.rpartition(":")[2]))
    else:
        raise ValueError(address)
    one.bind(at)
    if address.startswith("unix://"):
        os.chmod(at, 0o777)  # the daemon may run as a user of its own
    one.listen(backlog)
    if address.startswith("tcp://"):
        address = f"tcp://{host}:{one.getsockname()[1]}"
    return one, address


def stop_listening(one):
    """Wakes whoever waits for a connection there, with an error, at once. On vsock nothing from outside does."""
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def blackhole(host="127.0.0.1"):
    """The port of a destination that never answers: its backlog is full, so that connecting is not refused either."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as server, socket.socket(family) as first:
        server.bind((host, 0))
        server.listen(0)  # there is room for one
        first.connect(server.getsockname()[:2])
        select.select([server], [], [])  # and it is taken: whoever comes now is not heard
        yield server.getsockname()[1]


def abort(connection):
    """Closes it with a reset, where the transport has such a thing."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def receive(connection, length):
    """That many bytes, fewer only if the other side ends. (MSG_WAITALL does not wait on a socket with a timeout.)"""
    data = b""
    while len(data) < length and (piece := connection.recv(length - len(data))):
        data += piece
    return data


def read_all(connection):
    """Everything up to the other side's end."""
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


class Acceptor:
    """Listens at `address`. What _take() makes of a connection, in the order in which they come, is given to _serve() in a thread of
    its own. A subclass that has anything to set up does so before this begins."""

    def __init__(self, address):
        self.socket, self.address = listen(address)
        # accept() looks up now and then: on vsock nothing from outside wakes it, and it holds the port.
        self.socket.settimeout(0.05)
        self.closing = False
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def _take(self, connection):
        return connection

    def _serve(self, taken):
        raise NotImplementedError

    def _accept(self):
        while not self.closing:
            try:
                connection, _ = self.socket.accept()
            except TimeoutError:
                continue
            except OSError:
                if self.closing:
                    return
                raise
            thread = threading.Thread(target=self._serve, args=(self._take(connection),), daemon=True)
            self.threads.append(thread)
            thread.start()

    def stop_accepting(self):
        self.closing = True
        stop_listening(self.socket)
        self.threads[0].join()
        self.socket.close()

    def join(self, seconds):
        """Waits for each thread, not longer than that."""
        for thread in self.threads[1:]:
            thread.join(seconds)


class Peer(Acceptor):
    """A server on a loopback port, or on the `address` given: handler(connection) runs in a thread for each
    connection, which is closed after it. An exception in the handler is a problem, told by close()."""

    def __init__(self, handler, address=None, tls=None):
        self.handler = handler
        self.tls = tls
        self.problems = []
        self.served = 0
        super().__init__(address or "tcp://127.0.0.1:0")
        self.port = None if self.address.startswith("unix:") else self.socket.getsockname()[1]

    def _take(self, connection):
        self.served += 1
        return connection

    def _serve(self, connection):
        with connection:
            try:
                if self.tls is not None:
                    with self.tls.wrap_socket(connection, server_side=True) as secure:
                        self.handler(secure)
                else:
                    self.handler(connection)
            except Exception as problem:  # told by close(), in the test's own thread
                if not self.closing:
                    self.problems.append(f"{type(problem).__name__} in a peer: {problem}")

    def close(self):
        self.stop_accepting()
        self.join(0.5)
        return self.problems


def echo(connection):
    """Sends everything back, then ends."""
    while piece := connection.recv(65536):
        connection.sendall(piece)


def echo_until_cut(connection):
    """The same, for a stream that is going to be reset."""
    with contextlib.suppress(ConnectionError):
        echo(connection)


def reply_after_end(connection):
    """Reads to the other side's end, and only then replies: what a half-close is for."""
    connection.sendall(b"got %d bytes" % len(read_all(connection)))


def http_ok(connection):
    """One request of HTTP, one answer."""
    request = b""
    while b"\r\n\r\n" not in request:
        piece = connection.recv(65536)
        if not piece:
            return
        request += piece
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")


class Authority:
    """A certificate authority made for the test run."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "authority.pem"
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                      "-keyout", folder / "authority.key", "-out", self.file, "-subj", "/CN=Test authority", "-days", "2")

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

    def certify(self, name):
        """The files with a certificate for the name, and with its key."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        if not certificate.exists():
            request, extension = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
            extension.write_text(f"subjectAltName=DNS:{name}\n")
            self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                          "-out", request, "-subj", f"/CN={name}")
            self._openssl("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.folder / "authority.key",
                          "-CAcreateserial", "-out", certificate, "-days", "2", "-extfile", extension)
        return certificate, key

    def server_context(self, name):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certify(name))
        return context

    def client_context(self):
        return ssl.create_default_context(cafile=self.file)


class _UnixHTTP(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self):
        self.sock = connect(f"unix://{self.path}")


class Daemon:
    """posternd with a configuration of its own, its sockets in a folder of its own."""

    def __init__(self, config=None, text=None, program="posternd", arguments=None, environment=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-"))
        self.admin = self.folder / "admin.sock"
        self.config_file = self.folder / "postern.yaml"
        self.log_file = self.folder / "log"
        self.log_file.touch()
        self.program = PROGRAMS / program
        self.arguments = arguments
        self.environment = environment or {}
        self.process = None
        self.stopped = False
        self._events, self._parsed, self._parsing = [], 0, threading.Lock()
        self.notified = []
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(self.folder / "notify"))
        threading.Thread(target=self._read_notifications, daemon=True).start()
        if text is not None:
            self.config_file.write_text(text)
        else:
            self.write_config(config or {})

    def write_config(self, config):
        """JSON is YAML. The admin socket is always in the folder, and no metrics port is taken unless asked for."""
        whole = {"version": 1, "workers": 2, "log": {"level": "debug", "format": "json"},
                 "admin": {"listen": f"unix://{self.admin}"}, "metrics": {"listen": "none"}, **config}
        self.config_file.write_text(json.dumps(whole, indent=1))

    def socket_path(self, name):
        """A unix address in the folder, for a listener."""
        return f"unix://{self.folder / name}"

    def spawn(self, hand_over=(), wrapper=()):
        """Starts the program, with the sockets to hand over as systemd does (LISTEN_FDNAMES is the caller's to set)."""
        command = [*wrapper, self.program, *(self.arguments or ["--config", str(self.config_file)])]
        environment = {"NOTIFY_SOCKET": str(self.folder / "notify"), **self.environment}
        if hand_over:
            # The process is told its own number, and finds the sockets from 3 on.
            sockets = " ".join(f"{3 + index}<&{one.fileno()}" for index, one in enumerate(hand_over))
            environment |= {"LISTEN_FDS": str(len(hand_over))}
            preload = environment.pop("LD_PRELOAD", "")
            command = ["bash", "-c", f'LISTEN_PID=$$ LD_PRELOAD="{preload}" exec "$@" {sockets}', "bash", *command]
        # vsock-proxy has a unit of its own, and what is wrapped, preloaded or handed over stays as the test has it.
        plain = not (self.arguments or wrapper or hand_over or "LD_PRELOAD" in environment)
        self.notified.clear()
        with open(self.log_file, "ab") as log:
            if plain and "POSTERN_UNIT" in os.environ:
                self.process = Sandboxed(os.environ["POSTERN_UNIT"], command, self.folder, log, environment)
            else:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **environment},
                    pass_fds=[one.fileno() for one in hand_over])
        self.stopped = False
        return self

    def start(self, **options):
        self.spawn(**options)
        self.wait_notified("READY=1")
        return self

    def _read_notifications(self):
        """All the time, as a service manager does: one that does not read makes the daemon wait."""
        with contextlib.suppress(OSError):
            while message := self.notify.recv(4096):
                self.notified.append(message.decode().splitlines())

    def wait_notified(self, line, seconds=PATIENCE):
        """Until the daemon has told the service manager this line."""
        end = time.monotonic() + seconds
        while not any(line in message for message in self.notified):
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the daemon did not say {line} (exit: {self.process.poll()}):\n{self.log()}")
            time.sleep(0.005)

    def log(self):
        return self.log_file.read_text(errors="replace")

    def events(self, **fields):
        """The log's lines as objects, those with these fields. From any thread."""
        with self._parsing, open(self.log_file, "rb") as log:
            log.seek(self._parsed)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._parsed += len(line)
                if line.startswith(b"{"):
                    self._events.append(json.loads(line))
            return [event for event in self._events if all(event.get(key) == value for key, value in fields.items())]

    def wait_event(self, seconds=PATIENCE, **fields):
        """The first line of the log with these fields."""
        return wait_until(lambda: self.events(**fields), seconds, f"a log line with {fields} in {self.log_file}")[0]

    def wait_ended(self, reason, count=1, route="out", seconds=PATIENCE):
        """Until so many streams of the route have ended for the reason, by the log's lines, which it returns, and by the metric.
        The gauges may still count the last of them: see wait_quiet()."""
        def find():
            return [event for event in self.events(reason=reason, route=route)
                    if event["event"] in ("stream ended", "stream refused")]
        wait_until(lambda: len(find()) >= count, seconds, f"{count} x {reason} in the log")
        series = f'postern_streams_ended_total{{route="{route}",reason="{reason}"}}'
        wait_until(lambda: self.metrics()[series] >= count, seconds, f"{count} x {reason} in the metrics")
        assert self.metrics()[series] == len(find()) == count, self.log()
        return find()

    def wait_quiet(self, seconds=PATIENCE):
        """Until no stream and no session is open any more, by every gauge there is. A connection that the daemon has not accepted yet
        is in none of them."""
        gauges = ("postern_streams_active{", "postern_enclave_streams_active{", "postern_daemon_streams_active",
                  "postern_worker_streams_active{", "postern_sessions_active", "postern_enclave_sessions_active{",
                  "postern_worker_sessions_active{")
        wait_until(lambda: not any(value for name, value in self.metrics().items() if name.startswith(gauges)), seconds,
                   "the end of all streams and sessions")

    def request(self, method, path):
        """(status, body) of one request on the admin socket."""
        connection = _UnixHTTP(self.admin)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def status(self):
        code, body = self.request("GET", "/status")
        assert code == 200, body
        return json.loads(body)

    def metrics(self):
        """{'name{label="value"}': number}"""
        code, body = self.request("GET", "/metrics")
        assert code == 200, body
        lines = [line.rpartition(" ") for line in body.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    def wait_idle(self):
        """Until the main thread has nothing to do: what it did before is done, and nobody is on the admin socket."""
        def connections():
            with open("/proc/net/unix") as table:
                return sum(line.rstrip().endswith(f" {self.admin}") for line in table) - 1  # one listens
        self.status()
        wait_until(lambda: connections() == 0, what="the end of all connections to the admin socket")

    def descriptors(self):
        """The numbers of those it has open."""
        return {int(fd) for fd in os.listdir(f"/proc/{self.process.pid}/fd")}

    def leave_descriptors(self, count):
        """From now on it may open so many more. The kernel bounds their numbers, and gives the lowest that is free."""
        taken = self.descriptors()
        free = [number for number in range(len(taken) + count + 1) if number not in taken]
        hard = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (free[count], hard))

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def ctl(self, *arguments, check=True):
        run = subprocess.run([PROGRAMS / "posternctl", "--socket", f"unix://{self.admin}", *arguments], text=True,
                             capture_output=True, timeout=PATIENCE)
        assert not check or run.returncode == 0, run.stdout + run.stderr
        return run

    def stop(self):
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self):
        """The exit code of one that ends by itself, or was told to."""
        self.stopped = True
        return self.process.wait(PATIENCE)

    def kill(self):
        self.process.kill()
        self.stopped = True
        return self.process.wait()

    def finish(self):
        """Ends it and takes the folder away. Returns what was wrong."""
        problems = end(self, "the daemon") if self.process is not None else []
        with contextlib.suppress(OSError):
            self.notify.shutdown(socket.SHUT_RDWR)  # which ends the thread that reads
        self.notify.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return problems
