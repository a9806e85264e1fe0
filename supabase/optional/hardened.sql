-- Hardened profile: agents work through the functions alone.
--
-- The tour. As specified, anon may insert into and update the table itself, under policies that
-- are literally `true` (the database advisors' finding 0024). Nothing in this package needs that:
-- every agent call goes through a function. This file takes the two policies and their grants
-- away. Run it once, after the migrations, or copy it into a migration of your own; applying the
-- migrations again brings the specified policies back.

drop policy if exists "Anon can create task contracts" on public.agent_task_contracts;
drop policy if exists "Anon can update task contracts" on public.agent_task_contracts;
revoke all on table public.agent_task_contracts from anon;
