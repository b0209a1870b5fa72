"""What becomes of records when there is no room, the disk fails, or something on it is damaged: nothing acknowledged is lost."""
import contextlib
import json
import os
import subprocess

import pytest

from postern import PROGRAMS, free_port, wait_until
from store import send


def test_a_full_spool_says_so_and_loses_nothing(store, spooling):
    daemon = spooling(store, spool={"max_size": "1MiB"})
    keys = []
    for _ in range(20):
        status, headers, answer = daemon.send(os.urandom(100_000))
        if status != 202:
            break
        keys.append(answer["key"])
    assert (status, answer["code"]) == (507, "spool_full") and int(headers["Retry-After"]) > 0
    assert str(daemon.folder) not in str(answer)
    assert 5 <= len(keys) <= 10
    assert daemon.metrics()['postern_spool_refused_total{route="results"}'] == 1
    store.start()
    store.wait(len(keys))
    daemon.wait_empty()
    assert sorted(keys) == sorted(request.key for request in store.requests)
    daemon.keep()


def test_a_reload_gives_a_full_spool_room(store, spooling):
    """As its refusals advise, and its figures say."""
    daemon = spooling(store, spool={"max_size": "1MiB"})
    while daemon.send(os.urandom(100_000))[0] == 202:
        pass
    daemon.configure(spool={"max_size": "2MiB"})
    daemon.ctl("reload")
    daemon.keep(os.urandom(100_000))
    assert "of at most 2 MiB" in daemon.ctl("spool", "stats").stdout
    daemon.configure(spool={"max_size": "2MiB", "max_enclave_size": "1MiB"})
    daemon.ctl("reload")
    status, _, answer = daemon.send(os.urandom(100_000))
    assert (status, answer["code"]) == (507, "spool_full")


def test_a_reload_does_not_move_the_spool(store, spooling):
    """The figures are of the one that is open, and so is the path beside them."""
    daemon = spooling(store)
    daemon.configure(spool={"path": str(daemon.folder / "elsewhere")})
    assert "changes to `spool.path` take effect at the next start" in daemon.ctl("reload").stdout
    daemon.keep()
    assert daemon.stats()["path"] == str(daemon.spool_path)


def test_no_enclave_fills_the_spool_for_all(store, spooling):
    """Where there are several, one has no more than seven eighths of it."""
    daemon = spooling(store, spool={"max_size": "1MiB"}, start=False)
    other = daemon.add_enclave("fraud", 17)
    daemon.start()
    kept = 0
    while send(other, os.urandom(50_000))[0] == 202:
        kept += 50_000
    assert 800_000 <= kept <= 7 * 2**20 // 8
    assert daemon.wait_event(event="request refused", reason="spool_full")["detail"].startswith("enclave fraud has its share")
    daemon.keep(os.urandom(100_000))


def test_a_route_has_a_bound_of_its_own(store, spooling):
    daemon = spooling(store, max_spool="1MiB")
    statuses = [daemon.send(os.urandom(300_000))[0] for _ in range(5)]
    assert statuses[:3] == [202] * 3 and statuses[-1] == 507


@contextlib.contextmanager
def small_disk(folder, options):
    """What starts a program with a file system of its own at `folder`."""
    probe = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", folder], capture_output=True, text=True)
    if probe.returncode != 0:
        pytest.skip(f"no mount namespace may be made here: {probe.stderr.strip()}")
    yield ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o {options} none {folder} && exec "$@"', "sh"]


def assert_the_operator_is_told(daemon, refused):
    assert daemon.metrics()['postern_spool_failed_total{route="results"}'] == refused
    lines = daemon.ctl("spool", "stats").stdout.splitlines()
    heads = next(line for line in lines if line.startswith("ROUTE"))
    row = next(line for line in lines if line.startswith("results"))
    end = heads.index("FAILED") + len("FAILED")
    assert row[:end].endswith(f" {refused}"), lines
    checks = json.loads(daemon.ctl("doctor", "--json", check=False).stdout)["checks"]
    assert any(check["verdict"] == "warn" and check["subject"] == "results" and
               f"{refused} requests were refused since" in check["found"] for check in checks), checks


def test_a_full_disk_says_so_and_loses_nothing(store, spooling):
    daemon = spooling(store, start=False)
    daemon.spool_path.mkdir(mode=0o700)
    with small_disk(daemon.spool_path, "size=2m,mode=700") as wrapper:
        daemon.start(wrapper=wrapper)
        keys, refused = [], 0
        while refused < 3:
            status, headers, answer = daemon.send(os.urandom(150_000))
            if status == 202:
                keys.append(answer["key"])
            else:
                assert status in (503, 507) and int(headers["Retry-After"]) > 0, answer
                refused += 1
        assert keys
        assert_the_operator_is_told(daemon, refused)
        store.start()
        wait_until(lambda: store.keys() >= set(keys), what="all that was acknowledged at the store")
        assert store.keys() == set(keys)
        daemon.wait_empty()
        daemon.keep()  # there is room again


