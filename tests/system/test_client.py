"""The client library as those use it who have it installed: built against in C and C++, shared and as an archive, and
run against the daemon."""
import os
import pathlib
import re
import socket
import subprocess
import threading

import pytest

from forwarding import Forwarder, Gone
from postern import BUILD, PATIENCE, REPOSITORY, cached, echo, echo_until_cut, reply_after_end, wait_until

pytestmark = pytest.mark.skipif("POSTERN_IN_VM" in os.environ, reason="the virtual machine has no compiler")
EXAMPLES = REPOSITORY / "examples"
LOAD = REPOSITORY / "tests/lib/client_load.c"


def run(*command, **options):
    """What the command prints. Fails with all of it if the command does."""
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, timeout=4 * PATIENCE, **options)
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def instrumentation():
    """The flags that programs need to be linked to this build's library with."""
    sanitize, coverage = cached("POSTERN_SANITIZE"), cached("POSTERN_COVERAGE") == "ON"
    return ([f"-fsanitize={sanitize}"] if sanitize else []) + (["--coverage"] if coverage else [])


class Installed:
    def __init__(self, prefix):
        self.prefix = prefix
        run("cmake", "--install", BUILD, "--component", "client", "--prefix", prefix)
        self.libraries = next(prefix.rglob("libpostern.so")).parent
        self.environment = {"PATH": "/usr/bin:/bin", "PKG_CONFIG_PATH": str(self.libraries / "pkgconfig"),
                            "LD_LIBRARY_PATH": str(self.libraries)}

    def package(self, *arguments):
        return run("pkg-config", *arguments, "postern", env=self.environment).split()

    def build(self, source, language="c", static=False):
        """A program, linked by what pkg-config says."""
        program = self.prefix / f"{source.stem}-{language}-{'static' if static else 'shared'}"
        compiler = [cached("CMAKE_C_COMPILER"), "-std=c11", "-D_GNU_SOURCE"] if language == "c" else ["c++", "-x", "c++", "-std=c++11"]
        libraries = self.package("--libs", "--static") if static else self.package("--libs")
        if static:  # the archive rather than the shared library beside it
            libraries = [self.libraries / "libpostern.a" if part == "-lpostern" else part for part in libraries]
        run(*compiler, "-Wall", "-Wextra", "-Werror", "-O1", *self.package("--cflags"), source, "-x", "none", "-pthread", *libraries,
            *instrumentation(), "-o", program)
        return program

    def run(self, daemon, program, *arguments, **options):
        return run(program, *arguments, env={**self.environment, "POSTERN_ADDRESS": daemon.at}, **options)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("prefix"))


def test_shows_nothing_but_its_own(installed):
    headers = "".join((installed.prefix / "include/postern" / name).read_text() for name in ("postern.h", "attest.h"))
    declared = {name for name in re.findall(r"\b(postern_\w+)\(", headers) if not name.endswith("_init")}  # those are inline
    for kind, file in (("-D", "libpostern.so"), ("-g", "libpostern.a")):
        lines = run("nm", kind, "--defined-only", installed.libraries / file).splitlines()
        names = {line.split()[-1].partition("@")[0] for line in lines if " T " in line}
        assert names == declared, file
        others = {line.split()[-1] for line in lines if re.search(r" [BCDVWu] ", line)}
        assert cached("POSTERN_SANITIZE") or cached("POSTERN_COVERAGE") == "ON" or not others


def test_needs_libc_and_libcbor_alone(installed):
    needed = re.findall(r"NEEDED\s+(\S+)", run("objdump", "-p", installed.libraries / "libpostern.so"))
    needed = [name for name in needed if not re.match(r"lib(c|asan|ubsan|tsan|clang_rt)\b|ld-linux", name)]
    assert [name.partition(".")[0] for name in needed] == ["libcbor"]


def test_its_soname_has_the_version(installed):
    soname = re.search(r"SONAME\s+(\S+)", run("objdump", "-p", installed.libraries / "libpostern.so")).group(1)
    assert soname == "libpostern.so.0"
    assert (installed.libraries / soname).exists()
    assert installed.package("--modversion") == [cached("CMAKE_PROJECT_VERSION")]


