"""What every test in Python has: a time limit, and the fixtures to start a daemon and the peers it talks to."""
import signal

import pytest

from postern import PATIENCE, Authority, Daemon, Peer

# Of a whole test: more than one step of it may have to wait.
SECONDS_AT_MOST = int(4 * PATIENCE)

# A shell ignores SIGINT in what it starts in the background, and the programs under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call():
    def too_long(_signal, _frame):
        pytest.fail(f"still not done after {SECONDS_AT_MOST} seconds")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS_AT_MOST)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def daemon():
    """daemon(listeners=..., routes=..., ...) starts one and returns it once it is ready. Afterwards it must
    still run, unless the test stopped it, and must end cleanly."""
    started = []

    def start(**config):
        one = Daemon(config)
        started.append(one)
        return one.start()

    yield start
    problems = [problem for one in started for problem in one.finish()]
    assert not problems, "\n".join(problems)


@pytest.fixture
def peer():
    """peer(handler) serves each connection on a loopback port with handler(connection) in a thread."""
    started = []

    def start(handler, **options):
        one = Peer(handler, **options)
        started.append(one)
        return one

    yield start
    problems = [problem for one in started for problem in one.close()]
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A certificate authority that certifies any name: authority.server_context(name), authority.file."""
    return Authority(tmp_path_factory.mktemp("authority"))
