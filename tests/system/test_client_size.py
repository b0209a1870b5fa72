"""How little the client takes of an enclave: the program, what it needs, and its memory. Without KMS it is a thin one, and is built here for
that; with it, OpenSSL and jansson come along."""
import contextlib
import os
import shutil
import subprocess

import pytest

from client import POSTERN
from postern import PATIENCE, REPOSITORY, cached, echo, receive, sanitizers

KIB = 1 << 10
FOLDERS = "base;session;net;nsm;attest;init;http;client;cli"
plain = pytest.mark.skipif(bool(sanitizers()) or cached("POSTERN_COVERAGE") == "ON", reason="an instrumented build is larger")
WITH_KMS = cached("POSTERN_KMS") != "OFF"


@pytest.fixture(scope="module")
def thin(tmp_path_factory):
    """`postern` of a release build without KMS."""
    if "POSTERN_IN_VM" in os.environ or cached("CMAKE_C_COMPILER") is None or shutil.which("ninja") is None:
        pytest.skip("needs a compiler")
    build = tmp_path_factory.mktemp("thin")
    subprocess.run(["cmake", "-S", REPOSITORY, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DPOSTERN_KMS=OFF",
                    "-DPOSTERN_TESTS=OFF", f"-DPOSTERN_FOLDERS={FOLDERS}", f"-DCMAKE_C_COMPILER={cached('CMAKE_C_COMPILER')}"],
                   check=True, capture_output=True, timeout=10 * PATIENCE)
    subprocess.run(["cmake", "--build", build, "--target", "postern"], check=True, capture_output=True, timeout=10 * PATIENCE)
    return build / "bin/postern"


def needed(program):
    listed = subprocess.run(["ldd", program], check=True, text=True, capture_output=True).stdout
    names = {line.split()[0].rpartition("/")[2].split(".so")[0] for line in listed.splitlines()}
    return {name for name in names if not name.startswith(("linux-vdso", "ld-linux"))}


@plain
@pytest.mark.skipif(shutil.which("strip") is None, reason="there is no strip (binutils) here")
def test_the_thin_program_is_small(folder, thin):
    shutil.copy(thin, folder / "postern")
    subprocess.run(["strip", folder / "postern"], check=True)
    assert (folder / "postern").stat().st_size <= 300 * KIB


@plain
def test_the_thin_program_needs_libc_and_libcbor_alone(thin):
    assert needed(thin) == {"libc", "libcbor"}
    said = subprocess.run([thin, "--help"], check=True, text=True, capture_output=True).stdout
    assert "  listen " in said and not any(f"\n  {command} " in said for command in ("kms", "seal", "open"))


@plain
def test_what_the_program_needs():
    assert needed(POSTERN) == {"libc", "libcbor"} | ({"libssl", "libcrypto", "libjansson"} if WITH_KMS else set())


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
        assert client.memory() <= (3072 + 2048 * WITH_KMS) * KIB  # of OpenSSL and jansson what is mapped, though not used
