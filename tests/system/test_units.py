"""The systemd units: what can be told from the files alone. How they behave is tested in tests/vm."""
import os
import pathlib
import re
import subprocess

import pytest

UNITS = pathlib.Path(__file__).resolve().parents[2] / "systemd"
SERVICE = UNITS / "postern.service"
SYSTEM_CALLS_AT_MOST = 80
EXPOSURE_AT_MOST = 1.5


HEADER = next((path for path in map(pathlib.Path, ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
                                                   "/usr/include/asm/unistd_64.h")) if path.exists()), None)
needs_header = pytest.mark.skipif(HEADER is None and "POSTERN_IN_VM" in os.environ,
                                  reason="the virtual machine has no headers; this is tested where there is a compiler")


def system_calls_of_x86_64():
    return set(re.findall(r"#define __NR_(\w+)", HEADER.read_text()))


def default_set():
    lines = subprocess.run(["systemd-analyze", "syscall-filter", "@default"], check=True, text=True,
                           capture_output=True).stdout.splitlines()
    return {line.strip() for line in lines[1:] if line.strip() and "#" not in line}


def allowed_system_calls(unit):
    """What the filter lets through: as systemd reads the lines, @default with the first, then one after another."""
    allowed = set(default_set())
    for line in unit.read_text().splitlines():
        if match := re.fullmatch(r"SystemCallFilter=(~?)(.*)", line):
            names = set(match[2].split())
            assert not any(name.startswith("@") for name in names), "system calls are listed by name"
            allowed = allowed - names if match[1] else allowed | names
    return allowed & system_calls_of_x86_64()


@needs_header
def test_filter_names_only_system_calls_that_exist():
    known = system_calls_of_x86_64()
    for line in SERVICE.read_text().splitlines():
        if match := re.fullmatch(r"SystemCallFilter=~?(.*)", line):
            assert set(match[1].split()) <= known


@needs_header
def test_few_system_calls_are_allowed():
    assert len(allowed_system_calls(SERVICE)) <= SYSTEM_CALLS_AT_MOST


def test_exposure_is_low():
    run = subprocess.run(["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_AT_MOST * 10:.0f}",
                          str(SERVICE)], text=True, capture_output=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("unit", sorted(UNITS.rglob("*.service")) + sorted(UNITS.rglob("*.socket")),
                         ids=lambda path: path.name)
def test_systemd_understands_every_line(unit, tmp_path):
    """systemd-analyze ignores what it cannot parse, and says so. Programs and pages are not installed here, so their
    lines are left out; the services stand beside the sockets, which look for them."""
    for service in UNITS.rglob("*.service"):
        text = re.sub(r"(?m)^(ExecStart|ExecReload)=.*$", r"\1=/bin/true", service.read_text())
        (tmp_path / service.name).write_text(re.sub(r"(?m)^Documentation=.*$", "", text))
    if unit.suffix == ".socket":
        (tmp_path / unit.name).write_text(unit.read_text())
    run = subprocess.run(["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)], text=True,
                         capture_output=True)
    said = [line for line in run.stderr.splitlines() if str(tmp_path) in line or unit.name in line]
    assert not said and run.returncode == 0, run.stderr
