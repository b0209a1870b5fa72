"""The client's programs from outside: `postern` run to its end, and `postern listen` as it goes on."""
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

from postern import FINDING, PATIENCE, PROGRAMS, connect, end, wait_until

POSTERN = PROGRAMS / "postern"


def postern(address, *arguments, timeout=PATIENCE, **options):
    """Runs one command to its end. `address` is the daemon's."""
    options = {"capture_output": True, **options}
    run = subprocess.run([POSTERN, "--connect", address, *arguments], timeout=timeout, check=False, **options)
    said = run.stderr or b""
    assert not FINDING.search(said if isinstance(said, str) else said.decode(errors="replace")), said
    return run


class Listening:
    """`postern listen` with the doors LOCAL=ROUTE; `at` holds their addresses by route, with the port that a 0 became."""

    def __init__(self, address, *arguments, wrapper=()):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-"))
        self.log_file = self.folder / "log"
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen([*wrapper, POSTERN, "--connect", address, "listen", *arguments],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.doors = sum("=" in argument and not argument.startswith("-") for argument in arguments)
        self.stopped = False
        self.at = {}

    def log(self):
        return self.log_file.read_text(errors="replace")

    def wait_said(self, pattern, count=1, seconds=PATIENCE):
        """Until `count` lines have the pattern in them. Returns these lines."""
        def find():
            found = [line for line in self.log().splitlines() if re.search(pattern, line)]
            return found if len(found) >= count else None
        try:
            return wait_until(find, seconds, f"{count} lines with {pattern}")
        except AssertionError as problem:
            raise AssertionError(f"{problem}:\n{self.log()}") from None

    def wait_listening(self):
        def all_said():
            assert self.process.poll() is None, self.log()
            found = re.findall(r"^postern: listening at (\S+) for route (\S+)$", self.log(), re.MULTILINE)
            return found if len(found) >= self.doors else None
        self.at = {route: address for address, route in wait_until(all_said, PATIENCE, "the doors")}
        return self

    def wait_up(self):
        self.wait_listening()
        self.wait_said(r"^postern: the session with \S+ is up")
        return self

    def connect(self, route="out", timeout=PATIENCE):
        address = self.at[route]
        if address.startswith("hybrid://"):
            path, _, port = address.removeprefix("hybrid://").rpartition(":")
            address = f"unix://{path}_{port}"
        return connect(address, timeout)

    def memory(self):
        """Bytes resident."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def stop(self, seconds=PATIENCE):
        self.process.send_signal(signal.SIGTERM)
        self.stopped = True
        return self.process.wait(seconds)

    def kill(self):
        self.process.kill()
        self.stopped = True
        return self.process.wait()

    def finish(self):
        """Ends it and takes the folder away. Returns what was wrong."""
        problems = end(self, "postern listen")
        shutil.rmtree(self.folder, ignore_errors=True)
        return problems