def test_a_disk_that_cannot_be_written_leaves_the_other_routes_alone(store, spooling):
    daemon = spooling(store.start(), start=False)
    daemon.spool_path.mkdir(mode=0o700)
    other = f"tcp://127.0.0.1:{free_port()}"
    daemon.configure(routes={"direct": {"type": "relay", "to": f"tcp://127.0.0.1:{store.port}"}})
    whole = daemon.configuration()
    whole["listeners"]["plain"] = {"listen": other, "protocol": "raw", "route": "direct", "allow": "any"}
    daemon.write_config(whole)
    with small_disk(daemon.spool_path, "ro,mode=700") as wrapper:
        daemon.start(wrapper=wrapper)
        status, headers, answer = daemon.send()
        assert (status, answer["code"]) == (503, "spool_unavailable") and int(headers["Retry-After"]) > 0
        assert send(other)[0] == 200
        assert str(daemon.spool_path) in str(daemon.wait_event(event="spool not opened"))
        stats = daemon.ctl("spool", "stats", check=False)
        assert stats.returncode == 1 and "not open" in stats.stdout
        assert daemon.metrics()["postern_spool_up"] == 0


def test_a_corrupt_database_is_said_and_set_aside(store, spooling):
    daemon = spooling(store)
    daemon.keep()
    daemon.kill()
    database = daemon.spool_path / "spool.db"
    (daemon.spool_path / "spool.db-wal").unlink(missing_ok=True)
    database.write_bytes(b"this is no database" * 1000)
    daemon.start()
    status, _, answer = daemon.send()
    assert (status, answer["code"]) == (503, "spool_unavailable")
    assert "posternctl spool set-aside" in str(daemon.wait_event(event="spool not opened"))
    assert "spool set-aside" not in str(answer)
    aside = subprocess.run([daemon.program.parent / "posternctl", "--config", daemon.config_file, "spool", "set-aside"],
                           capture_output=True, text=True)
    assert aside.returncode == 0, aside.stderr
    daemon.ctl("reload")
    store.start()
    daemon.keep(b"after")
    assert [request.body for request in store.wait(1)] == [b"after"]
    assert any(b"no database" in file.read_bytes() for file in daemon.spool_path.rglob("spool.db"))
    refused = subprocess.run([daemon.program.parent / "posternctl", "--config", daemon.config_file, "spool", "set-aside"],
                             capture_output=True, text=True)
    assert refused.returncode == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_root_sets_aside_as_the_spool_s_user(folder):
    """Who is called at night is root, and the spool is not; what is made must stay its user's."""
    spool, nobody = folder / "spool", 65534
    spool.mkdir(mode=0o700)
    (spool / "spool.db").write_bytes(b"this is no database" * 1000)
    (spool / "spool.db").chmod(0o600)
    for path in spool, spool / "spool.db":
        os.chown(path, nobody, nobody)
    # The search for leaks stops a process that has changed its user.
    options = os.environ | {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
    aside = subprocess.run([PROGRAMS / "posternctl", "spool", "set-aside", "--path", spool], capture_output=True, text=True, env=options)
    assert aside.returncode == 0, aside.stderr
    assert {path.stat().st_uid for path in spool.rglob("*")} == {nobody}


def test_a_damaged_record_is_set_apart(store, spooling):
    daemon = spooling(store)
    bad, _ = daemon.keep(os.urandom(200_000))
    _, key = daemon.keep(b"good")
    [body] = (daemon.spool_path / "bodies").iterdir()
    with open(body, "r+b") as file:
        file.seek(150_000)
        whole = file.read(6)
        file.seek(150_000)
        file.write(b"damage")
    verify = daemon.ctl("spool", "verify", check=False)
    assert verify.returncode == 1 and "1 damaged" in verify.stdout
    store.start()
    assert [request.key for request in store.wait(1)] == [key]
    wait_until(lambda: [record["state"] for record in daemon.records()] == ["damaged"], what="the good one gone")
    retry = daemon.ctl("spool", "retry", str(bad), check=False)
    assert retry.returncode == 1 and f"record {bad}: it is damaged: its body is not what was put; the record stays" in retry.stderr
    assert daemon.ctl("spool", "export", str(bad), str(daemon.folder / "export"), check=False).returncode == 1
    assert not (daemon.folder / "export").exists()
    assert daemon.ctl("spool", "retry", "--all", "--state", "damaged").stdout == "0 records ready to be delivered\n"
    with open(body, "r+b") as file:
        file.seek(150_000)
        file.write(whole)
    assert daemon.ctl("spool", "retry", str(bad)).stdout == "1 record ready to be delivered\n"
    assert [len(request.body) for request in store.wait(2)][1] == 200_000
    daemon.wait_empty()
