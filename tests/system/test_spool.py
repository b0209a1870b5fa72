"""`delivery: spool`: what was answered with 202 arrives, once under one key, whatever happens in between."""
import contextlib
import os
import random
import subprocess
import threading
import time

import pytest

from postern import PATIENCE, Daemon, free_port, wait_until
from store import Store, send

# Quick, so that nobody waits; no test counts on how quick.
RETRY = {"attempts": 1000, "max_age": "1d", "min_pause": "20ms", "max_pause": "100ms"}


class Spooling(Daemon):
    """posternd with a listener for an enclave to the route `results`, which spools."""

    def __init__(self, store):
        super().__init__()
        self.store = store
        self.at = f"tcp://127.0.0.1:{free_port()}"
        self.spool_path = self.folder / "spool"
        self.configure()

    def configure(self, spool=None, routes=None, **route):
        self.route = {"type": "forward", "to": self.store.url, "delivery": "spool", "retry": RETRY, "in_flight": 8,
                      "allow_private": True, "response_timeout": "10m", "connect_timeout": "10m", "head_timeout": "10m",
                      "idle_timeout": "10m", **route}
        self.write_config({
            "enclaves": {"payroll": {"cid": 16}},
            "spool": {"path": str(self.spool_path), **(spool or {})},
            "listeners": {"in": {"listen": self.at, "protocol": "raw", "route": "results", "allow": ["payroll"],
                                 "peer": "payroll"}},
            "routes": {"results": self.route, **(routes or {})}})
        return self

    def send(self, body=b"result", **options):
        return send(self.at, body, **options)

    def keep(self, body=b"result", **options):
        """Sends one that must be kept; its id and key."""
        status, _, answer = self.send(body, **options)
        assert status == 202, (status, answer, self.log())
        return answer["id"], answer["key"]

    def stats(self):
        import json
        return json.loads(self.ctl("spool", "stats", "--json").stdout)

    def records(self, *arguments):
        import json
        return json.loads(self.ctl("spool", "list", "--json", *arguments).stdout)["records"]

    def wait_empty(self):
        """Until nothing is to be delivered any more; what gauges, list and statistics say is the same."""
        wait_until(lambda: not self.records(), what="an empty spool")
        metrics = self.metrics()
        assert not any(value for name, value in metrics.items() if name.startswith("postern_spool_records")), metrics
        assert not any(self.stats()["records"].values())


@pytest.fixture
def spooling():
    """spooling(store, start=True, ...): a daemon, ended after the test."""
    started = []

    def make(store, start=True, **config):
        one = Spooling(store)
        started.append(one)
        if config:
            one.configure(**config)
        return one.start() if start else one

    yield make
    problems = [problem for one in started for problem in one.finish()]
    assert not problems, "\n".join(problems)


@pytest.fixture
def store():
    one = Store()
    yield one
    one.stop()


def test_a_result_survives_the_store_and_the_daemon(store, spooling):
    daemon = spooling(store)
    identity, key = daemon.keep(b"aggregate: 1204", path="/results?run=7")
    assert daemon.kill() == -9
    store.start()
    daemon.start()
    [request] = store.wait(1)
    assert (request.key, request.body, request.method, request.path) == (key, b"aggregate: 1204", "POST", "/results?run=7")
    daemon.wait_empty()
    assert len(store.requests) == 1
    [line] = daemon.events(event="record delivered")
    assert (line["record"], line["route"], line["enclave"], line["status"]) == (identity, "results", "payroll", 200)


def test_the_clients_key_is_kept(store, spooling):
    daemon = spooling(store.start())
    assert daemon.keep(headers={"Idempotency-Key": "run-7/part 1".replace(" ", "-")})[1] == "run-7/part-1"
    [request] = store.wait(1)
    assert request.key == "run-7/part-1"
    assert request.headers.get_all("Idempotency-Key") == ["run-7/part-1"]
