-- Foundation: the engine's own schema.
--
-- The tour. Everything in these migrations lives in one of two places:
--
--   public      what API clients see: the table of contracts, and one-line functions (SECURITY
--               INVOKER) that hand each call on. Being invoker functions they hold no rights of
--               their own.
--   ehg_tasks   the engine: the functions that know the rules (SECURITY DEFINER) and the tables
--               that only they touch. The schema is not among the API's exposed schemas, so
--               nothing here has an address on the network.
--
-- Who may do what is said once, in the `grant` that stands directly under the object it opens.
-- Each `grant` follows a `revoke` of everything from PUBLIC and the API roles. Projects made
-- before 30 October 2026 open new tables and functions to those roles by default, later ones do
-- not, and PostgreSQL itself opens every new function to PUBLIC; after revoke-then-grant all of
-- them end alike. Your project's own default privileges are left as they are.
--
-- Every function fixes its search_path to pg_catalog, pg_temp and names all else with its schema.
-- pg_temp stands there to be last: left out, a caller's temporary schema is searched first, for
-- types too, and a domain named uuid in it would run its check with the rights of a definer.
--
-- Every migration here may be applied to an empty project, to a database that already holds the
-- table and its rows, or twice.

create schema if not exists ehg_tasks;

comment on schema ehg_tasks is
  'The engine of agent task contracts: functions with their owner''s rights, and tables only they touch. Keep it out of the API''s exposed schemas.';

-- The public functions run with their caller's rights, so a caller must be able to look into the
-- schema to reach the engine. USAGE opens no table and no function by itself.
revoke all on schema ehg_tasks from public, anon, authenticated, service_role;
grant usage on schema ehg_tasks to anon, service_role;
