-- Hardened profile: agents work only through the functions.
--
-- The specification lets anon insert into the table and update it, under policies whose condition
-- is `true` (finding 0024 of the database advisors). Nothing in this package needs them: every call
-- that an agent makes goes through a function. This file removes the two policies and their grants.
-- Run it once after the migrations, or copy it into one of your own migrations. Applying this
-- package's migrations again keeps it so, unless the setting ehg_tasks.profile is `specified`.

set local lock_timeout = '10s';

drop policy if exists "Anon can create task contracts" on public.agent_task_contracts;
drop policy if exists "Anon can update task contracts" on public.agent_task_contracts;
revoke all on table public.agent_task_contracts from anon;
