"""Every reason of src/base/reason.h is produced by a test here: this table says by which, and is held to both."""
import ast
import pathlib
import re
import subprocess

import pytest

from postern import PROGRAMS, REPOSITORY

HERE = pathlib.Path(__file__).parent
TESTS = {
    "finished": "test_relay.py::test_any_address_to_any_address",
    "client_reset": "test_aborts.py::test_the_upstream_hears_of_a_client_that_aborts",
    "upstream_reset": "test_aborts.py::test_the_client_hears_of_an_upstream_that_aborts",
    "denied_enclave": "test_policy.py::test_others_are_refused",
    "denied_route": "test_policy.py::test_others_are_refused",
    "denied_sni": "test_tls.py::test_curl_sees_that_its_name_is_refused",
    "no_sni": "test_tls.py::HOSTILE",
    "not_tls": "test_tls.py::HOSTILE",
    "bad_hello": "test_tls.py::HOSTILE",
    "bad_request": "test_connect.py::test_requests_that_are_refused",
    "denied_host": "test_connect.py::test_hosts_and_ports_that_are_not_allowed",
    "denied_address": "test_dns.py::test_a_name_may_not_lead_inside",
    "dns_not_found": "test_dns.py::test_a_resolver_that_fails",
    "dns_timeout": "test_dns.py::test_a_resolver_that_fails",
    "dns_failed": "test_dns.py::test_a_resolver_that_fails",
    "connect_refused": "test_destinations.py::test_a_port_that_nobody_listens_at",
    "connect_timeout": "test_timeouts.py::test_a_destination_that_does_not_answer",
    "unreachable": "test_destinations.py::test_a_unix_socket_that_is_not_there",
    "connect_failed": "test_destinations.py::test_a_unix_socket_whose_backlog_is_full",
    "limit_route": "test_policy.py::LIMITS",
    "limit_enclave": "test_policy.py::LIMITS",
    "limit_daemon": "test_policy.py::LIMITS",
    "no_descriptors": "test_overload.py::test_accept_without_descriptors",
    "no_memory": "test_faults.py::REFUSED",
    "hello_timeout": "test_tls.py::test_a_client_that_does_not_finish_its_hello",
    "first_byte_timeout": "test_timeouts.py::test_a_stream_without_a_first_byte",
    "idle_timeout": "test_timeouts.py::test_a_stream_that_falls_idle",
    "half_closed_timeout": "test_timeouts.py::test_a_half_closed_stream_on_which_nothing_comes",
    "draining": "test_shutdown.py::test_streams_finish_and_new_ones_are_turned_away",
    "shutdown": "test_shutdown.py::test_the_deadline_cuts_what_is_left",
    "internal": "test_faults.py::REFUSED",
}


def words():
    table = (REPOSITORY / "src" / "base" / "reason.h").read_text()
    return re.findall(r'X\([A-Z_]+, "([a-z_]+)",', table)


def test_the_table_is_complete():
    assert len(words()) > 20
    assert set(TESTS) == set(words())


def source_of(file, name):
    """Of a function with its decorators, or of a table that tests are made from."""
    for node in ast.parse((HERE / file).read_text()).body:
        names = [node.name] if isinstance(node, ast.FunctionDef) else [
            target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)]
        if name in names:
            decorators = getattr(node, "decorator_list", [])
            return "".join(ast.unparse(part) for part in [*decorators, node])
    raise AssertionError(f"{file} has no {name}")


@pytest.mark.parametrize("reason", TESTS)
def test_the_test_is_there_and_names_the_reason(reason):
    file, name = TESTS[reason].split("::")
    assert f"'{reason}'" in source_of(file, name)


@pytest.mark.parametrize("reason", TESTS)
def test_it_is_explained(reason):
    """To operators, by the same word."""
    run = subprocess.run([PROGRAMS / "posternctl", "explain", reason], text=True, capture_output=True)
    assert run.returncode == 0 and reason in run.stdout and len(run.stdout) > 80
