"""posternd under everything that its systemd unit takes from it, for running the system tests in the virtual machine:
a transient unit with the properties of the unit file named by $POSTERN_UNIT."""
import os
import pathlib
import shutil
import signal
import subprocess
import uuid

# The life cycle is the test's, and so is the folder: the rest of [Service] stays.
NOT_TAKEN = ("Exec", "Type", "Restart", "Watchdog", "Timeout", "RuntimeDirectory", "StateDirectory", "ConfigurationDirectory",
             "PrivateTmp")


def properties(unit):
    section, found = None, []
    for line in pathlib.Path(unit).read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith(("#", *NOT_TAKEN)):
            found += ["-p", line]
    return found


class Sandboxed:
    """What the tests use of subprocess.Popen, for a daemon that systemd runs."""

    def __init__(self, unit, command, folder, log, environment):
        shutil.chown(folder, "postern", "postern")
        for path in pathlib.Path(folder).iterdir():
            shutil.chown(path, "postern", "postern")
        self.name = f"postern-{uuid.uuid4().hex[:8]}.service"
        settings = [f"--setenv={name}={value}" for name, value in environment.items()]
        self.runner = subprocess.Popen(
            ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--service-type=exec", f"--unit={self.name}",
             *properties(unit), "-p", f"ReadWritePaths={folder}", *settings, "--", *map(str, command)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def pid(self):
        shown = subprocess.run(["systemctl", "show", "--value", "-p", "MainPID", self.name], check=True, text=True,
                               capture_output=True).stdout
        return int(shown)

    @property
    def returncode(self):
        return self.runner.returncode

    def poll(self):
        return self.runner.poll()

    def wait(self, timeout=None):
        return self.runner.wait(timeout)

    def send_signal(self, number):
        if self.poll() is None and (pid := self.pid) != 0:
            os.kill(pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)
