"""The clients of commands, by the credentials in the environment, and the contracts that ids name."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from ehg_tasks.errors import BadArgument, SettingsError

if TYPE_CHECKING:
    from ehg_tasks import AgentTasks, BackendTasks, DashboardTasks, Settings

    AnyClient = AgentTasks | BackendTasks | DashboardTasks


def agent() -> AgentTasks:
    """Return the client of an agent, with the publishable key."""
    from ehg_tasks import AgentTasks

    return AgentTasks.from_env()


def backend() -> BackendTasks:
    """Return the client of a backend job, with the secret key."""
    from ehg_tasks import BackendTasks

    return BackendTasks.from_env()


def agent_or_backend() -> AgentTasks | BackendTasks:
    """Return the client of a backend job if there is a secret key, and else that of an agent."""
    from ehg_tasks import AgentTasks, BackendTasks, Settings

    settings = Settings.from_env()
    return AgentTasks(settings) if settings.secret_key is None else BackendTasks(settings)


def reader() -> BackendTasks | DashboardTasks:
    """Return a client that can read the table.

    Raises:
        SettingsError: there is neither a secret key nor a user.
    """
    from ehg_tasks import Settings

    client = _reader(Settings.from_env())
    if client is None:
        raise SettingsError(
            "reading contracts takes a secret key or a signed-in user",
            hint="Set SUPABASE_SECRET_KEY, or SUPABASE_PUBLISHABLE_KEY with SUPABASE_ACCESS_TOKEN or with"
            " SUPABASE_EMAIL and SUPABASE_PASSWORD.",
        )
    return client


def reader_or_agent() -> AnyClient:
    """Return a client that can read the table if there are credentials for it, and else that of an agent."""
    from ehg_tasks import AgentTasks, Settings

    settings = Settings.from_env()
    return _reader(settings) or AgentTasks(settings)


def _reader(settings: Settings) -> BackendTasks | DashboardTasks | None:
    from ehg_tasks import BackendTasks, DashboardTasks
    from ehg_tasks.settings import variable

    if settings.secret_key is not None:
        return BackendTasks(settings)
    token = variable("SUPABASE_ACCESS_TOKEN")
    if token is not None:
        return DashboardTasks(settings, access_token=token)
    email, password = variable("SUPABASE_EMAIL"), variable("SUPABASE_PASSWORD")
    if email is None or password is None:
        return None
    client = DashboardTasks(settings)
    try:
        client.sign_in(email, password)
    except BaseException:
        client.close()
        raise
    return client


def contract_id(client: AnyClient, text: str) -> UUID:
    """Return the id that a text is, or that it is the start of.

    Raises:
        BadArgument: it is not an id, and either the client cannot read the table or several ids begin so.
        ContractNotFound: no id begins so.
    """
    from ehg_tasks import AgentTasks

    try:
        return UUID(text)
    except ValueError:
        if isinstance(client, AgentTasks):
            raise BadArgument(
                f"contract_id is not a UUID: {text[:60]!r}",
                hint="An agent cannot look ids up: give the whole id, or use a secret key.",
            ) from None
    return client.find(text).id
