"""Processes that handle secrets: their memory is locked where the system allows it, no more of it is there than is used, and it leaves no core."""
import pathlib
import re
import resource
import signal
import subprocess

import pytest

from kms_cli import KMSTOOL, POSTERN, plain_environment, straight
from postern import PATIENCE, cached, wait_until
from sim import Sim

pytestmark = pytest.mark.skipif(cached("POSTERN_KMS") == "OFF", reason="built without KMS")

CAP_IPC_LOCK, CAP_SYS_RESOURCE = 14, 24
RESIDENT_MAX = 64 * 1024  # kB; more than twice what any of them comes to
SANITIZED = bool(cached("POSTERN_SANITIZE"))


@pytest.fixture(scope="module")
def sim():
    with Sim() as one:
        yield one


def fields(pid):
    return dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())


def may_lock():
    """Whether this machine lets us lock as much as we like."""
    capabilities = int(fields("self")["CapEff"], 16)
    return (capabilities >> CAP_IPC_LOCK | capabilities >> CAP_SYS_RESOURCE) & 1 == 1 or \
        resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] == resource.RLIM_INFINITY


def kilobytes(text):
    return int(text.split()[0])


def core_limit(pid):
    line = next(line for line in pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max core file size"))
    return re.split(r"\s{2,}", line)[1:3]


def check(process):
    """The limit is the first thing that is set, and locking comes right behind it."""
    wait_until(lambda: core_limit(process.pid) == ["0", "0"], what="the limit of core dumps")
    if may_lock() and not SANITIZED:
        wait_until(lambda: kilobytes(fields(process.pid)["VmLck"]) > 0, what="locked memory")
        assert kilobytes(fields(process.pid)["VmRSS"]) < RESIDENT_MAX


def commands(sim, folder):
    """Each waits on its standard input."""
    way = [str(word) for word in straight(sim)]
    return {
        "kms": [POSTERN, "kms", "decrypt", "-", *way],
        "seal": [POSTERN, "seal", "--key", sim.key("data"), *way, "-", str(folder / "sealed")],
        "open": [POSTERN, "open", *way, "-", str(folder / "opened")],
        "kmstool": [KMSTOOL, "decrypt", "--ciphertext", "-", *way],
    }


@pytest.mark.parametrize("name", ["kms", "seal", "open", "kmstool"])
def test_a_process_with_secrets(sim, folder, name):
    with subprocess.Popen([str(word) for word in commands(sim, folder)[name]], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, env=plain_environment(**sim.environment())) as process:
        try:
            check(process)
        finally:
            process.kill()
            process.wait(PATIENCE)


def test_the_proxy(sim):
    """With connections, whose threads have stacks that are locked and not there."""
    with subprocess.Popen([POSTERN, "kms-proxy", "--listen", "tcp://127.0.0.1:0", *map(str, straight(sim))], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=plain_environment(**sim.environment())) as process:
        try:
            while b"serving KMS" not in process.stderr.readline():
                assert process.poll() is None
            check(process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait(PATIENCE)


def test_others_are_left_alone():
    """`run` has children whose limits are their own affair, and `attest` has no secret."""
    with subprocess.Popen([POSTERN, "attest", "--public-key", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: b"attest" in pathlib.Path(f"/proc/{process.pid}/cmdline").read_bytes(), what="the program")
            assert core_limit(process.pid)[1] == core_limit("self")[1]
        finally:
            process.kill()
            process.wait(PATIENCE)
