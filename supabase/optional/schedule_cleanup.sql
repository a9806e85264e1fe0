-- Scheduled clean-up: once a minute, with pg_cron.
--
-- A claim ends the expired attempts of its own agent. This job does the same for agents that have
-- stopped claiming, and cancels contracts that have waited for more than 24 hours. Run this file
-- once per project, as the owner of the migrations; running it again replaces the job. pg_cron
-- keeps one row per run in cron.job_run_details; delete old rows yourself.

set local lock_timeout = '10s';

create extension if not exists pg_cron;

select cron.schedule(
  'ehg-tasks-cleanup',
  '* * * * *',
  $$ select * from ehg_tasks.cleanup_stale_contracts(1440, 1000, false) $$
);
