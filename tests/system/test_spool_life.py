"""Records outlive reloads, drains and the daemon, killed at whatever instant."""
import http.client
import os
import random
import re
import threading
import time

import pytest

from postern import PATIENCE, sanitizers, wait_until
from store import Store
from test_units import NOT_MISSED, SERVICE, allowed_system_calls, needs_header, plain_build


def test_a_route_that_goes_leaves_its_records(store, spooling):
    daemon = spooling(store)
    _, key = daemon.keep()
    whole = daemon.configuration()
    without = daemon.configuration()
    without["routes"], without["listeners"] = {}, {}
    daemon.write_config(without)
    daemon.ctl("reload")
    assert "results" in daemon.wait_event(event="spooled records without a route")["detail"]
    [route] = daemon.stats()["routes"]
    assert (route["route"], route["configured"], sum(route["records"].values())) == ("results", False, 1)
    assert "(no route)" in daemon.ctl("spool", "stats").stdout
    store.start()
    daemon.write_config(whole)
    daemon.ctl("reload")
    assert [request.key for request in store.wait(1)] == [key]
    daemon.wait_empty()


def test_the_newest_rules_count(store, spooling):
    daemon = spooling(store)
    _, moved = daemon.keep(path="/allowed")
    denied, _ = daemon.keep(path="/denied")
    with Store() as other:
        daemon.configure(to=other.url, paths=["/allowed"])
        daemon.ctl("reload")
        [request] = other.wait(1)
        assert request.key == moved
        wait_until(lambda: daemon.records("--state", "dead"), what="a dead record")
        [record] = daemon.records()
        assert record["id"] == denied and "denied_path" in record["cause"]


def test_a_drain_waits_for_what_is_on_its_way(store, spooling):
    arrived, go_on = threading.Event(), threading.Event()

    def answer(request):
        arrived.set()
        go_on.wait(PATIENCE)
        return 200

    store.answer = answer
    daemon = spooling(store.start(), in_flight=1)
    daemon.write_config({**daemon.configuration(), "drain_timeout": "10m"})
    daemon.ctl("reload")
    _, first = daemon.keep(b"1")
    _, second = daemon.keep(b"2")
    arrived.wait(PATIENCE)
    daemon.ctl("drain")
    go_on.set()
    assert daemon.wait() == 0
    assert [request.key for request in store.requests] == [first]
    daemon.start()
    store.wait(2)
    daemon.wait_empty()
    assert [request.key for request in store.requests] == [first, second]


def test_a_delivery_that_is_cut_off_comes_again_under_its_key(store, spooling):
    arrived, go_on = threading.Event(), threading.Event()

    def answer(request):
        arrived.set()
        go_on.wait(PATIENCE)
        return 200

    store.answer = answer
    daemon = spooling(store.start())
    daemon.write_config({**daemon.configuration(), "drain_timeout": "0s"})
    daemon.ctl("reload")
    _, key = daemon.keep()
    arrived.wait(PATIENCE)
    daemon.stop()
    go_on.set()
    daemon.start()
    wait_until(lambda: len(store.requests) >= 2, what="the second delivery")
    daemon.wait_empty()
    assert store.keys() == {key}


def test_many_at_once_share_syncs(store, spooling):
    daemon = spooling(store)
    keys = []

    def run():
        for _ in range(4):
            keys.append(daemon.keep()[1])

    threads = [threading.Thread(target=run) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 256
    metrics = daemon.metrics()
    assert metrics['postern_spool_accepted_total{route="results"}'] == 256
    assert metrics["postern_spool_settled_total"] >= metrics["postern_spool_commits_total"]
    store.start()
    wait_until(lambda: store.keys() == set(keys), what="all of them at the store")
    daemon.wait_empty()


def test_a_backlog_costs_no_memory_at_the_start(store, spooling):
    if "POSTERN_UNIT" in os.environ or sanitizers():
        pytest.skip("memory is measured without the unit, and without a sanitizer's own")
    daemon = spooling(store)
    daemon.keep(b"warm")
    daemon.kill()
    daemon.start()
    wait_until(lambda: daemon.events(event="spool opened"), what="the spool")
    empty = daemon.resident_bytes()
    for _ in range(100):
        daemon.keep(os.urandom(1 << 20))
    daemon.kill()
    daemon.start()
    assert len(daemon.records()) == 101
    assert daemon.resident_bytes() - empty < 32 << 20  # of 100 MiB


@needs_header
@plain_build
def test_the_spool_calls_nothing_that_the_unit_forbids(store, spooling):
    daemon = spooling(store.start(), start=False)
    trace = daemon.folder / "trace"
    daemon.start(wrapper=["strace", "-f", "-qq", "-e", "signal=none", "-o", str(trace)])
    daemon.keep()
    daemon.keep(os.urandom(200_000))
    daemon.wait_empty()
    daemon.ctl("spool", "verify")
    daemon.ctl("drain")
    assert daemon.wait() == 0
    calls = set(re.findall(r"(?m)^\d+ +(\w+)\(", trace.read_text()))
    assert "fdatasync" in calls
    # Of root's alone: SQLite gives its files to whom the database belongs.
    assert calls - allowed_system_calls(SERVICE) <= NOT_MISSED | {"fchown"}


# ---- Killed at any instant ----

KILLS = int(os.environ.get("POSTERN_SPOOL_KILLS", "20"))


def test_killed_at_random_under_load(store, spooling):
    """Nothing acknowledged is lost, and nothing arrives under two keys, however often the daemon is killed."""
    daemon = spooling(store.start())
    acknowledged, lock, over = {}, threading.Lock(), threading.Event()
    dice = random.Random(os.environ.get("POSTERN_SPOOL_SEED"))

    def run(number):
        count = 0
        while not over.is_set():
            body = b"%d/%d " % (number, count) + b"x" * random.choice([0, 100, 70_000])
            count += 1
            try:
                status, _, answer = daemon.send(body, timeout=PATIENCE)
            except (OSError, http.client.HTTPException):
                time.sleep(0.005)
                continue
            if status == 202:
                with lock:
                    acknowledged[answer["key"]] = body

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(KILLS):
            goal = len(acknowledged) + dice.randint(1, 20)
            wait_until(lambda: len(acknowledged) >= goal, what="acknowledgements")
            daemon.kill()
            daemon.start()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    wait_until(lambda: store.keys() >= set(acknowledged), what="all that was acknowledged at the store")
    daemon.wait_empty()
    keys_of = {}
    for request in store.requests:
        keys_of.setdefault(request.body, set()).add(request.key)
        if request.key in acknowledged:
            assert request.body == acknowledged[request.key]
    assert all(len(keys) == 1 for keys in keys_of.values())
    assert set(acknowledged) <= store.keys()
    print(f"{KILLS} kills of the daemon under load: {len(acknowledged)} requests acknowledged, all at the store under their keys")
