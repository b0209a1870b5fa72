"""libpostern-kms as those use it who have it installed: built against in C and C++, shared and as an archive, and run against
postern-sim, by the relay routes of the daemon and without."""
import os
import re
import subprocess

import pytest

from postern import BUILD, PATIENCE, REPOSITORY, cached
from sim import APP, HOST, OWNER, ROLE, Sim, allow, policy
from test_client import Installed, instrumentation, run

pytestmark = pytest.mark.skipif("POSTERN_IN_VM" in os.environ or not (BUILD / "bin/postern-sim").exists(),
                                reason="needs a compiler and postern-sim")
EXAMPLE = REPOSITORY / "examples/decrypt.c"
SECRET = b"the owner's secret"


class InstalledKms(Installed):
    def __init__(self, prefix):
        super().__init__(prefix)
        run("cmake", "--install", BUILD, "--component", "kms", "--prefix", prefix)

    def package(self, *arguments):
        return run("pkg-config", *arguments, "postern-kms", env=self.environment).split()

    def build(self, source, language="c", static=False):
        program = self.prefix / f"{source.stem}-{language}-{'static' if static else 'shared'}"
        compiler = [cached("CMAKE_C_COMPILER"), "-std=c11", "-D_GNU_SOURCE"] if language == "c" else ["c++", "-x", "c++", "-std=c++11"]
        libraries = self.package("--libs", "--static") if static else self.package("--libs")
        if static:
            archives = {"-lpostern": "libpostern.a", "-lpostern-kms": "libpostern-kms.a"}
            libraries = [self.libraries / archives[part] if part in archives else part for part in libraries]
        run(*compiler, "-Wall", "-Wextra", "-Werror", "-O1", *self.package("--cflags"), source, "-x", "none", "-pthread", *libraries,
            *instrumentation(), "-o", program)
        return program


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return InstalledKms(tmp_path_factory.mktemp("prefix"))


@pytest.fixture(scope="module")
def example(installed):
    return installed.build(EXAMPLE)


@pytest.fixture
def sim():
    with Sim() as one:
        yield one


def decrypt(installed, program, sim, ciphertext, environment=None, **options):
    """What came of it: exit code, standard output, the last line of standard error."""
    options = {"raw_address": sim.kms_address, "ca_file": sim.ca, "insecure_nsm": sim.nsm_address, **options}
    words = [f"{name}={value}" for name, value in options.items() if value is not None]
    done = subprocess.run([program, *words], input=ciphertext, capture_output=True, timeout=PATIENCE, cwd=installed.prefix,
                          env={**installed.environment, **(environment if environment is not None else sim.environment(APP))})
    return done.returncode, done.stdout, done.stderr.decode().strip().rpartition("\n")[2]


def test_shows_nothing_but_its_own(installed):
    headers = "".join((installed.prefix / "include/postern" / name).read_text() for name in ("kms.h", "seal.h", "verify.h"))
    declared = set(re.findall(r"\b(postern_\w+)\(", headers))
    declared = {name for name in declared if not name.endswith("_init")} - {"postern_connect"}  # inline, and in a comment
    for kind, file in (("-D", "libpostern-kms.so"), ("-g", "libpostern-kms.a")):
        lines = run("nm", kind, "--defined-only", installed.libraries / file).splitlines()
        names = {line.split()[-1].partition("@")[0] for line in lines if " T " in line}
        assert names == declared, file


def test_what_it_needs(installed):
    needed = re.findall(r"NEEDED\s+(\S+)", run("objdump", "-p", installed.libraries / "libpostern-kms.so"))
    needed = [name for name in needed if not re.match(r"lib(c|asan|ubsan|tsan|clang_rt)\b|ld-linux", name)]
    assert {name.partition(".")[0] for name in needed} == {"libpostern", "libcbor", "libjansson", "libssl", "libcrypto"}


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
@pytest.mark.parametrize("language", ["c", "c++"])
def test_decrypts(installed, sim, language, static):
    ciphertext = sim.encrypt(SECRET)
    code, out, told = decrypt(installed, installed.build(EXAMPLE, language, static), sim, ciphertext)
    assert (code, out) == (0, SECRET)
    assert told == "decrypt: INSECURE: the attestation document comes from a software NSM"


