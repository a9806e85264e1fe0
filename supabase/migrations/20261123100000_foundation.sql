-- Foundation: the schema of the engine, and the conventions that every migration follows.
--
-- Two schemas:
--
--   public      what API clients see: the table of contracts and one-line SECURITY INVOKER
--               functions, which add no rights to their caller's.
--   ehg_tasks   the engine: the SECURITY DEFINER functions that hold the rules, and the tables
--               that only they touch. The API does not expose this schema, so a client can reach
--               it only through the functions in public.
--
-- Grants. The `grant` directly below an object says who may use it. It follows a `revoke` of
-- everything from PUBLIC and the API roles, because defaults differ: PostgreSQL opens every new
-- function to PUBLIC, and Supabase projects created before 30 October 2026 also open new tables
-- and functions to the API roles. Your project's default privileges stay as they are.
--
-- Search path. Every function sets its search_path to pg_catalog, pg_temp and qualifies every other
-- name with its schema. pg_temp is listed so that it comes last: PostgreSQL searches an unlisted
-- pg_temp first, for types too, and a caller's temporary domain named uuid would then run its
-- check with the rights of a definer.
--
-- Errors. A function raises its failures with these codes and never returns them as rows:
--
--   TC001  the contract does not exist      TC004  idempotency conflict: same key, other request
--   TC002  claim lost, or no claim token    TC005  invalid argument
--   TC003  not allowed in this status       TC006  too large
--
-- The table's own errors keep their codes (23503 for an unknown sd_id, for example).
--
-- Every migration can be applied to an empty project, to a database that already holds the table
-- and its rows, and more than once.

create schema if not exists ehg_tasks;

comment on schema ehg_tasks is
  'The engine of agent task contracts: functions that run with their owner''s rights, and the tables that only they touch. Keep it out of the API''s exposed schemas.';

-- The functions in public run with their caller's rights, so the caller needs USAGE on the schema
-- to reach the engine. USAGE alone opens no table and no function.
revoke all on schema ehg_tasks from public, anon, authenticated, service_role;
grant usage on schema ehg_tasks to anon, service_role;
