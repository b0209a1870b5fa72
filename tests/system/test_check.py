"""The configuration from outside: check, start and reload give one verdict, and --check does nothing else."""
import os
import pathlib
import re
import subprocess

import pytest

from postern import PATIENCE, PROGRAMS, REPOSITORY, echo, sanitizers

POSTERND = PROGRAMS / "posternd"
GOOD = """version: 1
listeners:
  in: {listen: "tcp://127.0.0.1:1", route: out, allow: any}
routes:
  out: {type: relay, to: "tcp://127.0.0.1:2"}
"""
DEEP = "version: 1\nlog: " + "{a: " * 100000 + "x" + "}" * 100000 + "\n"
BAD = {
    "empty": (b"", r"the file is empty.*version: 1"),
    "only a comment": (b"# nothing\n", r"version"),
    "10 MiB": (b"version: 1\n" + b"# filled up\n" * 873813, r"1 MiB|too large|larger"),
    "deeply nested": (DEEP.encode(), r":2:\d+: .*16"),
    "deeply nested lists": (b"version: " + b"[" * 500000, r":1:\d+: "),
    "an anchor": (b"version: &v 1\n", r":1:10: .*anchor"),
    "an alias": (b"version: 1\nlog: {level: *v}\n", r":2:\d+: .*alias"),
    "a billion laughs": (b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nversion: 1\n", r":1:4: .*anchor"),
    "a tag": (b"version: !!int 1\n", r":1:10: .*tag"),
    "not UTF-8": (b"version: 1\nlog: {level: \"\xff\xfe\"}\n", r":2:\d+: .*UTF-8"),
    "UTF-16": ("version: 1\n".encode("utf-16"), r":1:1: .*UTF-8"),
    "a NUL": (b"version: 1\n\0\n", r":2:1: "),
    "two documents": (b"version: 1\n---\nversion: 1\n", r":2:\d+: |:3:\d+: "),
    "a key twice": (b"version: 1\nversion: 1\n", r":2:1: .*twice"),
    "a list": (b"- version\n", r":1:1: "),
    "a tab": (b"version: 1\nlog:\n\tlevel: info\n", r":3:1: "),
    "unknown keys": (GOOD.encode() + b"wrokers: 2\nlimits: {max_stream: 1}\n", r":6:1: .*workers(.|\n)*:7:10: .*max_streams"),
}


def check(path):
    return subprocess.run([POSTERND, "--check", "--config", path], capture_output=True, timeout=PATIENCE)


@pytest.mark.parametrize("what", BAD)
def test_what_is_refused(tmp_path, what):
    """With its place, in bounded time; and a start says the same, and starts nothing."""
    content, wanted = BAD[what]
    path = tmp_path / "postern.yaml"
    path.write_bytes(content)
    run = check(path)
    text = run.stderr.decode()
    assert run.returncode == 1 and run.stdout == b"" and len(text) < 100000
    assert re.search(wanted, text), text
    assert all(re.match(rf"{re.escape(str(path))}:(\d+:\d+: )?|and \d+ more|\d+ ", line) for line in text.splitlines()), text
    start = subprocess.run([POSTERND, "--config", path], capture_output=True, timeout=PATIENCE)
    assert (start.returncode, start.stderr.decode()) == (1, text)


@pytest.mark.parametrize("what", BAD)
def test_a_reload_gives_the_same_verdict(relay, peer, what):
    daemon = relay(peer(echo).address)
    daemon.config_file.write_bytes(BAD[what][0])
    code, said = daemon.request("POST", "/reload")
    assert code == 422
    assert said.encode() == check(daemon.config_file).stderr
    assert not is_alone(daemon)


def is_alone(daemon):
    with daemon.connect() as client:
        client.sendall(b"x")
        return client.recv(1) != b"x"


@pytest.mark.parametrize("path", ["/nonexistent/postern.yaml", "/", "/dev/zero", "/dev/null"])
def test_what_is_no_file(path):
    run = check(path)
    assert run.returncode == 1 and run.stderr.startswith(path.encode())


def test_an_empty_name_is_none():
    run = check("")
    assert run.returncode == 2 and run.stderr.startswith(b"posternd: no configuration: give --config FILE\n")


def test_a_fifo_keeps_nobody_waiting(relay, peer):
    """For whoever may write into it one day."""
    daemon = relay(peer(echo).address)
    daemon.config_file.unlink()
    os.mkfifo(daemon.config_file)
    code, said = daemon.request("POST", "/reload")
    assert code == 422 and "FIFO" in said
    run = check(daemon.config_file)
    assert run.returncode == 1 and run.stderr == said.encode()


def test_a_good_file(tmp_path):
    path = tmp_path / "postern.yaml"
    path.write_text(GOOD)
    run = check(path)
    assert (run.returncode, run.stdout.decode(), run.stderr) == (0, f"{path}: OK\n", b"")


@pytest.mark.parametrize("path", [REPOSITORY / "conf" / "postern.yaml"], ids=lambda path: path.name)
def test_the_files_that_are_shipped(path):
    assert check(path).returncode == 0


def test_what_is_said_in_vain_is_told_and_no_mistake(tmp_path):
    path = tmp_path / "postern.yaml"
    path.write_text("""version: 1
routes:
  results:
    type: forward
    to: https://results.example.com/v1
    headers: {set: {authorization: "Bearer ${credential:token}"}}
    sign: {aws: {service: s3, region: us-east-1}}
""")
    run = check(path)
    assert (run.returncode, run.stdout.decode()) == (0, f"{path}: OK\n")
    assert re.fullmatch(f"{path}:6:21: routes.results.headers: authorization is never sent.*\n", run.stderr.decode())


FORBIDDEN = {"bind", "listen", "connect", "sendto", "sendmsg", "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir",
             "mkdirat", "chmod", "fchmod", "fchmodat", "chown", "fchown", "fchownat", "kill", "tgkill", "truncate", "ftruncate",
             "link", "linkat", "symlink", "symlinkat", "creat", "socket", "socketpair", "setsockopt", "fork", "vfork"}


@pytest.mark.skipif(bool(sanitizers()), reason="a sanitizer makes calls of its own; this is tested with the plain build")
def test_check_has_no_effect_outside(tmp_path, folder):
    """Of a file whose every address could be bound and whose names could be looked up."""
    path, trace = tmp_path / "postern.yaml", tmp_path / "trace"
    path.write_text(f"""version: 1
admin: {{listen: "unix://{folder}/admin.sock"}}
metrics: {{listen: "tcp://127.0.0.1:0"}}
listeners:
  in: {{listen: "tcp://127.0.0.1:0", route: out, allow: any}}
  local: {{listen: "unix://{folder}/in.sock", route: out, allow: any}}
routes:
  out: {{type: relay, to: "tcp://localhost:2"}}
""")
    run = subprocess.run(["strace", "-f", "-qq", "-o", trace, POSTERND, "--check", "--config", path], capture_output=True)
    assert run.returncode == 0, run.stderr
    assert list(folder.iterdir()) == []
    calls = [match.groups() for line in trace.read_text().splitlines() if (match := re.match(r"\d+ +(\w+)\((.*)", line))]
    assert {name for name, _ in calls} & FORBIDDEN == set()
    opened = [arguments for name, arguments in calls if name in ("openat", "open")]
    assert any(str(path) in arguments for arguments in opened)
    assert not [arguments for arguments in opened if re.search("O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND", arguments)
                and "/dev/tty" not in arguments]
    written = {arguments.partition(",")[0] for name, arguments in calls if name in ("write", "writev")}
    assert written <= {"1", "2"}
    assert not [arguments for name, arguments in calls if name in ("clone", "clone3") and "CLONE_THREAD" not in arguments]


def test_check_needs_no_rights(tmp_path):
    """It reads as whoever calls it."""
    path = pathlib.Path(tmp_path / "postern.yaml")
    path.write_text(GOOD)
    for part in [path, *path.parents][:4]:
        part.chmod(0o755 if part != path else 0o644)
    run = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", POSTERND, "--check", "--config", path],
                         capture_output=True)
    assert run.returncode in (0, 126, 127), run.stderr  # 126: the build directory may be closed to others