def test_by_the_cmake_package(installed, sim, tmp_path):
    run("cmake", "-G", "Ninja", "-S", REPOSITORY / "examples", "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={installed.prefix}",
        f"-DCMAKE_C_COMPILER={cached('CMAKE_C_COMPILER')}",
        f"-DCMAKE_C_FLAGS={' '.join(['-Wall', '-Wextra', '-Werror', *instrumentation()])}")
    run("cmake", "--build", tmp_path, "--target", "decrypt", "decrypt_static")
    ciphertext = sim.encrypt(SECRET)
    for program in ("decrypt", "decrypt_static"):
        assert decrypt(installed, tmp_path / program, sim, ciphertext)[:2] == (0, SECRET)


def test_another_enclave_is_denied(installed, example):
    with Sim(nsm=[{"pcrs": {"0": "cd" * 48}}]) as sim:
        code, out, told = decrypt(installed, example, sim, sim.encrypt(SECRET))
    assert (code, out) == (1, b"")
    assert "Decrypt: KMS answers AccessDeniedException" in told


def test_by_relay_routes(installed, example, sim, parent):
    """The daemon carries KMS's answers and cannot read them; and the metadata service's, which are the parent's own keys."""
    ciphertext = sim.encrypt(SECRET)
    daemon = parent({"kms": sim.kms_address, "imds": sim.metadata_address})
    environment = {"AWS_REGION": "us-east-1", "POSTERN_ADDRESS": daemon.address}
    assert decrypt(installed, example, sim, ciphertext, environment, raw_address=None)[:2] == (0, SECRET)
    code, out, told = decrypt(installed, example, sim, ciphertext, environment, raw_address=None, route="none")
    assert (code, out) == (1, b"") and "by route none: the stream was refused: denied_route" in told


def test_credentials_from_the_metadata_service(installed, example, sim):
    ciphertext = sim.encrypt(SECRET)
    environment = {"AWS_REGION": "us-east-1"}
    assert decrypt(installed, example, sim, ciphertext, environment, credentials="metadata",
                   metadata_address=sim.metadata_address)[:2] == (0, SECRET)
    assert decrypt(installed, example, sim, ciphertext, environment, metadata_address=sim.metadata_address)[:2] == (0, SECRET)


@pytest.mark.parametrize("fault, words", [
    ("leak-beside", "KMS answered in the clear (Plaintext)"),
    ("leak-instead", "KMS answered in the clear (Plaintext)"),
    ("garbage", "KMS's answer is no JSON object"),
    ("wrong-cms", "cannot open KMS's answer"),
    ("wrong-recipient", "cannot open KMS's answer"),
    ("cms-sha1", "cannot open KMS's answer"),
    ("huge", "reading the answer: the upstream's answer, or its head, is over a bound"),
    ("half", "reading the answer: "),
])
def test_hostile_answers_are_refused(installed, example, sim, fault, words):
    ciphertext = sim.encrypt(SECRET)
    sim.fault(fault, "Decrypt", count=10)
    code, out, told = decrypt(installed, example, sim, ciphertext)
    assert (code, out) == (1, b"")
    assert words in told and SECRET.decode() not in told


@pytest.mark.parametrize("fault", ["plaintext-null", "plaintext-empty", "cms-primitive", "cms-pieces", "cms-scattered", "throttle"])
def test_odd_answers_are_understood(installed, example, sim, fault):
    ciphertext = sim.encrypt(SECRET)
    sim.fault(fault, "Decrypt", count=2)
    assert decrypt(installed, example, sim, ciphertext)[:2] == (0, SECRET)


def test_another_certificate_is_not_believed(installed, example, sim, tmp_path):
    ciphertext = sim.encrypt(SECRET)
    code, out, told = decrypt(installed, example, sim, ciphertext, host="kms.eu-west-1.amazonaws.com")
    assert (code, out) == (1, b"")
    assert "who answers is not kms.eu-west-1.amazonaws.com" in told
    code, out, told = decrypt(installed, example, sim, ciphertext, ca_file=sim.root)
    assert (code, out) == (1, b"")
    assert f"who answers is not {HOST}" in told and "a CA file" in told


def test_a_policy_that_wants_no_enclave(installed, example):
    """Even then the answer is for this process alone."""
    with Sim(keys=[{"id": "data", "policy": policy(allow(OWNER), allow(ROLE))}]) as sim:
        assert decrypt(installed, example, sim, sim.encrypt(SECRET))[:2] == (0, SECRET)
