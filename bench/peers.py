"""How each relay is started: one worker, the destination, and nothing tuned but what bears the load at all."""

import fcntl
import os
import pathlib
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import time

BUILD = pathlib.Path(os.environ.get("POSTERN_BUILD", pathlib.Path(__file__).resolve().parent.parent / "build"))
ANY_CID = tuple(build / "bench" / "libbench_any_cid.so"
                for build in (BUILD, pathlib.Path(__file__).resolve().parent.parent / "build"))
PARENT_CID = 3
SOCKET_PROXYD = ("/lib/systemd/systemd-socket-proxyd", "/usr/lib/systemd/systemd-socket-proxyd")
CONNECTIONS = 4000  # what each is told it may carry, where it wants to be told


class Absent(Exception):
    """The peer is not on this machine, or not able to do what is asked."""


class Peer:
    """A relay from `address` to `target`, running. Both are the load tool's addresses."""

    name = ""
    # A process a connection makes thousands of idle ones a test of the machine.
    idle_count = 2000
    short_count = 10000
    vsock = False  # whether it can relay AF_VSOCK, to AF_VSOCK or to TCP

    def __init__(self, directory, kind="tcp"):
        kind, _, target_kind = kind.partition("-")
        if kind == "vsock" and not self.vsock:
            raise Absent("does not speak vsock")
        self.directory = pathlib.Path(directory, self.name)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.kind, self.target_kind = kind, target_kind or kind
        if kind == "vsock":  # in an emulated machine, where all takes many times as long
            self.idle_count = min(self.idle_count, 500)
            self.short_count = min(self.short_count, 1000)
        self.port, self.target_port = free_ports(2)
        self.address = self.place(self.kind, "in", self.port)
        self.target = self.place(self.target_kind, "target", self.target_port)
        self.process = None

    def place(self, kind, name, port):
        if kind == "unix":
            return f"unix://{self.directory}/{name}"
        return f"{kind}://{dict(tcp='127.0.0.1', vsock='local')[kind]}:{port}"

    def command(self):
        raise NotImplementedError

    def version(self):
        return ""

    def start(self):
        if self.kind == "unix":  # not every peer takes its socket away when it is stopped, or can bind where one lies
            pathlib.Path(self.address.removeprefix("unix://")).unlink(missing_ok=True)
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.directory, start_new_session=True, **self.popen_options())
        self.wait()

    def popen_options(self):
        return {}

    def wait(self):
        """Until it accepts. The destination does not exist yet, which must not matter to it."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if accepts(self.address):
                time.sleep(0.2)
                return
            time.sleep(0.05)
        self.stop()
        tail = (self.directory / "log").read_text(errors="replace")[-500:]
        raise Absent(f"did not start: {tail.strip() or 'no word of why'}")

    def stop(self):
        """Ends it and its children: the process group that start() made for it."""
        if self.process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, sign)
            except ProcessLookupError:
                break
            try:
                self.process.wait(timeout=2)
                if sign == signal.SIGKILL or not processes(self.process.pid):
                    break
            except subprocess.TimeoutExpired:
                continue
        self.process = None

    def pids(self):
        return processes(self.process.pid) if self.process is not None else []


class Posternd(Peer):
    name = "posternd"
    vsock = True

    @staticmethod
    def program():
        for program in (BUILD / "bin" / "posternd", BUILD / "sbin" / "posternd"):
            if program.exists():
                return program
        raise Absent("not built: cmake --build build")

    def command(self):
        program = self.program()
        metrics, = free_ports(1)
        listen = f"vsock://any:{self.port}" if self.kind == "vsock" else self.address
        configuration = self.directory / "postern.yaml"
        configuration.write_text(
            "version: 1\n"
            "workers: 1\n"
            "log: {level: warn}\n"
            f'admin: {{listen: "unix://{self.directory}/admin.sock"}}\n'
            f'metrics: {{listen: "tcp://127.0.0.1:{metrics}"}}\n'
            "listeners:\n"
            f'  bench: {{listen: "{listen}", protocol: raw, route: sink, allow: any}}\n'
            "routes:\n"
            f'  sink: {{type: relay, to: "{self.target}", max_streams: {CONNECTIONS}}}\n')
        return [program, "--config", configuration]

    def version(self):
        return first_line([self.program(), "--version"])


class HAProxy(Peer):
    name = "haproxy"

    def command(self):
        program = installed("haproxy")
        configuration = self.directory / "haproxy.cfg"
        configuration.write_text(
            f"global\n  nbthread 1\n  maxconn {CONNECTIONS}\n"
            "defaults\n  mode tcp\n  option splice-auto\n"
            "  timeout connect 5s\n  timeout client 5m\n  timeout server 5m\n"
            f"listen bench\n  bind 127.0.0.1:{self.port}\n  server sink 127.0.0.1:{self.target_port}\n")
        return [program, "-db", "-f", configuration]

    def version(self):
        return first_line(["haproxy", "-v"])


class Nginx(Peer):
    name = "nginx"
    MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"

    def command(self):
        program = installed("nginx")
        build = subprocess.run([program, "-V"], capture_output=True, text=True, check=False).stderr
        dynamic = os.path.exists(self.MODULE)
        if not dynamic and ("--with-stream" not in build or "--with-stream=dynamic" in build):
            raise Absent("its stream module is not installed")
        configuration = self.directory / "nginx.conf"
        configuration.write_text(
            (f"load_module {self.MODULE};\n" if dynamic else "")
            + f"daemon off;\nworker_processes 1;\nworker_rlimit_nofile {2 * CONNECTIONS + 500};\n"
            f"pid {self.directory}/pid;\nerror_log {self.directory}/error.log crit;\n"
            f"events {{ worker_connections {2 * CONNECTIONS}; }}\n"
            "stream {\n  server {\n"
            f"    listen 127.0.0.1:{self.port} backlog=4096;\n    proxy_pass 127.0.0.1:{self.target_port};\n"
            "  }\n}\n")
        return [program, "-e", self.directory / "error.log", "-c", configuration]

    def version(self):
        return first_line(["nginx", "-v"])


class Socat(Peer):
    name = "socat"
    idle_count = 100
    short_count = 1000
    vsock = True

    def command(self):
        listen = {"tcp": f"TCP-LISTEN:{self.port},bind=127.0.0.1,fork,reuseaddr,backlog=1024",
                  "vsock": f"VSOCK-LISTEN:{self.port},fork,backlog=1024"}
        to = {"tcp": f"TCP:127.0.0.1:{self.target_port}", "vsock": f"VSOCK-CONNECT:1:{self.target_port}"}
        return [installed("socat"), listen[self.kind], to[self.target_kind]]

    def version(self):
        lines = subprocess.run(["socat", "-V"], capture_output=True, text=True, check=False).stdout.split("\n")
        return next((line for line in lines if line.startswith("socat version")), "")


class SocketProxyd(Peer):
    """systemd-socket-proxyd, handed its listening socket as systemd would."""

    name = "socket-proxyd"

    def command(self):
        program = next((path for path in SOCKET_PROXYD if os.path.exists(path)), None)
        if program is None:
            raise Absent("not installed")
        return ["/bin/sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh", program,
                f"--connections-max={CONNECTIONS}", f"127.0.0.1:{self.target_port}"]

    def popen_options(self):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(4096)
        self.listener = listener  # kept open until the child has it
        return {"preexec_fn": lambda: os.dup2(listener.fileno(), 3), "pass_fds": (3,)}

    def start(self):
        super().start()
        self.listener.close()

    def version(self):
        return first_line(["systemctl", "--version"])


class AwsVsockProxy(Peer):
    """AWS's vsock-proxy: the command in $AWS_VSOCK_PROXY, or one of that name which is not a part of Postern. It listens at CID 3;
    on a machine of another CID bench_any_cid is loaded into it, so that it listens at any."""

    name = "aws-vsock-proxy"
    vsock = True
    idle_count = 400  # it waits by select(), which knows descriptors below 1024
    THREADS = 450  # one a connection; more have to wait

    def __init__(self, directory, kind="tcp"):
        if kind != "vsock-tcp":
            raise Absent("relays vsock to TCP only")
        super().__init__(directory, kind)
        self.preload = None
        if local_cid() == PARENT_CID:
            self.address = f"vsock://{PARENT_CID}:{self.port}"
            return
        self.preload = next((path for path in ANY_CID if path.exists()), None)
        if self.preload is None:
            raise Absent(f"listens at CID {PARENT_CID}, which this machine is not: cmake --build build --target bench_any_cid")

    @staticmethod
    def program():
        command = shlex.split(os.environ.get("AWS_VSOCK_PROXY", "")) or [installed("vsock-proxy")]
        if not first_line([*command, "--version"]).startswith("Vsock-TCP proxy"):
            raise Absent("not installed (AWS_VSOCK_PROXY may say where it is)")
        return command

    def command(self):
        allowlist = self.directory / "allowlist.yaml"
        allowlist.write_text(f"allowlist:\n- {{address: 127.0.0.1, port: {self.target_port}}}\n")
        return [*self.program(), "--config", allowlist, "-w", str(self.THREADS), str(self.port), "127.0.0.1",
                str(self.target_port)]

    def popen_options(self):
        return {"env": {**os.environ, "LD_PRELOAD": str(self.preload)}} if self.preload else {}

    def version(self):
        return first_line([*self.program(), "--version"])


ALL = (Posternd, HAProxy, Nginx, Socat, SocketProxyd, AwsVsockProxy)


def local_cid():
    """The machine's, or None where there is no vsock."""
    try:
        with open("/dev/vsock", "rb") as device:
            number = fcntl.ioctl(device, 0x7B9, bytes(4))  # IOCTL_VM_SOCKETS_GET_LOCAL_CID
    except OSError:
        return None
    return struct.unpack("I", number)[0]


