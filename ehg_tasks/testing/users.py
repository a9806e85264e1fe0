"""Who acts in users' tests: the API roles, and people by name."""

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


@dataclass(frozen=True)
class User:
    """A person who has signed up."""

    id: str
    email: str
    password: str = field(repr=False)


class Users:
    """The people of a run and a plain client for each of them and for each role.

    Args:
        project: where they sign up.
        opened: closes their connections.
    """

    def __init__(self, project: Project, opened: ExitStack) -> None:
        self._project = project
        self._opened = opened
        self.user = cache(self._sign_up)
        self.client = cache(self._client)

    def _sign_up(self, name: str) -> User:
        if name in API_ROLES or not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
            raise ValueError(f"{name!r} is no name for a user: take small letters, such as 'ana'")
        email = f"{name}-{secrets.token_hex(4)}@example.com"  # a kept stack knows the last run's
        password = secrets.token_urlsafe(16)
        answer = self._api(self._project.publishable_key).auth.sign_up({"email": email, "password": password})
        if answer.user is None or answer.session is None:
            fail("the project asks new users to confirm their address. Turn that off in a project for tests.")
        return User(answer.user.id, email, password)

    def _client(self, name: str) -> Client:
        if name == "service_role":
            return self._api(self._project.secret_key)
        client = self._api(self._project.publishable_key)
        if name != "anon":
            user = self.user(name)
            client.auth.sign_in_with_password({"email": user.email, "password": user.password})
        return client

    def _api(self, key: str) -> Client:
        import httpx
        from supabase import ClientOptions, create_client

        http = self._opened.enter_context(httpx.Client())
        options = ClientOptions(auto_refresh_token=False, persist_session=False, httpx_client=http)
        return create_client(self._project.url, key, options=options)
