"""postern run, as it is used: against the daemon, with real programs, and as process 1 of a namespace of its own."""
import contextlib
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from postern import FINDING, PATIENCE, PROGRAMS, Peer, connect, echo, free_port, receive, wait_until

POSTERN = PROGRAMS / "postern"


class Run:
    """`postern run` with its output in files, and the settings given by --set."""

    def __init__(self, folder, command, at=None, wrapper=(), stdin=subprocess.DEVNULL, **settings):
        settings = {"log_flush": "1m", "clock_wait": "1m", **settings}  # for machines that are slow
        self.out_file, self.err_file = folder / "out", folder / "err"
        lists = {key: value if isinstance(value, list) else [value] for key, value in settings.items()}
        sets = [f"--set={key}={item}" for key, items in lists.items() for item in items]
        where = ["--connect", at] if at else []
        with open(self.out_file, "wb") as out, open(self.err_file, "wb") as err:
            self.process = subprocess.Popen([*map(str, wrapper), POSTERN, *where, "run", *sets, "--", *map(str, command)],
                                            stdin=stdin, stdout=out, stderr=err, start_new_session=True)

    def out(self):
        return self.out_file.read_text(errors="replace")

    def err(self):
        return self.err_file.read_text(errors="replace")

    def wait(self):
        return self.process.wait(PATIENCE)

    def wait_err(self, text):
        wait_until(lambda: text in self.err(), what=f"{text!r} in:\n{self.err()}")