def installed(program):
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise Absent("not installed")
    return path


def first_line(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin"})
    except OSError:
        return ""
    return (done.stdout or done.stderr).split("\n")[0].strip()


def free_ports(count):
    """Ports that nothing listens on, below the range that outgoing connections are given."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        ceiling = int(file.read().split()[0])
    found = []
    candidate = 20000 + os.getpid() % 5000 + free_ports.used
    while len(found) < count:
        candidate += 1
        free_ports.used += 1
        if candidate >= max(ceiling, 21000):
            candidate, ceiling = 15000, 20000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
        found.append(candidate)
    return found


free_ports.used = 0


UNIX_LISTENS = "00010000"  # the flag, in /proc/net/unix, of a socket that listens


def accepts(address):
    """Whether something listens, asked of the kernel's tables where it can be, so that no relay is made to carry a
    connection that leads nowhere."""
    kind, _, place = address.partition("://")
    if kind == "unix":
        with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
            return any(line.split()[7:] == [place] and line.split()[3] == UNIX_LISTENS for line in file)
    host, _, port = place.partition(":")
    if kind == "tcp":
        with open("/proc/net/tcp", encoding="ascii") as file:
            return any(line.split()[1].endswith(f":{int(port):04X}") and line.split()[3] == "0A" for line in file)
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as probe:
        try:
            probe.connect((1 if host == "local" else int(host), int(port)))
        except OSError:
            return False
    return True


def processes(root):
    """The process and all its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    found, pending = [], [root]
    while pending:
        pid = pending.pop()
        if os.path.exists(f"/proc/{pid}"):
            found.append(pid)
        pending += children.get(pid, [])
    return found
