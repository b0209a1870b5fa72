"""What the system tests have beside tests/conftest.py: a daemon with one listener and one route."""
import contextlib
import pathlib
import shutil
import tempfile

import pytest

from client import Listening
from framed import Client
from postern import PATIENT, Daemon, connect, free_port
from spooling import Spooling
from store import Store


def end_quietly(started):
    """No stream may be left, each must still run unless its test stopped it, and must end cleanly."""
    problems = []
    for one in started:
        if one.process is not None and not one.stopped and one.process.poll() is None:
            try:
                one.wait_quiet()
                assert one.stop() == 0
            except AssertionError as problem:
                problems.append(f"{problem}\n{one.log()}")
        problems += one.finish()
    assert not problems, "\n".join(problems)


class Relay(Daemon):
    """posternd with a listener `in` at `at`, to the route `out`."""

    def __init__(self, to, listen, **options):
        super().__init__(**options)
        self.to = to
        self.at = {"tcp": lambda: f"tcp://127.0.0.1:{free_port()}", "tcp6": lambda: f"tcp://[::1]:{free_port('::1')}",
                   "unix": lambda: self.socket_path("in.sock"),
                   "hybrid": lambda: f"hybrid://{self.folder}/in.sock:5005"}[listen]()
        self.config = {}

    def configure(self, route=None, listener=None, **config):
        """Writes the file. What is not given is as it was."""
        self.config |= config
        self.config["listeners"] = {"in": {"listen": self.at, "route": "out", "allow": "any", **(listener or {})}} | (
            config.get("listeners") or {})
        if self.config["listeners"]["in"]["route"] is None:
            del self.config["listeners"]["in"]["route"]
        self.config["routes"] = {"out": {"type": "relay", "to": self.to, **PATIENT, **(route or {})}} | (config.get("routes") or {})
        self.write_config(self.config)
        return self

    def session(self, **options):
        """A session of the enclave payroll, by the protocol's second implementation."""
        return Client(self.connect(), **options)

    def connect(self, **options):
        address = self.at
        if address.startswith("hybrid://"):
            path, _, port = address.removeprefix("hybrid://").rpartition(":")
            address = f"unix://{path}_{port}"
        return connect(address, **options)


@pytest.fixture
def relay():
    """relay(to, listen="tcp", route={...}, listener={...}, ...) starts one. Afterwards no stream may be left, it must
    still run unless the test stopped it, and must end cleanly."""
    started = []

    def start(to, listen="tcp", environment=None, begin=True, **config):
        one = Relay(to, listen, environment=environment)
        started.append(one)
        one.configure(**config)
        return one.start() if begin else one

    yield start
    end_quietly(started)


@pytest.fixture
def framed(relay):
    """framed(to, listen="tcp", allow=["out"], ...): the same with a framed listener, whose callers are the enclave payroll
    and may have the routes of the list."""
    def start(to, listen="tcp", allow=("out",), listener=None, **config):
        enclaves = {"payroll": {"cid": 16}, "fraud": {"cid": 17}} | config.pop("enclaves", {})
        whole = {"protocol": "framed", "route": None, "peer": "payroll", "allow": {"payroll": list(allow)}, **(listener or {})}
        sessions = {"handshake_timeout": "10m", "pong_timeout": "10m"} | config.pop("sessions", {})
        return relay(to, listen, listener=whole, enclaves=enclaves, sessions=sessions, **config)
    return start


@pytest.fixture
def folder():
    """A folder with a short name: a unix socket's path may have 107 bytes."""
    with contextlib.ExitStack() as stack:
        path = pathlib.Path(tempfile.mkdtemp(prefix="postern-"))
        stack.callback(shutil.rmtree, path, ignore_errors=True)
        path.chmod(0o755)  # the daemon may run as a user of its own
        yield path


class Parent(Daemon):
    """posternd with a framed listener at `session`, for callers that count as the enclave `app`, and with the routes given:
    a name and where it leads, or what the configuration says of it."""

    def __init__(self, routes, transport="unix", allow=None, enclave=None, route=None, **config):
        super().__init__()
        self.session = {"tcp": lambda: f"tcp://127.0.0.1:{free_port()}", "unix": lambda: self.socket_path("session.sock"),
                        "hybrid": lambda: f"hybrid://{self.folder}/session:7000"}[transport]()
        # Who connects does as Firecracker's host does: the listener is at path_PORT, and is connected to like any other.
        self.address = self.session if transport != "hybrid" else f"unix://{self.folder}/session_7000"
        self.limits = {"cid": 16, "max_streams": 2000, "max_sessions": 4, **(enclave or {})}
        self.set_routes(routes, allow, route, config)

    def set_routes(self, routes, allow=None, route=None, config=None):
        self.write_config({
            "enclaves": {"app": self.limits},
            "listeners": {"session": {"listen": self.session, "protocol": "framed", "peer": "app",
                                      "allow": {"app": allow or list(routes)}}},
            "routes": {name: {"type": "relay", "to": to, **(route or {})} if isinstance(to, str) else to
                       for name, to in routes.items()},
            **(config or {})})


@pytest.fixture
def parent():
    """parent({"out": ADDRESS}, ...) starts a daemon for clients. Afterwards no stream may be left, it must still run unless the
    test stopped it, and must end cleanly."""
    started = []

    def start(routes, begin=True, **options):
        one = Parent(routes, **options)
        started.append(one)
        return one.start() if begin else one

    yield start
    end_quietly(started)


@pytest.fixture
def listening(parent):
    """listening(DAEMON, "unix:///...=out", ...) starts `postern listen`, and waits for its session. Ends before the daemon does."""
    started = []

    def start(daemon, *arguments, wait="up", **options):
        one = Listening(daemon.address, *arguments, **options)
        started.append(one)
        return {"up": one.wait_up, "listening": one.wait_listening, "": lambda: one}[wait]()

    yield start
    problems = [problem for one in started for problem in one.finish()]
    assert not problems, "\n".join(problems)


@pytest.fixture
def spooling():
    """spooling(store, start=True, ...): a daemon, ended after the test."""
    started = []

    def make(store, start=True, **config):
        one = Spooling(store)
        started.append(one)
        if config:
            one.configure(**config)
        return one.start() if start else one

    yield make
    problems = [problem for one in started for problem in one.finish()]
    assert not problems, "\n".join(problems)


@pytest.fixture
def store():
    one = Store()
    yield one
    one.stop()
