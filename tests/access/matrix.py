"""The access matrix: who may do what, on which object, and with what outcome.

An outcome is one of
    "2 rows"         allowed; this many rows are returned
    "+1" "~2" "-1"   allowed; this many rows are added, changed, removed
    "unchanged"      allowed, and no row changes
    "42501"          refused with this SQLSTATE; no row changes

Every case starts from the rows in `seed.py`. `test_relations.py` and `test_functions.py` run the cases,
`page.py` prints them as docs/access-rules.md.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from tests.access.seed import AGENT, IN_PROGRESS, NEW, PENDING, TOKEN

ROLES: Final = ("anon", "authenticated", "service_role")
Outcomes = tuple[str, str, str]  # in the order of ROLES
Relations = dict[str, dict[str, Outcomes]]  # relation -> operation -> outcomes

NO = "42501"
CLOSED: Final[Outcomes] = (NO, NO, NO)

# --- relations, as shipped ----------------------------------------------------------------------------

SPECIFIED: Final[Relations] = {
    "public.agent_task_contracts": {
        "select": (NO, "3 rows", "3 rows"),
        "select one column": (NO, "3 rows", "3 rows"),
        "insert": ("+1", NO, "+1"),
        "insert returning": (NO, NO, "+1"),
        "update one": (NO, NO, "~1"),
        "update all": ("21000", NO, "~3"),
        "update returning": (NO, NO, "~1"),
        "upsert": (NO, NO, "~1"),
        "upsert ignoring": (NO, NO, "unchanged"),
        "upsert ignoring, no target": ("unchanged", NO, "unchanged"),
        "delete one": (NO, NO, "-1"),
        "delete all": (NO, NO, "-3"),
        "truncate": CLOSED,
    },
    "public.task_contract_stats": {
        "select": (NO, "2 rows", "2 rows"),
        "select one column": (NO, "2 rows", "2 rows"),
        "delete one": ("55000", "55000", "55000"),  # a view with GROUP BY cannot be written to
    },
    "public.task_agents": {
        "select": (NO, "1 rows", "1 rows"),
        "select one column": (NO, "1 rows", "1 rows"),
        "delete one": ("55000", "55000", "55000"),  # nor can one of a function's rows
    },
    "public.agent_artifacts": {
        "select": (NO, "1 rows", "1 rows"),
        "select one column": (NO, "1 rows", "1 rows"),
        "insert": (NO, NO, "+1"),
        "insert returning": (NO, NO, "+1"),
        "update one": (NO, NO, "~1"),
        "update all": (NO, NO, "~1"),
        "update returning": (NO, NO, "~1"),
        "upsert": (NO, NO, "~1"),
        "upsert ignoring": (NO, NO, "unchanged"),
        "upsert ignoring, no target": (NO, NO, "unchanged"),
        "delete one": (NO, NO, "-1"),
        "delete all": (NO, NO, "-1"),
        "truncate": CLOSED,
    },
    "public.strategic_directives_v2": {
        "select": (NO, "1 rows", "1 rows"),
        "select one column": (NO, "1 rows", "1 rows"),
        "insert": (NO, NO, "+1"),
        "insert returning": (NO, NO, "+1"),
        "update one": (NO, NO, "unchanged"),  # the only column is the key, set to itself
        "update all": (NO, NO, "unchanged"),
        "update returning": (NO, NO, "unchanged"),
        "upsert": (NO, NO, "unchanged"),
        "upsert ignoring": (NO, NO, "unchanged"),
        "upsert ignoring, no target": (NO, NO, "unchanged"),
        "delete one": (NO, NO, "-1"),
        "delete all": (NO, NO, "-1"),
        "truncate": CLOSED,
    },
}

# How the hardened profile (supabase/optional/hardened.sql) differs.
HARDENED: Final[Relations] = {
    "public.agent_task_contracts": {
        "insert": (NO, NO, "+1"),
        "update all": (NO, NO, "~3"),
        "upsert ignoring, no target": (NO, NO, "unchanged"),
    },
}

# --- row level security on its own: every privilege granted, and no guard on rows ---------------------
# Here nothing but the policies restricts access. Without a policy a row is invisible: a select, update or
# delete skips it, and an insert is refused. Row level security does not cover TRUNCATE, which is why no
# role is granted it.

RLS_ALONE: Final[Relations] = {
    "public.agent_task_contracts": {
        "select": ("0 rows", "3 rows", "3 rows"),
        "select one column": ("0 rows", "3 rows", "3 rows"),
        "insert": ("+1", NO, "+1"),
        "insert returning": (NO, NO, "+1"),
        "update one": ("unchanged", "unchanged", "~1"),
        "update all": ("~3", "unchanged", "~3"),
        "update returning": ("unchanged", "unchanged", "~1"),
        "upsert": (NO, NO, "~1"),
        "upsert ignoring": (NO, NO, "unchanged"),
        "upsert ignoring, no target": ("unchanged", NO, "unchanged"),
        "delete one": ("unchanged", "unchanged", "-1"),
        "delete all": ("unchanged", "unchanged", "-3"),
        "truncate": ("-3", "-3", "-3"),
    },
    "public.task_contract_stats": {
        "select": ("0 rows", "2 rows", "2 rows"),
        "select one column": ("0 rows", "2 rows", "2 rows"),
        "delete one": ("55000", "55000", "55000"),
    },
    # The view calls a function of the engine, which anon may not.
    "public.task_agents": {
        "select": (NO, "1 rows", "1 rows"),
        "select one column": (NO, "1 rows", "1 rows"),
        "delete one": ("55000", "55000", "55000"),
    },
    "public.agent_artifacts": {
        "select": ("0 rows", "1 rows", "1 rows"),
        "insert": (NO, NO, "+1"),
        "update all": ("unchanged", "unchanged", "~1"),
        "delete all": ("unchanged", "unchanged", "-1"),
    },
    "public.strategic_directives_v2": {
        "select": ("0 rows", "1 rows", "1 rows"),
        "insert": (NO, NO, "+1"),
        "update all": ("unchanged", "unchanged", "unchanged"),
        "delete all": ("unchanged", "unchanged", "-1"),
    },
}

# How the hardened profile differs.
HARDENED_RLS_ALONE: Final[Relations] = {
    "public.agent_task_contracts": {
        "insert": (NO, NO, "+1"),
        "update all": ("unchanged", "unchanged", "~3"),
        "upsert ignoring, no target": (NO, NO, "unchanged"),
    },
}

# Every table in schema ehg_tasks. As shipped, each operation is refused for all three roles. This is what
# anon and authenticated get with row level security on its own; service_role bypasses it.
ENGINE_TABLES_RLS_ALONE: Final = {
    "select": "0 rows",
    "insert": NO,
    "update all": "unchanged",
    "delete all": "unchanged",
}

# --- schemas and functions, in both profiles ----------------------------------------------------------

# Schema -> who holds USAGE.
SCHEMAS: Final[dict[str, tuple[str, ...]]] = {
    "public": ("PUBLIC", *ROLES),
    "ehg_tasks": ROLES,
}


class Function(NamedTuple):
    """A function in public; the engine's function of the same name can be called by the same roles.

    No role may call a function in public without a row, or any other function of the engine except
    `BEHIND_VIEWS`.
    """

    callers: tuple[str, ...]
    """Roles that hold EXECUTE."""
    arguments: dict[str, Any]
    """Arguments that the tests call it with, without the prefix `p_`."""
    refused: tuple[str, ...] = ()
    """Roles that hold EXECUTE but are still refused by row level security or a table grant."""

    def outcome(self, role: str) -> str:
        """What a call by this role results in."""
        return "ok" if role in self.callers and role not in self.refused else NO


AGENTS: Final = ("anon", "service_role")
BACKEND: Final = ("service_role",)
_CONTRACT: Final = {"parent_agent": "P", "target_agent": "T", "objective": "o"}
_CLAIM: Final = {"contract_id": IN_PROGRESS, "claim_token": TOKEN}

FUNCTIONS: Final[dict[str, Function]] = {
    "create_task_contract": Function(AGENTS, _CONTRACT),
    "create_task_contracts": Function(AGENTS, {"contracts": [_CONTRACT]}),
    "claim_task_contract": Function(AGENTS, {"target_agent": "T"}),
    "renew_task_contract": Function(AGENTS, _CLAIM),
    "renew_task_contracts": Function(AGENTS, {"claims": [_CLAIM]}),
    "complete_task_contract": Function(AGENTS, _CLAIM),
    "complete_task_contracts": Function(AGENTS, {"results": [_CLAIM]}),
    "fn_complete_task_contract_idempotent": Function(AGENTS, _CLAIM | {"idempotency_key": NEW}),
    "fail_task_contract": Function(AGENTS, _CLAIM | {"error_message": "e"}),
    "release_task_contract": Function(AGENTS, _CLAIM),
    "cancel_task_contract": Function(AGENTS, {"contract_id": PENDING}),
    "requeue_task_contract": Function(BACKEND, {"contract_id": PENDING}),
    "task_contract_outcomes": Function(AGENTS, {"contract_ids": [PENDING]}),
    "task_contract_history": Function(ROLES, {"contract_id": IN_PROGRESS}),
    "task_contract_inputs": Function(AGENTS, _CLAIM),
    "read_task_contract": Function(ROLES, {"contract_id": PENDING}, refused=("anon",)),
    "register_task_agent": Function(BACKEND, {"name": "NEW"}),
    "rotate_task_agent": Function(BACKEND, {"name": AGENT}),
    "pause_task_agent": Function(BACKEND, {"name": AGENT}),
    "resume_task_agent": Function(BACKEND, {"name": AGENT}),
    "remove_task_agent": Function(BACKEND, {"name": AGENT}),
    "cleanup_stale_contracts": Function(BACKEND, {}),
    "prune_task_contracts": Function(BACKEND, {}),
    "describe_task_contracts": Function(BACKEND, {}),
}

# The functions of the engine that the views call with their reader's rights, and who may call them.
BEHIND_VIEWS: Final[dict[str, tuple[str, ...]]] = {
    "queue_figures": ("authenticated", "service_role"),
    "registered_agents": ("authenticated", "service_role"),
}


def engine_callers(function: str) -> tuple[str, ...]:
    """Roles that hold EXECUTE on a function in schema ehg_tasks."""
    if function in FUNCTIONS:
        return FUNCTIONS[function].callers
    return BEHIND_VIEWS.get(function, ())


# --- credentials, over HTTP ---------------------------------------------------------------------------
# `test_credentials.py` replaces the placeholders in angle brackets.

# name -> (key, token): every request with them is refused.
INVALID_CREDENTIALS: Final[dict[str, tuple[str | None, str | None]]] = {
    "no key": (None, None),
    "a made-up publishable key": ("sb_publishable_made_up", None),
    "a made-up secret key": ("sb_secret_made_up", None),
    "a legacy key signed with another secret": ("<forged service_role>", None),
    "a user's token as the key": ("<user>", None),
    "an expired token": ("<publishable>", "<expired authenticated>"),
    "a token signed with another secret": ("<publishable>", "<forged service_role>"),
    "a token without a signature": ("<publishable>", "<unsigned service_role>"),
    "a token for the owner of the database": ("<publishable>", "<signed postgres>"),
    "a token for the superuser": ("<publishable>", "<signed supabase_admin>"),
    "a token for a role that does not exist": ("<publishable>", "<signed nobody>"),
    "an expired token with the secret key": ("<secret>", "<expired authenticated>"),
    "a forged token with the secret key": ("<secret>", "<forged service_role>"),
}
# name -> (key, token, role): the token decides the role; the key makes no difference.
VALID_CREDENTIALS: Final[dict[str, tuple[str, str, str]]] = {
    "a user's token with the publishable key": ("<publishable>", "<user>", "authenticated"),
    "a user's token with the secret key": ("<secret>", "<user>", "authenticated"),
    "the legacy anon key": ("<legacy anon>", "<legacy anon>", "anon"),
    "the legacy service_role key": ("<legacy service_role>", "<legacy service_role>", "service_role"),
    "the legacy service_role key as a token with the publishable key": (
        "<publishable>",
        "<legacy service_role>",
        "service_role",
    ),
}
