"""What cannot be written to standard output is told by every program, and is no success; and what is not to be shown as it is."""
import contextlib
import json
import os
import socket
import subprocess
import threading

import pytest

from postern import PATIENCE, PROGRAMS

CONFIG = """version: 1
listeners:
  in: {listen: "tcp://127.0.0.1:1", route: out, allow: any}
routes:
  out: {type: relay, to: "tcp://127.0.0.1:2"}
"""
COMMANDS = ["posternd --version", "posternd --help", "posternd --check --config CONFIG", "posternctl --version", "posternctl --help", "posternctl top --help",
            "posternctl explain", "posternctl --json explain", "posternctl explain --enclave a --route b --config CONFIG --json", "postern --version",
            "postern --help", "postern ping --help", "postern-sim --version", "postern-sim --help"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk(tmp_path, command):
    program, *arguments = command.split()
    if not (PROGRAMS / program).exists():
        pytest.skip(f"{program} is not built")
    (tmp_path / "config").write_text(CONFIG)
    arguments = [str(tmp_path / "config") if word == "CONFIG" else word for word in arguments]
    with open("/dev/full", "wb") as full:
        done = subprocess.run([PROGRAMS / program, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and done.stderr == f"{program}: cannot write the output: No space left on device\n", done.stderr


def test_top_tells_why(relay):
    """It writes again and again, and what is told is why the first of that failed."""
    address = f"unix://{relay('tcp://127.0.0.1:1').admin}"
    with open("/dev/full", "wb") as full:
        done = subprocess.run([PROGRAMS / "posternctl", "--socket", address, "top", "--interval", "10ms"], stdout=full, stderr=subprocess.PIPE,
                              text=True, timeout=PATIENCE)
    assert done.returncode == 1 and done.stderr == "posternctl: cannot write the output: No space left on device\n", done.stderr


EVIL = "x\x1b]0;y\x07\x9b2J\x7f\u202e\nz"
ENTRY = {"name": EVIL, "active": 9, "limit": 9, "configured": True, "ended": {EVIL: 1}}
EVIL_STATUS = {"schema": 1, "version": EVIL, "state": EVIL, "config": {"file": "/" + EVIL, "last_reload": {"accepted": False, "error": EVIL}},
               "spool": {"open": False, "error": EVIL}, "routes": [ENTRY], "enclaves": [ENTRY], "listeners": [ENTRY]}
EVIL_SPOOL = {"open": True, "path": EVIL, "health": {"good": False, "error": EVIL}, "routes": [{"route": EVIL, "configured": True, "held": True}]}
EVIL_RECORD = {"id": 1, "state": EVIL, "head": EVIL}


@contextlib.contextmanager
def says(path, status, body):
    """Somebody who says that to whoever asks."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    with listener.accept()[0] as client:
                        client.recv(4096)
                        client.sendall(b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"unix://{path}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("words, status, said", [
    ("status", 200, EVIL_STATUS), ("top --once --interval 10ms", 200, EVIL_STATUS), ("doctor", 200, EVIL_STATUS), ("spool stats", 200, EVIL_SPOOL),
    ("spool show 1", 200, EVIL_RECORD), ("spool show 1", 404, EVIL), ("spool verify", 500, EVIL), ("reload", 200, EVIL), ("reload", 422, EVIL),
    ("drain", 202, EVIL), ("drain", 400, EVIL)])
def test_what_a_daemon_says_does_not_move_the_cursor(tmp_path, words, status, said):
    """It may have been taken over, and root asks it."""
    body = said if isinstance(said, str) else json.dumps(said)
    environment = os.environ | {"LC_ALL": "C.UTF-8", "POSTERN_DOCTOR_METADATA": "tcp://127.0.0.1:1", "POSTERN_DOCTOR_VSOCK": "off"}
    with says(tmp_path / "said.sock", status, body.encode()) as address:
        done = subprocess.run([PROGRAMS / "posternctl", "--config", str(tmp_path / "none"), "--socket", address, *words.split()], capture_output=True,
                              text=True, timeout=PATIENCE, env=environment)
    shown = done.stdout + done.stderr
    assert "x\\u001b]0;y\\u0007\\u009b2J\\u007f\\u202e" in shown, shown
    assert not any(c in shown for c in "\x1b\x07\x9b\x7f\u202e"), shown