def test_the_packages_hold_for_where_they_were_installed(installed):
    for file in [*installed.prefix.rglob("*.pc"), *installed.prefix.rglob("*.cmake")]:
        assert str(BUILD) not in file.read_text() and str(REPOSITORY) not in file.read_text()
    assert str(installed.prefix) in " ".join(installed.package("--cflags"))


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
@pytest.mark.parametrize("language", ["c", "c++"])
def test_a_program_that_waits(installed, framed, peer, language, static):
    source = EXAMPLES / "blocking.c"
    daemon = framed(peer(reply_after_end).address, "unix")
    assert installed.run(daemon, installed.build(source, language, static), "out", "one", "two") == "got 8 bytes"
    daemon.wait_ended("finished")
    assert daemon.wait_event(event="session ended")["code"] == "no_error"


def test_the_examples_by_the_cmake_package(installed, framed, peer, tmp_path):
    run("cmake", "-G", "Ninja", "-S", EXAMPLES, "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={installed.prefix}",
        f"-DCMAKE_C_COMPILER={cached('CMAKE_C_COMPILER')}",
        f"-DCMAKE_C_FLAGS={' '.join(['-Wall', '-Wextra', '-Werror', *instrumentation()])}")
    run("cmake", "--build", tmp_path)
    daemon = framed(peer(echo).address)
    for kind in ("", "_static"):
        assert installed.run(daemon, tmp_path / f"blocking{kind}", "out", "hello", "world") == "hello\nworld\n"
        told = installed.run(daemon, tmp_path / f"pollable{kind}", "out", "100", "50000")
        assert told == "100 streams, 5000000 bytes came back\n"
    ended = daemon.wait_ended("finished", 202)
    assert {one["bytes_in"] for one in ended} == {12, 50000}


def test_the_example_of_a_request(installed, tmp_path):
    asked = []

    def answer(exchange):
        asked.append((*exchange.head()[:2], exchange.body()))
        exchange.answer(201 if exchange.route == "results" else 503, b"done", retry_after="7")
        exchange.finish()
        exchange.hear_out()
    program = installed.build(EXAMPLES / "request.c")
    with Forwarder(tmp_path, answer) as daemon:
        for route, code, words in (("results", 0, ""), ("full", 22, "request: the answer is 503, retry after 7\n")):
            done = subprocess.run([program, route, "/reports/7"], env={**installed.environment, "POSTERN_ADDRESS": daemon.address}, text=True,
                                  input="x" * 100000, capture_output=True, timeout=PATIENCE)
            assert (done.returncode, done.stdout, done.stderr) == (code, "done", words)
    assert asked == [("POST", "/reports/7", b"x" * 100000)] * 2


def test_a_body_that_cannot_be_read_is_not_sent_as_a_whole_one(installed, tmp_path):
    def answer(exchange):
        with pytest.raises(Gone):
            exchange.head()
            exchange.body()
    program = installed.build(EXAMPLES / "request.c")
    with Forwarder(tmp_path, answer) as daemon:
        folder = os.open(tmp_path, os.O_RDONLY)  # of which no byte can be read, and which is not at its end either
        done = subprocess.run([program, "results", "/reports/7"], env={**installed.environment, "POSTERN_ADDRESS": daemon.address}, text=True,
                              stdin=folder, capture_output=True, timeout=PATIENCE)
        os.close(folder)
        assert (done.returncode, done.stderr) == (1, "request: sending: cannot read the body\n")


