"""The callers in the tests: the API roles, and users by name."""

from __future__ import annotations

import re
import secrets
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from ehg_tasks.testing.catalog import API_ROLES
from ehg_tasks.testing.project import Project, fail

if TYPE_CHECKING:
    from supabase import Client

    from ehg_tasks import DashboardTasks


@dataclass(frozen=True)
class User:
    """A user who has signed up."""

    id: str
    email: str
    password: str = field(repr=False)


class Users:
    """The users of a test run and their clients, each created at its first use.

    `user`, `client` and `dashboard` take a name. `client` takes "anon" and "service_role" too.

    Args:
        project: where the users sign up.
        resources: closes the clients.
    """

    def __init__(self, project: Project, resources: ExitStack) -> None:
        self._project = project
        self._resources = resources
        self.user = cache(self._sign_up)
        self.client = cache(self._client)
        self.dashboard = cache(self._dashboard)

    def _sign_up(self, name: str) -> User:
        if name in API_ROLES or not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
            raise ValueError(f"{name!r} is not a user's name. Use lower-case letters, such as 'ana'.")
        email = f"{name}-{secrets.token_hex(4)}@example.com"  # a kept stack has the users of earlier runs
        password = secrets.token_urlsafe(16)
        answer = self._api(self._project.publishable_key).auth.sign_up({"email": email, "password": password})
        if answer.user is None or answer.session is None:
            fail("the project requires new users to confirm their address. Turn that off in a test project.")
        return User(answer.user.id, email, password)

    def _client(self, name: str) -> Client:
        if name == "service_role":
            return self._api(self._project.secret_key)
        client = self._api(self._project.publishable_key)
        if name != "anon":
            user = self.user(name)
            client.auth.sign_in_with_password({"email": user.email, "password": user.password})
        return client

    def _dashboard(self, name: str) -> DashboardTasks:
        from ehg_tasks import DashboardTasks

        user = self.user(name)
        dashboard = self._resources.enter_context(DashboardTasks(self._project.settings()))
        dashboard.sign_in(user.email, user.password)
        return dashboard

    def _api(self, key: str) -> Client:
        import httpx
        from supabase import ClientOptions, create_client

        from ehg_tasks.connection import http_options

        http = self._resources.enter_context(httpx.Client(**http_options(self._project.url)))
        options = ClientOptions(auto_refresh_token=False, persist_session=False, httpx_client=http)
        return create_client(self._project.url, key, options=options)
