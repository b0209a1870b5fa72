"""How little the client takes of an enclave: the program, what it needs, and its memory."""
import contextlib
import shutil
import subprocess

import pytest

from client import POSTERN
from postern import cached, echo, receive, sanitizers

KIB = 1 << 10
plain = pytest.mark.skipif(bool(sanitizers()) or cached("POSTERN_COVERAGE") == "ON", reason="an instrumented build is larger")


@plain
@pytest.mark.skipif(cached("CMAKE_BUILD_TYPE") == "Debug", reason="what is not optimized is larger")
@pytest.mark.skipif(shutil.which("strip") is None, reason="there is no strip (binutils) here")
def test_the_program_is_small(folder):
    shutil.copy(POSTERN, folder / "postern")
    subprocess.run(["strip", folder / "postern"], check=True)
    assert (folder / "postern").stat().st_size <= 300 * KIB


@plain
def test_it_needs_libc_and_libcbor_alone():
    listed = subprocess.run(["ldd", POSTERN], check=True, text=True, capture_output=True).stdout
    names = {line.split()[0].rpartition("/")[2].split(".so")[0] for line in listed.splitlines()}
    assert {name for name in names if not name.startswith(("linux-vdso", "ld-linux"))} == {"libc", "libcbor"}


@plain
def test_a_thousand_idle_streams(parent, listening, peer):
    daemon = parent({"out": peer(echo).address})
    client = listening(daemon, "tcp://127.0.0.1:0=out")
    with contextlib.ExitStack() as stack:
        programs = [stack.enter_context(client.connect()) for _ in range(1000)]
        for program in programs:
            program.sendall(b"hello")
        for program in programs:
            assert receive(program, 5) == b"hello"
        assert daemon.metrics()["postern_daemon_streams_active"] == 1000
        assert client.memory() <= 3072 * KIB
