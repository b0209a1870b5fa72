"""What operators and Prometheus see: /metrics, /status, /healthz, /readyz, and who may do what there."""
import http.client
import json
import socket
import subprocess
import urllib.parse
import urllib.request

import pytest

from postern import PATIENCE, connect, echo, free_port, receive, wait_until
from traffic import is_cut


@pytest.fixture
def measured(relay):
    """A daemon with a metrics listener at `daemon.metrics_port`."""
    def start(to, **config):
        port = free_port()
        daemon = relay(to, metrics={"listen": f"tcp://127.0.0.1:{port}"}, **config)
        daemon.metrics_port = port
        return daemon
    return start


def ask(daemon, method, path, body=None, headers={}):
    connection = http.client.HTTPConnection("127.0.0.1", daemon.metrics_port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()
    finally:
        connection.close()


def hello(connection):
    connection.sendall(b"hello")
    return receive(connection, 5) == b"hello"


def test_promtool_has_nothing_to_say(measured, peer):
    daemon = measured(peer(echo).address, enclaves={"payroll": {"cid": 16}})
    with daemon.connect() as client:
        assert hello(client)
    daemon.wait_ended("finished")
    code, headers, text = ask(daemon, "GET", "/metrics")
    assert code == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    run = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def query(port, expression):
    address = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(address, timeout=PATIENCE) as response:
        return [(result["metric"], float(result["value"][1])) for result in json.load(response)["data"]["result"]]


def test_a_real_prometheus_scrapes_it(measured, peer, tmp_path):
    daemon = measured(peer(echo).address)
    for _ in range(3):
        with daemon.connect() as client:
            assert hello(client)
    daemon.wait_ended("finished", count=3)
    port = free_port()
    (tmp_path / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "postern", "static_configs": [{"targets": [f"127.0.0.1:{daemon.metrics_port}"]}]}]}))
    with open(tmp_path / "log", "wb") as log:
        prometheus = subprocess.Popen(
            ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
             f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        def found(expression):
            """Its one value, once there is one: a scrape that takes too long on a busy machine leaves a gap."""
            def ask():
                try:
                    return query(port, expression)
                except OSError:
                    return []
            return wait_until(ask, what=expression)[0]
        labels, value = found('postern_streams_ended_total{reason="finished"}')
        assert labels["route"] == "out" and value == 3
        wait_until(lambda: found("up")[1] == 1)
        assert found('postern_connect_duration_seconds_bucket{le="+Inf"}')[1] == 3
        wait_until(lambda: found("scrape_samples_scraped")[1] > 50)
    finally:
        prometheus.kill()
        prometheus.wait()


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"])
@pytest.mark.parametrize("path", ["/metrics", "/reload", "/drain"])
def test_the_metrics_listener_only_reads(measured, method, path):
    daemon = measured("tcp://127.0.0.1:1")
    code, headers, _ = ask(daemon, method, path)
    assert code == 405 and headers["Allow"] == "GET"
    assert daemon.status()["state"] == "ready"


@pytest.mark.parametrize("path,code", [("/metrics", 200), ("/healthz", 200), ("/readyz", 200), ("/status", 404), ("/reload", 404),
                                       ("/drain", 404), ("/", 404), ("/metrics/..", 400), ("//metrics", 400),
                                       ("/metrics?x=y", 200)])
def test_what_there_is_on_the_metrics_listener(measured, path, code):
    assert ask(measured("tcp://127.0.0.1:1"), "GET", path)[0] == code


@pytest.mark.parametrize("bytes_sent", [b"\0" * 1000, b"GET /metrics\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n", b"GET /" + b"a" * 100000,
                                        b"GET /metrics HTTP/1.1\r\n" + b"x: y\r\n" * 10000 + b"\r\n",
                                        b"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"],
                         ids=["zeros", "no version", "no path", "a long path", "many headers", "two lengths"])
def test_nonsense_on_the_metrics_listener(measured, bytes_sent):
    daemon = measured("tcp://127.0.0.1:1")
    with connect(f"tcp://127.0.0.1:{daemon.metrics_port}") as client:
        try:
            client.sendall(bytes_sent)
            client.shutdown(socket.SHUT_WR)
            answer = receive(client, 12)
        except OSError:
            answer = b""
    assert answer in (b"", b"HTTP/1.1 400", b"HTTP/1.1 431", b"HTTP/1.1 414", b"HTTP/1.1 413", b"HTTP/1.1 505")
    assert ask(daemon, "GET", "/healthz")[0] == 200


def test_idle_and_slow_clients_do_not_keep_prometheus_out(measured):
    daemon = measured("tcp://127.0.0.1:1")
    idle = []
    try:
        for _ in range(60):
            try:
                idle.append(connect(f"tcp://127.0.0.1:{daemon.metrics_port}"))
                idle[-1].sendall(b"G")
            except ConnectionError:
                pass
        assert wait_until(lambda: answers(daemon))
        assert daemon.status()["state"] == "ready"
    finally:
        for one in idle:
            one.close()


def answers(daemon):
    try:
        return ask(daemon, "GET", "/metrics")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def test_many_requests_on_one_connection(measured):
    daemon = measured("tcp://127.0.0.1:1")
    connection = http.client.HTTPConnection("127.0.0.1", daemon.metrics_port, timeout=PATIENCE)
    for _ in range(50):
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.status == 200 and b"postern_build_info" in response.read()
    connection.close()


def test_the_connect_time_is_measured(relay, peer):
    daemon = relay(peer(echo).address)
    for _ in range(10):
        with daemon.connect() as client:
            assert hello(client)
    assert is_cut(relay(f"tcp://127.0.0.1:{free_port()}"))
    daemon.wait_ended("finished", count=10)
    metrics = daemon.metrics()
    name = "postern_connect_duration_seconds"
    buckets = [value for series, value in metrics.items() if series.startswith(name + "_bucket")]
    assert buckets == sorted(buckets) and buckets[-1] == metrics[f'{name}_count{{route="out"}}'] == 10
    assert 0 < metrics[f'{name}_sum{{route="out"}}'] < 10 * PATIENCE


def test_the_status_has_its_schema(relay, peer):
    daemon = relay(peer(echo).address, enclaves={"payroll": {"cid": 16, "max_streams": 7}},
                   listener={"peer": "payroll", "allow": ["payroll"]})
    with daemon.connect() as client:
        assert hello(client)
        status = daemon.status()
    assert status["schema"] == 1 and status["state"] == "ready" and status["streams"]["active"] == 1
    assert status["process"]["pid"] == daemon.process.pid
    assert status["config"]["file"] == str(daemon.config_file)
    listener, = status["listeners"]
    assert listener["listen"] == daemon.at and listener["allow"] == ["payroll"] and listener["accepted"] == 1
    enclave, = [enclave for enclave in status["enclaves"] if enclave["name"] == "payroll"]
    assert (enclave["cid"], enclave["limit"], enclave["active"], enclave["bytes_in"]) == (16, 7, 1, 5)
    daemon.wait_ended("finished")


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.test"}])
def test_a_web_page_may_not_command(relay, headers):
    daemon = relay("tcp://127.0.0.1:1")
    with connect(f"unix://{daemon.admin}") as client:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        client.sendall(f"POST /drain HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: 0\r\n\r\n".encode())
        assert receive(client, 12) == b"HTTP/1.1 403"
    assert daemon.status()["state"] == "ready"


def test_counters_survive_reloads_and_names_that_go(relay, peer):
    daemon = relay(peer(echo).address)
    with daemon.connect() as client:
        assert hello(client)
    daemon.wait_ended("finished")
    config = json.loads(daemon.config_file.read_text())
    config["routes"]["new"] = config["routes"].pop("out")
    config["listeners"]["in"]["route"] = "new"
    daemon.write_config(config)
    assert daemon.request("POST", "/reload")[0] == 200
    assert daemon.metrics()['postern_streams_ended_total{route="out",reason="finished"}'] == 1
    assert 'postern_streams_limit{route="out"}' not in daemon.metrics()
