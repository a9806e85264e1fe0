"""Which keys each client accepts."""

from __future__ import annotations

import pytest

from ehg_tasks import AgentTasks, AuthenticationFailed, BackendTasks, DashboardTasks, SettingsError
from tests.clients.helpers import WORK, Contracts
from tests.conftest import Project


@pytest.mark.parametrize("role", [AgentTasks, DashboardTasks])
def test_agents_and_dashboards_refuse_a_secret_key(
    project: Project, role: type[AgentTasks | DashboardTasks]
) -> None:
    for key in (project.secret_key, project.service_role_jwt):
        with pytest.raises(SettingsError, match="needs a publishable key") as raised:
            role(url=project.url, key=key)
        assert key not in str(raised.value)


def test_backend_jobs_refuse_a_publishable_key(project: Project) -> None:
    for key in (project.publishable_key, project.anon_jwt):
        with pytest.raises(SettingsError, match="needs a secret key"):
            BackendTasks(url=project.url, key=key)


def test_dashboards_refuse_an_access_token_that_is_not_a_users(project: Project) -> None:
    with pytest.raises(SettingsError, match="needs a user token"):
        DashboardTasks(url=project.url, key=project.publishable_key, access_token=project.service_role_jwt)


def test_legacy_keys_are_accepted(project: Project, contracts: Contracts) -> None:
    with AgentTasks(url=project.url, key=project.anon_jwt) as agent:
        agent.create(**WORK)
    with BackendTasks(url=project.url, key=project.service_role_jwt) as backend:
        assert backend.count() == len(contracts()) == 1


def test_an_invalid_key_is_refused_and_not_quoted(project: Project, contracts: Contracts) -> None:
    with AgentTasks(url=project.url, key="sb_publishable_made_up") as agent:
        with pytest.raises(AuthenticationFailed) as raised:
            agent.create(**WORK)
        assert "made_up" not in str(raised.value)
    assert contracts() == []


def test_from_env_takes_the_key_of_the_role(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", project.url)
    monkeypatch.setenv("SUPABASE_PUBLISHABLE_KEY", project.publishable_key)
    monkeypatch.setenv("SUPABASE_SECRET_KEY", project.secret_key)
    with AgentTasks.from_env() as agent, BackendTasks.from_env() as backend:
        assert agent.connection.key == project.publishable_key
        assert backend.connection.key == project.secret_key
