"""The commands for the registry of agents, with the secret key: register, rotate, pause, resume, remove."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ehg_tasks.cli import clients
from ehg_tasks.cli.arguments import AgentName, AsJson
from ehg_tasks.cli.output import as_text, print_notice, print_result

if TYPE_CHECKING:
    from ehg_tasks import AgentChange, AgentToken

app = typer.Typer()
command = partial(app.command, rich_help_panel="Backend jobs (secret key)")


@command()
def register_agent(
    name: AgentName,
    description: Annotated[str | None, typer.Option(help="What the agent does.")] = None,
    max_running: Annotated[
        int | None,
        typer.Option(min=0, help="How many of its contracts may be in progress (default: no limit)."),
    ] = None,
    with_token: Annotated[
        bool, typer.Option("--token/--no-token", help="Whether its work can be claimed only with a token.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Register an agent and print its token, this once; or set description and limit of a registered one.

    The token is printed as a line of a .env file: EHG_AGENT_TOKEN=…
    """
    with clients.backend() as backend:
        agent = backend.register_agent(
            name, description=description, max_running=max_running, with_token=with_token
        )
    notice = f"{agent.name} is registered." if agent.created else f"{agent.name} was registered before."
    if with_token and agent.token is None:
        notice += " It has a token: rotate-agent issues a new one."
    _print_token(agent, as_json, notice)


@command()
def rotate_agent(
    name: AgentName,
    grace: Annotated[
        int, typer.Option(min=0, metavar="MINUTES", help="How long the previous token still works.")
    ] = 60,
    as_json: AsJson = False,
) -> None:
    """Print a new token for a registered agent, this once."""
    with clients.backend() as backend:
        agent = backend.rotate_agent(name, grace_minutes=grace)
    until = agent.previous_token_expires_at
    previous = f" The previous one works until {as_text(until)}." if until else ""
    _print_token(agent, as_json, f"{agent.name} has a new token.{previous}")


def _print_token(agent: AgentToken, as_json: bool, notice: str) -> None:
    from ehg_tasks.settings import AGENT_TOKEN_NAME

    if as_json:
        print_result(agent, as_json)
    elif agent.token is None:
        print_notice(notice)
    else:
        typer.echo(f"{AGENT_TOKEN_NAME}={agent.token}")
        print_notice(f"{notice} Keep the token: it is not shown again.")


@command()
def pause(name: AgentName, as_json: AsJson = False) -> None:
    """Pause an agent: none of its contracts are handed out. Running attempts go on."""
    with clients.backend() as backend:
        print_result(backend.pause_agent(name), as_json, _agent_line)


@command()
def resume(name: AgentName, as_json: AsJson = False) -> None:
    """Resume a paused agent: its contracts are handed out again."""
    with clients.backend() as backend:
        print_result(backend.resume_agent(name), as_json, _agent_line)


@command()
def remove_agent(name: AgentName, as_json: AsJson = False) -> None:
    """Remove an agent from the registry. Its contracts stay, and its work needs no token any more."""
    with clients.backend() as backend:
        print_result(backend.remove_agent(name), as_json, _agent_line)


def _agent_line(change: AgentChange) -> str:
    return f"{change.name}  {change.message}"