def test_an_answer_that_cannot_be_written(installed, framed, peer):
    daemon = framed(peer(echo).address)
    program = installed.build(EXAMPLES / "blocking.c")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([program, "out", "x"], env={**installed.environment, "POSTERN_ADDRESS": daemon.at}, text=True, stdout=full,
                              stderr=subprocess.PIPE, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (1, "blocking: cannot write the answer\n")


def test_a_refusal_reaches_the_program(installed, framed, peer):
    daemon = framed(peer(echo).address)
    program = installed.build(EXAMPLES / "blocking.c")
    done = subprocess.run([program, "nowhere", "x"], env={**installed.environment, "POSTERN_ADDRESS": daemon.at}, text=True, capture_output=True,
                          timeout=PATIENCE)
    assert done.returncode == 1
    assert done.stderr.startswith("blocking: nowhere: the stream was refused: denied_route: ")


def test_without_a_daemon(installed, folder):
    program = installed.build(EXAMPLES / "blocking.c")
    done = subprocess.run([program, "out", "x"], env={**installed.environment, "POSTERN_ADDRESS": f"unix://{folder}/none"}, text=True,
                          capture_output=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert f"cannot connect to unix://{folder}/none: No such file or directory" in done.stderr


def multiplex(path, daemon_path):
    """What Firecracker does at the socket of a virtual machine: CONNECT PORT, then the stream of that port."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def pump(source, sink):
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)

    def serve():
        connection, _ = server.accept()
        with connection, socket.socket(socket.AF_UNIX) as onward:
            line = connection.makefile("rb", buffering=0).readline().split()
            assert line[0] == b"CONNECT"
            onward.connect(f"{daemon_path}_{line[1].decode()}")
            connection.sendall(b"OK 1024\n")
            thread = threading.Thread(target=pump, args=(connection, onward))
            thread.start()
            pump(onward, connection)
            thread.join()

    threading.Thread(target=serve, daemon=True).start()
    return server


def test_vsock_over_a_unix_socket(installed, framed, peer, folder):
    daemon = framed(peer(echo).address, "hybrid")
    listened = pathlib.Path(daemon.at.removeprefix("hybrid://").rpartition(":")[0])
    with multiplex(folder / "v.sock", listened):
        told = run(installed.build(EXAMPLES / "blocking.c"), "out", "hello",
                   env={**installed.environment, "POSTERN_ADDRESS": f"hybrid://{folder}/v.sock:5005"})
        assert told == "hello\n"


def test_by_name(installed, framed, peer):
    daemon = framed(peer(echo).address, "tcp")
    port = daemon.at.rpartition(":")[2]
    told = run(installed.build(EXAMPLES / "blocking.c"), "out", "hello",
               env={**installed.environment, "POSTERN_ADDRESS": f"tcp://localhost:{port}"})
    assert told == "hello\n"


def test_the_daemon_restarts_under_a_program(installed, framed, peer):
    daemon = framed(peer(echo).address, "unix")
    with subprocess.Popen([installed.build(LOAD), "again", "out"], env={**installed.environment, "POSTERN_ADDRESS": daemon.at}, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        def ask(text):
            program.stdin.write(text + "\n")
            program.stdin.flush()
            return program.stdout.readline().rstrip("\n")

        assert ask("one") == "one"
        assert ask("two") == "two"
        daemon.process.kill()
        daemon.process.wait()
        daemon.start()
        assert wait_until(lambda: ask("three") == "three", what="an exchange after the restart")
        assert ask("four") == "four"
        program.stdin.close()
        assert program.wait(PATIENCE) == 0


def test_idle_streams_cost_little(installed, framed, peer):
    daemon = framed(peer(echo_until_cut).address, "unix", enclaves={"payroll": {"cid": 16, "max_streams": 2000}})
    told = installed.run(daemon, installed.build(LOAD, static=True), "idle", "out", "1000")
    resident = int(re.search(r"VmRSS:\s+(\d+) kB", told).group(1))
    assert resident <= 3 * 1024 or instrumentation()  # what a sanitizer holds is not the library's


def test_64_streams_both_ways_at_once(installed, framed, peer):
    """1 GiB in all, byte for byte; less where every instruction costs ten."""
    total = 1 << (24 if instrumentation() else 30)
    daemon = framed(peer(echo).address, "unix")
    installed.run(daemon, installed.build(LOAD), "bulk", "out", "64", total // 2 // 64)
    ended = daemon.wait_ended("finished", 64)
    assert sum(one["bytes_in"] + one["bytes_out"] for one in ended) == total
