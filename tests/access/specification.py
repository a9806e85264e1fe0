"""The specification of `public.agent_task_contracts` as data.

Types, defaults and definitions are written as PostgreSQL's catalog prints them.
"""

from __future__ import annotations

VARCHAR = "character varying"
TIMESTAMPTZ = "timestamp with time zone"

# name, information_schema data type, length of a varchar or bits of an integer, nullable, default
COLUMNS = [
    ("id", "uuid", None, False, "gen_random_uuid()"),
    ("session_id", "uuid", None, True, None),
    ("sd_id", VARCHAR, 50, True, None),
    ("parent_agent", VARCHAR, 50, False, None),
    ("target_agent", VARCHAR, 50, False, None),
    ("objective", "text", None, False, None),
    ("constraints", "jsonb", None, True, "'{}'::jsonb"),
    ("input_artifacts", "ARRAY", None, True, "ARRAY[]::uuid[]"),
    ("input_summary", "text", None, True, None),
    ("expected_output_type", VARCHAR, 50, False, "'artifact'::character varying"),
    ("output_schema", "jsonb", None, True, None),
    ("priority", "integer", 32, False, "50"),
    ("max_tokens", "integer", 32, True, "4000"),
    ("timeout_minutes", "integer", 32, True, "30"),
    ("status", VARCHAR, 20, False, "'pending'::character varying"),
    ("started_at", TIMESTAMPTZ, None, True, None),
    ("completed_at", TIMESTAMPTZ, None, True, None),
    ("output_artifact_id", "uuid", None, True, None),
    ("result_summary", "text", None, True, None),
    ("execution_tokens", "integer", 32, True, None),
    ("error_message", "text", None, True, None),
    ("retry_count", "integer", 32, True, "0"),
    ("max_retries", "integer", 32, True, "2"),
    ("created_by", VARCHAR, 100, True, "'system'::character varying"),
    ("created_at", TIMESTAMPTZ, None, False, "now()"),
    ("updated_at", TIMESTAMPTZ, None, False, "now()"),
    ("completion_idempotency_key", "uuid", None, True, None),
    ("completed_by_agent_id", "uuid", None, True, None),
]

CONSTRAINTS = {
    "agent_task_contracts_pkey": "PRIMARY KEY (id)",
    "agent_task_contracts_output_artifact_id_fkey": (
        "FOREIGN KEY (output_artifact_id) REFERENCES public.agent_artifacts(id) ON DELETE SET NULL"
    ),
    "agent_task_contracts_sd_id_fkey": (
        "FOREIGN KEY (sd_id) REFERENCES public.strategic_directives_v2(id) ON DELETE SET NULL"
    ),
    "agent_task_contracts_status_check": (
        "CHECK (((status)::text = ANY ((ARRAY['pending'::character varying, "
        "'in_progress'::character varying, 'completed'::character varying, "
        "'failed'::character varying, 'cancelled'::character varying])::text[])))"
    ),
}

_ON = "ON public.agent_task_contracts USING btree"
INDEXES = {
    "agent_task_contracts_pkey": f"CREATE UNIQUE INDEX agent_task_contracts_pkey {_ON} (id)",
    "idx_task_contracts_idempotency": (
        f"CREATE UNIQUE INDEX idx_task_contracts_idempotency {_ON} (id, completion_idempotency_key) "
        "WHERE (completion_idempotency_key IS NOT NULL)"
    ),
    "idx_task_contracts_pending": (
        f"CREATE INDEX idx_task_contracts_pending {_ON} (target_agent, priority DESC) "
        "WHERE ((status)::text = 'pending'::text)"
    ),
    "idx_task_contracts_sd": f"CREATE INDEX idx_task_contracts_sd {_ON} (sd_id)",
    "idx_task_contracts_session": f"CREATE INDEX idx_task_contracts_session {_ON} (session_id)",
    "idx_task_contracts_status": f"CREATE INDEX idx_task_contracts_status {_ON} (status)",
    "idx_task_contracts_target": f"CREATE INDEX idx_task_contracts_target {_ON} (target_agent, status)",
}

# name, command, roles, using, with check
POLICIES = {
    ("Anon can create task contracts", "INSERT", ("anon",), None, "true"),
    ("Anon can update task contracts", "UPDATE", ("anon",), "true", "true"),
    ("Authenticated users can read task contracts", "SELECT", ("authenticated",), "true", None),
    ("Service role full access on task contracts", "ALL", ("service_role",), "true", "true"),
}

