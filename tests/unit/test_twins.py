"""The sync and the async clients are the same, but for `await`."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from ehg_tasks import async_clients, clients

PAIRS = [
    (clients.AgentTasks, async_clients.AsyncAgentTasks),
    (clients.DashboardTasks, async_clients.AsyncDashboardTasks),
    (clients.BackendTasks, async_clients.AsyncBackendTasks),
]
each_pair = pytest.mark.parametrize(("sync", "asynchronous"), PAIRS, ids=lambda cls: cls.__name__)


def public(cls: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in inspect.getmembers(cls)
        if callable(member) and (not name.startswith("_") or name == "__init__")
    }


def told(member: Any) -> list[tuple[str, str, Any, str]]:
    """Names, kinds, defaults and annotations, the answer's included."""
    signature = inspect.signature(member)
    answer = re.sub(r"\bAsyncIterator\b", "Iterator", str(signature.return_annotation))
    parameters = [
        (name, parameter.kind.name, parameter.default, str(parameter.annotation))
        for name, parameter in signature.parameters.items()
    ]
    return [*parameters, ("return", "", None, answer)]


@each_pair
def test_the_same_methods_with_the_same_signatures(sync: type, asynchronous: type) -> None:
    assert asynchronous.__name__ == f"Async{sync.__name__}"
    one, other = public(sync), public(asynchronous)
    assert one.keys() == other.keys()
    for name in one:
        assert told(one[name]) == told(other[name]), name


@each_pair
def test_what_talks_to_the_server_is_awaited(sync: type, asynchronous: type) -> None:
    not_awaited = {
        name for name, member in public(asynchronous).items() if not inspect.iscoroutinefunction(member)
    }
    assert not_awaited <= {"__init__", "from_env", "list"}
    assert not any(inspect.iscoroutinefunction(member) for member in public(sync).values())


@each_pair
def test_both_are_context_managers(sync: type, asynchronous: type) -> None:
    assert hasattr(sync, "__enter__")
    assert hasattr(sync, "__exit__")
    assert hasattr(asynchronous, "__aenter__")
    assert hasattr(asynchronous, "__aexit__")


@each_pair
def test_both_say_the_same_in_the_first_line(sync: type, asynchronous: type) -> None:
    for name, member in public(sync).items():
        if name != "__init__":
            lines = [
                (inspect.getdoc(one) or "").split("\n")[0] for one in (member, public(asynchronous)[name])
            ]
            assert lines[0] == lines[1] != ""


def test_the_backend_does_what_agents_and_dashboards_do() -> None:
    own = public(clients.BackendTasks)
    session = {"sign_up", "sign_in", "sign_out"}
    for cls in (clients.AgentTasks, clients.DashboardTasks):
        for name, member in public(cls).items():
            if name not in session | {"__init__"}:
                assert told(own[name]) == told(member), name
    assert not session & own.keys()