@pytest.fixture
def run(folder):
    """run([PROGRAM, ...], key=value, ...) starts one. Afterwards it must have ended, without a sanitizer's finding."""
    started = []

    def start(command, **options):
        one_folder = folder / str(len(started))
        one_folder.mkdir()
        started.append(Run(one_folder, command, **options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
            one.process.wait()
            pytest.fail(f"it had not ended:\n{one.err()}")
        assert not FINDING.search(one.err()), one.err()


def script(text):
    return ["/bin/sh", "-c", text]


def python(text, *arguments):
    return [sys.executable, "-c", text, *arguments]


# ---- The app ----

@pytest.mark.parametrize("text, status, words", [
    ("exit 0", 0, "the app exited with status 0"),
    ("exit 3", 3, "the app exited with status 3"),
    ("kill -9 $$", 137, "the app was ended by signal 9 (KILL)"),
])
def test_the_apps_status_is_ours(run, text, status, words):
    one = run(script(f"echo to out; echo to err >&2; {text}"))
    assert one.wait() == status
    assert one.out() == "to out\n"
    assert "to err\n" in one.err() and words in one.err()


def test_programs_that_cannot_be_started(run, folder):
    one = run(["postern-no-such-program"])
    assert one.wait() == 127 and "cannot start postern-no-such-program: No such file or directory" in one.err()
    one = run([folder])
    assert one.wait() == 126 and "Permission denied" in one.err()
    one = run(["true"], chdir="/no/such/folder")
    assert one.wait() == 127 and "cannot go to /no/such/folder" in one.err()


def test_nobody_reads_what_is_told(folder):
    """A console that takes no more must not stop what is told there, nor the app that init looks after."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    with open(reader, "rb"), open(writer, "wb"):
        one = subprocess.run([POSTERN, "run", "--", *script("exit 3")], stderr=writer, timeout=PATIENCE, check=False)
    assert one.returncode == 3


def test_settings_from_a_file(run, folder):
    config = folder / "run.conf"
    config.write_text(f"# for the app\nenv = GREETING = hello\nenv = OTHER=there\nchdir = {folder}\n")
    done = subprocess.run([POSTERN, "run", "--config", config, "--set", "env=OTHER=here", "--", "sh", "-c", 'echo "$GREETING|$OTHER|$PWD"'],
                          capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and done.stdout == f" hello|here|{folder}\n".replace("| ", "|") or done.stderr


def test_mistakes_are_told_together_with_their_places(folder):
    config = folder / "run.conf"
    config.write_text("lisen = tcp://127.0.0.1:443=kms\nlisten = tcp://127.0.0.1:70000=kms\nconnect = vsock://payroll:1\n\nlog = a b\nclock = maybe\n")
    done = subprocess.run([POSTERN, "run", "--config", config, "--", "touch", folder / "started"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and not (folder / "started").exists()
    lines = done.stderr.splitlines()
    assert [line.removeprefix(f"{config}:").split(":")[0] for line in lines] == ["1", "2", "3", "5", "6"], done.stderr
    assert "did you mean `listen`?" in lines[0] and "expected one of auto, set, watch, off" in lines[4]


@pytest.mark.parametrize("arguments, text", [
    ([], "the program to run is missing"),
    (["--set", "listen=kms", "--", "true"], "postern: --set \"listen=kms\": `listen`: \"kms\": LOCAL=ROUTE is expected"),
    (["--set", "logs=x", "--set", "time", "--", "true"],
     "postern: --set \"logs=x\": unknown key `logs`; did you mean `log`?\npostern: --set \"time\": expected `key = value`\n"
     "try `postern run --help`\n"),
    (["--set", "no-such-thing=x", "--", "true"], "unknown key `no-such-thing`; postern(1) has them all\n"),
    (["--config"], "--config needs a value"),
])
def test_wrong_usage(arguments, text):
    done = subprocess.run([POSTERN, "run", *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2 and text in done.stderr


def test_a_file_that_is_not_there():
    done = subprocess.run([POSTERN, "run", "--config", "/nowhere/run.conf", "--", "true"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and "cannot open /nowhere/run.conf: No such file or directory" in done.stderr


SIGNALLED = """
import signal, sys
def tell(number, frame):
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM:
        sys.exit(7)
for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2"):
    signal.signal(getattr(signal, name), tell)
print("ready", flush=True)
while True:
    signal.pause()
"""


def test_signals_are_passed_on(run):
    one = run(python(SIGNALLED))
    wait_until(lambda: one.out() == "ready\n")
    expected = "ready\n"
    for name in "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT", "SIGTERM":
        one.process.send_signal(getattr(signal, name))
        expected += name + "\n"
        wait_until(lambda: one.out() == expected, what=expected)
    assert one.wait() == 7


# The grandchild outlives its parent, and is a zombie until somebody reaps it.
ORPHAN = """
import os, sys
if os.fork() == 0:
    if os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
    os._exit(0)
os.wait()
sys.stdout.write("%s\\n" % open("/proc/%d/task/%d/children" % (os.getppid(), os.getppid())).read())
sys.stdout.flush()
sys.stdin.read()
while len(open("/proc/%d/task/%d/children" % (os.getppid(), os.getppid())).read().split()) > 1:
    pass
"""


def test_orphans_are_reaped(run):
    """It is no process 1 here, and adopts them all the same."""
    read_end, write_end = os.pipe()
    one = run(python(ORPHAN), stdin=read_end)
    os.close(read_end)
    wait_until(lambda: len(one.out().split()) == 2, what="the app and an orphan as children")
    os.close(write_end)  # the orphan ends, and the app sees it disappear
    assert one.wait() == 0


# ---- The log ----

@pytest.fixture
def home(framed, peer):
    """A daemon with the routes logs, time and echo for the enclave payroll; and what its log has of the enclave's lines."""
    def start(**config):
        routes = {"logs": {"type": "log", "lines_per_second": 100000}, "time": {"type": "time"}} | config.pop("routes", {})
        daemon = framed(peer(echo).address, config.pop("listen", "unix"), allow=["out", *routes], routes=routes, **config)
        daemon.lines = lambda name: [event["line"] for event in daemon.events(event="enclave log", enclave="payroll", name=name)]
        return daemon
    return start


def test_lines_arrive_with_their_names(home, run):
    daemon = home()
    one = run(script("echo one; echo two >&2; printf three"), at=daemon.at, log="logs")
    assert one.wait() == 0
    daemon.wait_ended("finished", route="logs", count=3)  # one for each name: they overtake each other
    assert daemon.lines("stdout") == ["one", "three"]
    assert daemon.lines("stderr") == ["two"]
    assert daemon.lines("postern")[-1] == "the app exited with status 0"
    assert one.out() == "" and "two" not in one.err()
    assert {event["route"] for event in daemon.events(event="enclave log")} == {"logs"}
    assert daemon.wait_event(event="session ended")["code"] == "no_error"


def test_the_last_words_of_one_who_is_killed(home, run):
    daemon = home()
    one = run(script("for i in $(seq 2000); do echo line $i; done; printf 'last words'; kill -9 $$"), at=daemon.at, log="logs")
    assert one.wait() == 137
    wait_until(lambda: daemon.lines("stdout") == [f"line {i}" for i in range(1, 2001)] + ["last words"])


def test_what_is_hostile_in_a_line_is_harmless(home, run):
    daemon = home()
    one = run(python(r"""import os; os.write(1, b'{"event":"forged"}\n\x1b[2J\xff\x00 end\n' + b"y" * 20000 + b"\n")"""), at=daemon.at, log="logs")
    assert one.wait() == 0
    wait_until(lambda: sum(len(line) for line in daemon.lines("stdout") if line.startswith("y")) == 20000)
    assert daemon.lines("stdout")[0] == '{"event":"forged"}' and not daemon.events(event="forged")


def test_lines_wait_for_the_daemon(home, run, folder):
    """And the oldest of too many are dropped, with a word; the app is not held up meanwhile."""
    daemon = home()
    assert daemon.stop() == 0
    one = run(python("import sys\nfor i in range(5000): print(f'{i:07} ' + 'x' * 50)\nprint('done', file=sys.stderr, flush=True)\nsys.stdin.read()"),
              at=daemon.at, log="logs", log_buffer="16KiB", stdin=subprocess.PIPE)
    one.wait_err("there is no session with the daemon: ")
    daemon.start()
    wait_until(lambda: "done" in daemon.lines("stderr"))
    one.process.stdin.close()
    assert one.wait() == 0
    wait_until(lambda: daemon.lines("stdout") and daemon.lines("stdout")[-1].startswith("0004999 "))
    lines = daemon.lines("stdout")
    gaps = [int(line.split()[1]) for line in lines if line.endswith(" dropped here")]
    assert gaps and len(lines) - len(gaps) + sum(gaps) == 5000


def test_a_daemon_that_restarts(home, run):
    daemon = home()
    one = run(["sh", "-c", "while read line; do echo $line; done"], at=daemon.at, log="logs", stdin=subprocess.PIPE)
    for turn in range(3):
        one.process.stdin.write(b"turn %d\n" % turn)
        one.process.stdin.flush()
        wait_until(lambda: f"turn {turn}" in daemon.lines("stdout"))
        assert daemon.stop() == 0
        daemon.start()
    one.process.stdin.close()
    assert one.wait() == 0
    assert daemon.lines("stdout") == ["turn 0", "turn 1", "turn 2"]


def test_a_route_that_is_refused(home, run):
    """Nothing is lost: the console has it."""
    daemon = home()
    one = run(script("echo one; echo two >&2; read line"), at=daemon.at, log="forbidden", stdin=subprocess.PIPE)
    one.wait_err("the stream for stdout has ended: denied_route")
    wait_until(lambda: one.out() == "one\n" and "\ntwo\n" in one.err())
    one.process.stdin.close()
    assert one.wait() != 0
    assert daemon.lines("stdout") == []


def test_no_daemon_at_all(run, folder):
    one = run(script("echo one"), at=f"unix://{folder}/nobody", log="logs", log_flush="100ms")
    assert one.wait() == 0
    assert one.out() == "one\n" and "could not be sent within log_flush" in one.err()


def test_a_flood_does_not_stop_the_rest(home, run):
    """A program that writes as fast as it can: the log loses lines and says so, signals and listeners work."""
    daemon = home(routes={"logs": {"type": "log", "lines_per_second": 100}})
    port = free_port()
    one = run(["sh", "-c", "exec yes"], at=daemon.at, log="logs", listen=f"tcp://127.0.0.1:{port}=out", log_flush="100ms")
    wait_until(lambda: daemon.metrics()['postern_enclave_log_lines_dropped_total{enclave="payroll"}'] > 0)
    with connect(f"tcp://127.0.0.1:{port}") as client:
        client.sendall(b"still here")
        assert receive(client, 10) == b"still here"
    one.process.terminate()
    assert one.wait() == 143


# ---- Listeners ----

def test_listeners_lead_to_routes(home, run, folder):
    daemon = home()
    port = free_port()
    one = run(python("""
import socket, sys
for where in sys.argv[1:]:
    with socket.socket(socket.AF_UNIX if "/" in where else socket.AF_INET) as client:
        client.connect(where if "/" in where else ("127.0.0.1", int(where)))
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        print(client.makefile().read(), flush=True)
""", port, folder / "echo.sock"), at=daemon.at, listen=[f"tcp://127.0.0.1:{port}=out", f"unix://{folder}/echo.sock=out"])
    assert one.wait() == 0, one.err()
    assert one.out() == "hello\nhello\n"
    assert not (folder / "echo.sock").exists()
    assert f"postern: listening at tcp://127.0.0.1:{port} for route out\n" in one.err()


def test_a_listener_that_is_taken(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        one = run(["true"], listen=f"tcp://127.0.0.1:{taken.getsockname()[1]}=out", at="unix:///nowhere")
        assert one.wait() == 1 and "started" not in one.err()


# ---- The clock ----

def clock_that_is(ahead):
    """The other end of a `time` route, of which the clock is so many seconds ahead."""
    def serve(connection):
        while len(asked := receive(connection, 8)) == 8:
            connection.sendall(asked + struct.pack(">Q", time.time_ns() + int(ahead() * 1e9)))
    return serve


def test_a_clock_that_is_right(home, run):
    daemon = home()
    one = run(script("echo started"), at=daemon.at, time="time", clock="watch", log="logs")
    assert one.wait() == 0
    wait_until(lambda: daemon.lines("stdout") == ["started"])
    daemon.wait_ended("finished", route="time")
    assert "clock" not in one.err()


def test_a_clock_is_watched(home, run, peer):
    """What it would do is told. (Nothing here sets the clock of the machine that runs the tests.)"""
    ahead = [3600.0]
    daemon = home(routes={"parent": {"type": "relay", "to": peer(clock_that_is(lambda: ahead[0])).address}})
    one = run(["sleep", "1000"], at=daemon.at, time="parent", clock="watch", clock_interval="1s")
    one.wait_err("by the parent's clock: left as it is")
    assert "clock: -3600." in one.err() or "clock: -3599." in one.err()
    ahead[0] = 0.0
    one.wait_err("further than clock_bound allows: not followed")
    one.process.terminate()
    assert one.wait() == 143


def test_the_app_waits_for_the_time_but_not_for_ever(home, run, peer):
    def silent(connection):
        with contextlib.suppress(ConnectionResetError):  # it ends with the app
            receive(connection, 1000)
    daemon = home(routes={"parent": {"type": "relay", "to": peer(silent).address}})
    one = run(["true"], at=daemon.at, time="parent", clock="watch", clock_wait="100ms")
    assert one.wait() == 0
    assert "clock_wait is over" in one.err()


def test_asked_to_end_while_it_waits_for_the_time(run, folder):
    one = run(["touch", folder / "started"], at=f"unix://{folder}/nobody", time="time", clock="watch", clock_wait="10m")
    one.wait_err("there is no session with the daemon: ")
    one.process.terminate()
    assert one.wait() == 143 and not (folder / "started").exists()


# ---- As process 1 ----

NAMESPACES = ["unshare", "--user", "--map-root-user", "--pid", "--mount", "--net", "--fork", "--kill-child"]


def can_unshare():
    return subprocess.run([*NAMESPACES, "mount", "-t", "proc", "proc", "/proc"], capture_output=True, check=False).returncode == 0


in_namespaces = pytest.mark.skipif(not can_unshare(), reason="this machine lets nobody make namespaces")

FIRST = r"""
import json, os, socket, sys
told = {"pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0)}
told["init"] = open("/proc/1/comm").read().strip()
told["mounts"] = {line.split()[1]: line.split()[2] for line in open("/proc/mounts")}
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
    told["loopback"] = True
print(json.dumps(told), flush=True)
"""


@in_namespaces
def test_as_process_1(run, folder):
    """In new namespaces, whose /proc is still the old one's and whose loopback interface is down."""
    one = run(python(FIRST), wrapper=NAMESPACES)
    assert one.wait() == 0, one.err()
    told = json.loads(one.out())
    assert told["parent"] == 1 and told["session"] == told["pid"] and told["loopback"]


@in_namespaces
@pytest.mark.parametrize("closed", ["", "<&- >&-"], ids=["open", "closed"])
def test_as_process_1_without_devices(run, closed):
    """As in an image whose /dev is empty until it is mounted."""
    one = run(["/bin/sh", "-c", "exit 7"], wrapper=[*NAMESPACES, "/bin/sh", "-c", f'mount -t tmpfs none /dev && exec "$@" {closed}', "sh"])
    assert one.wait() == 7, one.err()


OTHER = """
import os, signal
def leave(number, frame):
    os.write(1, b"asked to end\\n")
    os._exit(0)
ready, tell = os.pipe()
if os.fork() == 0:
    signal.signal(signal.SIGTERM, %s)
    os.write(tell, b"1")
    while True:
        signal.pause()
os.read(ready, 1)
os._exit(5)
"""
OWN_NAMESPACES = [part for part in NAMESPACES if part != "--net"]


@in_namespaces
def test_another_is_asked_to_end_with_the_app(home, run):
    """It says something last, which is still shipped, however long that takes; then their init exits with the app's status."""
    daemon = home(listener={"mode": "0666"})  # in a namespace of its own, root is nobody where the daemon is
    daemon.folder.chmod(0o711)
    one = run(python(OTHER % "leave"), wrapper=OWN_NAMESPACES, at=daemon.at, log="logs", stop_timeout="10m", log_flush="1m")
    assert one.wait() == 5, one.err()
    wait_until(lambda: daemon.lines("stdout") == ["asked to end"])


@in_namespaces
def test_a_signal_that_comes_early(folder):
    """Process 1 is not told of a signal that it has not asked for: one that comes before the app is there must not be lost."""
    config, writer = folder / "run.conf", []
    os.mkfifo(config)

    def is_read():
        with contextlib.suppress(OSError):
            writer.append(os.open(config, os.O_WRONLY | os.O_NONBLOCK))
        return writer

    with subprocess.Popen([*NAMESPACES, POSTERN, "run", "--config", config, "--", "sleep", "1000"], stderr=subprocess.DEVNULL) as one:
        try:
            wait_until(is_read)
            first = pathlib.Path(f"/proc/{one.pid}/task/{one.pid}/children").read_text().split()[0]
            os.kill(int(first), signal.SIGTERM)
            os.write(writer[0], b"loopback = no\n")
            os.close(writer[0])
            assert one.wait(PATIENCE) == 143
        finally:
            one.kill()


@in_namespaces
def test_another_that_does_not_end_is_killed(run):
    one = run(python(OTHER % "signal.SIG_IGN"), wrapper=NAMESPACES, stop_timeout="1s")
    assert one.wait() == 5, one.err()


@in_namespaces
def test_a_step_that_must_not_fail(run, folder):
    one = run(["touch", folder / "started"], wrapper=NAMESPACES, entropy="yes", nsm="/nowhere/nsm")
    assert one.wait() == 1 and not (folder / "started").exists()
    assert "cannot open the NSM /nowhere/nsm: No such file or directory" in one.err()


def test_a_module_that_is_not_there(run, folder):
    one = run(["touch", folder / "started"], module="/nowhere/nsm.ko")
    assert one.wait() == 1 and not (folder / "started").exists()
    assert "cannot open the kernel module /nowhere/nsm.ko: " in one.err()