TRIGGERS = {
    "trg_task_contracts_updated": (
        "CREATE TRIGGER trg_task_contracts_updated BEFORE UPDATE ON public.agent_task_contracts "
        "FOR EACH ROW EXECUTE FUNCTION public.update_task_contracts_timestamp()"
    ),
}
# The guards on direct writes by anon, and the triggers that keep the engine's tables in step.
ADDED_TRIGGERS = {
    "trg_task_contracts_anon_rows": (
        "CREATE TRIGGER trg_task_contracts_anon_rows BEFORE UPDATE ON public.agent_task_contracts "
        "FOR EACH STATEMENT WHEN ((CURRENT_USER = 'anon'::name)) "
        "EXECUTE FUNCTION ehg_tasks.guard_anon_rows()"
    ),
    "trg_task_contracts_anon_start": (
        "CREATE TRIGGER trg_task_contracts_anon_start BEFORE INSERT ON public.agent_task_contracts "
        "FOR EACH ROW WHEN ((CURRENT_USER = 'anon'::name)) EXECUTE FUNCTION ehg_tasks.guard_anon_start()"
    ),
    "trg_task_contracts_anon_names": (
        "CREATE TRIGGER trg_task_contracts_anon_names BEFORE INSERT OR UPDATE OF parent_agent, target_agent "
        "ON public.agent_task_contracts FOR EACH ROW WHEN ((CURRENT_USER = 'anon'::name)) "
        "EXECUTE FUNCTION ehg_tasks.guard_anon_names()"
    ),
    "trg_task_contracts_anon_tokens": (
        "CREATE TRIGGER trg_task_contracts_anon_tokens BEFORE INSERT OR UPDATE ON "
        "public.agent_task_contracts FOR EACH ROW WHEN ((CURRENT_USER = 'anon'::name)) "
        "EXECUTE FUNCTION ehg_tasks.guard_anon_tokens()"
    ),
    "trg_task_contracts_anon_sizes": (
        "CREATE TRIGGER trg_task_contracts_anon_sizes BEFORE INSERT OR UPDATE ON "
        "public.agent_task_contracts FOR EACH ROW WHEN ((CURRENT_USER = 'anon'::name)) "
        "EXECUTE FUNCTION ehg_tasks.guard_anon_sizes()"
    ),
    "trg_task_contracts_follow_insert": (
        "CREATE TRIGGER trg_task_contracts_follow_insert AFTER INSERT ON public.agent_task_contracts "
        "REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION ehg_tasks.follow_insert()"
    ),
    "trg_task_contracts_follow_status": (
        "CREATE TRIGGER trg_task_contracts_follow_status AFTER UPDATE OF status ON "
        "public.agent_task_contracts FOR EACH ROW EXECUTE FUNCTION ehg_tasks.follow_status()"
    ),
    "trg_task_contracts_follow_order": (
        "CREATE TRIGGER trg_task_contracts_follow_order AFTER UPDATE OF target_agent, priority, created_at "
        "ON public.agent_task_contracts FOR EACH ROW WHEN ((((old.status)::text = 'pending'::text) "
        "AND ((new.status)::text = 'pending'::text) AND ((((old.target_agent)::text IS DISTINCT FROM "
        "(new.target_agent)::text) OR (old.priority IS DISTINCT FROM new.priority)) "
        "OR (old.created_at IS DISTINCT FROM new.created_at)))) "
        "EXECUTE FUNCTION ehg_tasks.follow_order()"
    ),
    "trg_task_contracts_follow_id": (
        "CREATE TRIGGER trg_task_contracts_follow_id AFTER UPDATE OF id ON public.agent_task_contracts "
        "FOR EACH ROW WHEN ((old.id IS DISTINCT FROM new.id)) EXECUTE FUNCTION ehg_tasks.follow_id()"
    ),
    "trg_task_contracts_follow_delete": (
        "CREATE TRIGGER trg_task_contracts_follow_delete AFTER DELETE ON public.agent_task_contracts "
        "REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION ehg_tasks.follow_delete()"
    ),
    "trg_task_contracts_follow_truncate": (
        "CREATE TRIGGER trg_task_contracts_follow_truncate AFTER TRUNCATE ON public.agent_task_contracts "
        "FOR EACH STATEMENT EXECUTE FUNCTION ehg_tasks.follow_truncate()"
    ),
}

GRANTS = {
    "anon": {"INSERT", "UPDATE"},
    "authenticated": {"SELECT"},
    "service_role": {"SELECT", "INSERT", "UPDATE", "DELETE"},
}
