"""The access matrix, as data: who may do what, on which object, on which path, and what it leaves behind.

An outcome is one of
    "2 rows"    allowed; so many rows come back
    "+1" "~2" "-1"   allowed; so many rows are added, changed, removed
    "unchanged" allowed, and nothing happens
    "ok"        a function call that is allowed
    "42501"     refused with this SQLSTATE; nothing changes

The world of every case: two contracts, each with a directive, a lease or a handback where the engine
keeps one, and one artifact (`tests/access/world.py`). `test_matrix.py` runs each case and compares
the whole database before and after; `render.py` prints the matrix into docs/access-rules.md.
"""

from __future__ import annotations

from typing import Final

ROLES: Final = ("anon", "authenticated", "service_role")
Outcomes = tuple[str, str, str]  # in the order of ROLES

NO = "42501"
CLOSED: Final[Outcomes] = (NO, NO, NO)

# --- relations, as shipped ----------------------------------------------------------------------------

SPECIFIED: Final[dict[str, dict[str, Outcomes]]] = {
    "public.agent_task_contracts": {
        "select": (NO, "2 rows", "2 rows"),
        "select one column": (NO, "2 rows", "2 rows"),
        "insert": ("+1", NO, "+1"),
        "insert returning": (NO, NO, "+1"),
        "update one": (NO, NO, "~1"),
        "update all": ("21000", NO, "~2"),
        "update returning": (NO, NO, "~1"),
        "upsert": (NO, NO, "~1"),
        "upsert ignoring": (NO, NO, "unchanged"),
        "upsert ignoring, no target": ("unchanged", NO, "unchanged"),
        "delete one": (NO, NO, "-1"),
        "delete all": (NO, NO, "-2"),
        "truncate": CLOSED,
    },
    "public.task_contract_stats": {
        "select": (NO, "2 rows", "2 rows"),
        "select one column": (NO, "2 rows", "2 rows"),
        "delete one": ("55000", "55000", "55000"),  # a view of groups cannot be written to
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
    "ehg_tasks.leases": {
        "select": CLOSED,
        "select one column": CLOSED,
        "insert": CLOSED,
        "update all": CLOSED,
        "delete all": CLOSED,
        "truncate": CLOSED,
    },
    "ehg_tasks.handbacks": {
        "select": CLOSED,
        "select one column": CLOSED,
        "insert": CLOSED,
        "update all": CLOSED,
        "delete all": CLOSED,
        "truncate": CLOSED,
    },
}

# The hardened profile (supabase/optional/hardened.sql): what differs.
HARDENED: Final[dict[str, dict[str, Outcomes]]] = {
    "public.agent_task_contracts": {
        "insert": (NO, NO, "+1"),
        "update all": (NO, NO, "~2"),
        "upsert ignoring, no target": (NO, NO, "unchanged"),
    },
}

# --- row level security alone: every privilege granted to the three roles -----------------------------
# Here a policy has to hold by itself. Where nobody has one, rows are invisible, so that reading,
# updating and deleting pass over them without a word; adding one is refused. TRUNCATE is outside of
# row level security, which is why nobody is granted it.

RLS_ALONE: Final[dict[str, dict[str, Outcomes]]] = {
    "public.agent_task_contracts": {
        "select": ("0 rows", "2 rows", "2 rows"),
        "select one column": ("0 rows", "2 rows", "2 rows"),
        "insert": ("+1", NO, "+1"),
        "insert returning": (NO, NO, "+1"),
        "update one": ("unchanged", "unchanged", "~1"),
        "update all": ("21000", "unchanged", "~2"),
        "update returning": ("unchanged", "unchanged", "~1"),
        "upsert": (NO, NO, "~1"),
        "upsert ignoring": (NO, NO, "unchanged"),
        "upsert ignoring, no target": ("unchanged", NO, "unchanged"),
        "delete one": ("unchanged", "unchanged", "-1"),
        "delete all": ("unchanged", "unchanged", "-2"),
        "truncate": ("-2", "-2", "-2"),
    },
    "public.task_contract_stats": {
        "select": ("0 rows", "2 rows", "2 rows"),
        "select one column": ("0 rows", "2 rows", "2 rows"),
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
    "ehg_tasks.leases": {
        "select": ("0 rows", "0 rows", "1 rows"),
        "insert": (NO, NO, "+1"),
        "update all": ("unchanged", "unchanged", "~1"),
        "delete all": ("unchanged", "unchanged", "-1"),
    },
    "ehg_tasks.handbacks": {
        "select": ("0 rows", "0 rows", "1 rows"),
        "insert": (NO, NO, "+1"),
        "update all": ("unchanged", "unchanged", "~1"),
        "delete all": ("unchanged", "unchanged", "-1"),
    },
}

# The same for the hardened profile: what differs.
HARDENED_RLS_ALONE: Final[dict[str, dict[str, Outcomes]]] = {
    "public.agent_task_contracts": {
        "insert": (NO, NO, "+1"),
        "update all": ("unchanged", "unchanged", "~2"),
        "upsert ignoring, no target": (NO, NO, "unchanged"),
    },
}

# --- functions, in both profiles ----------------------------------------------------------------------

AGENTS: Final[Outcomes] = ("ok", NO, "ok")
BACKEND: Final[Outcomes] = (NO, NO, "ok")

FUNCTIONS: Final[dict[str, Outcomes]] = {
    "create_task_contract": AGENTS,
    "create_task_contracts": AGENTS,
    "claim_task_contract": AGENTS,
    "renew_task_contract": AGENTS,
    "complete_task_contract": AGENTS,
    "fn_complete_task_contract_idempotent": AGENTS,
    "fail_task_contract": AGENTS,
    "release_task_contract": AGENTS,
    "cancel_task_contract": AGENTS,
    "task_contract_outcomes": AGENTS,
    "task_contract_inputs": AGENTS,
    "read_task_contract": (NO, "ok", "ok"),
    "cleanup_stale_contracts": BACKEND,
    "prune_task_contracts": BACKEND,
    "describe_task_contracts": BACKEND,
}
# Of the engine, the API roles may call what stands directly behind a function above, and nothing else:
# the helpers, which trust their callers, are closed to all three.
ENGINE_FUNCTIONS: Final[dict[str, Outcomes]] = {
    "create_task_contracts": AGENTS,
    "claim_task_contract": AGENTS,
    "renew_task_contract": AGENTS,
    "complete_task_contract": AGENTS,
    "fail_task_contract": AGENTS,
    "release_task_contract": AGENTS,
    "cancel_task_contract": AGENTS,
    "task_contract_outcomes": AGENTS,
    "task_contract_inputs": AGENTS,
    "cleanup_stale_contracts": BACKEND,
    "prune_task_contracts": BACKEND,
    "describe_task_contracts": BACKEND,
    "as_json": CLOSED,
    "check_claim": CLOSED,
    "check_contract_sizes": CLOSED,
    "check_count": CLOSED,
    "check_json": CLOSED,
    "check_not_final": CLOSED,
    "check_size": CLOSED,
    "default_contract": CLOSED,
    "end_attempts": CLOSED,
    "expire_leases": CLOSED,
    "final_statuses": CLOSED,
    "guard_anon_rows": CLOSED,
    "guard_anon_sizes": CLOSED,
    "hand_back": CLOSED,
    "is_blank": CLOSED,
    "is_service_role": CLOSED,
    "lease_length": CLOSED,
    "lock_contract": CLOSED,
    "retries_left": CLOSED,
    "retry_wait": CLOSED,
}
# A trigger function runs for its trigger and can be called by nobody.
TRIGGER_FUNCTIONS: Final = ("update_task_contracts_timestamp",)

# --- who is nobody, over HTTP -------------------------------------------------------------------------
# name -> (key, token): placeholders that `test_matrix.py` fills in. Each is refused whatever it asks for.

NOBODIES: Final[dict[str, tuple[str | None, str | None]]] = {
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
# name -> (key, token, the role that it acts in): the token decides, not the key beside it.
MIXED: Final[dict[str, tuple[str, str, str]]] = {
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

# --- what proves what ---------------------------------------------------------------------------------
# Each policy and the case of `RLS_ALONE` that turns red without it; where service_role is concerned,
# which passes over row level security anyway, its policy shows in the catalog alone.

POLICIES: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "public.agent_task_contracts": {
        "Anon can create task contracts": ("insert", "anon"),
        "Anon can update task contracts": ("update all", "anon"),
        "Authenticated users can read task contracts": ("select", "authenticated"),
        "Service role full access on task contracts": ("select", "service_role"),
    },
    "public.agent_artifacts": {
        "Authenticated users can read agent artifacts": ("select", "authenticated"),
        "Service role full access on agent artifacts": ("select", "service_role"),
    },
    "public.strategic_directives_v2": {
        "Authenticated users can read strategic directives": ("select", "authenticated"),
        "Service role full access on strategic directives": ("select", "service_role"),
    },
}
# Each trigger of the table, and the tests that turn red without it.
TRIGGERS: Final[dict[str, str]] = {
    "trg_task_contracts_updated": "tests/lifecycle/test_trigger.py",
    "trg_task_contracts_anon_rows": "tests/access/test_guards.py",
    "trg_task_contracts_anon_sizes": "tests/access/test_guards.py",
}
SCHEMAS: Final[dict[str, tuple[str, ...]]] = {
    "public": ("PUBLIC", *ROLES),
    "ehg_tasks": ("anon", "service_role"),
}
# An agent may call it, and is refused by the table that it reads.
REFUSED_BEHIND_THE_DOOR: Final = {("public", "read_task_contract", "anon")}
