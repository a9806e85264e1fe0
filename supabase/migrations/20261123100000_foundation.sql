-- Foundation: the schema of the engine, and the conventions that every migration follows.
--
-- Two schemas:
--
--   public      what API clients see: the table of contracts, and SECURITY INVOKER functions, which
--               run with their caller's rights. Each is a single call of the engine, except
--               read_task_contract and the trigger function.
--   ehg_tasks   the engine: the SECURITY DEFINER functions that hold the rules, and the tables
--               that only they use. The API does not expose this schema, so a client can reach
--               it only through the functions in public.
--
-- Grants. The `grant` directly below an object says who may use it. It follows a `revoke` of
-- everything from PUBLIC and the API roles, because defaults differ: PostgreSQL grants EXECUTE on
-- new functions to PUBLIC, and Supabase projects created before 30 October 2026 also grant the API
-- roles access to new tables and functions. Your project's default privileges do not change.
--
-- Search path. Every function sets its search_path to pg_catalog, pg_temp and qualifies every other
-- name with its schema. pg_temp is listed last, because PostgreSQL searches it first if it is not
-- listed. A caller's temporary domain named uuid could then run its CHECK with the owner's rights.
--
-- Plans. The statistics of a queue are always out of date: its tables are empty one moment and hold
-- a hundred thousand rows the next, and a session keeps the plan that it made for the empty table. So
-- functions that look up rows by their keys leave the planner no other way:
--
--   * They switch off sequential scans, and hash and merge joins where they join.
--   * A join to a table that grows with the backlog is a lateral subquery on the key, with `for update`
--     or `offset 0`, which the planner does not flatten.
--   * What locks the first few rows of an order has the order in a subquery, so that a sort can never
--     come after the locks.
--   * An update of several rows names their keys twice: in its join and as an array.
--   * Compilation (jit) is off where a plan has only ways that are switched off. Before PostgreSQL 18,
--     such a plan counts as so expensive that it is compiled, which takes longer than running it.
--
-- Earlier definitions. A migration drops the functions that an earlier version of this engine
-- created with another signature. CREATE OR REPLACE cannot change a function's result type, and two
-- functions of the same name would make a call with named arguments ambiguous.
--
-- Errors. A function raises its failures with these codes and never returns them as rows:
--
--   TC001  the contract, agent or input     TC004  idempotency conflict: same key, different request
--          artifact does not exist          TC005  invalid argument
--   TC002  claim lost, or no claim token    TC006  too large
--   TC003  not allowed in this status       42501  not allowed for this caller (agent tokens)
--
-- The table's own errors keep their codes (23503 for an unknown sd_id, for example).
--
-- Every migration can be applied to an empty project, to a database that already holds the table
-- and its rows, and more than once.

set local lock_timeout = '10s';

create schema if not exists ehg_tasks;

comment on schema ehg_tasks is
  'The engine of agent task contracts: functions that run with their owner''s rights, and the tables that only they use. Keep it out of the API''s exposed schemas.';

-- The functions in public run with their caller's rights, so the caller needs USAGE on the schema
-- to reach the engine. USAGE alone gives access to no table or function.
revoke all on schema ehg_tasks from public, anon, authenticated, service_role;
grant usage on schema ehg_tasks to anon, authenticated, service_role;
