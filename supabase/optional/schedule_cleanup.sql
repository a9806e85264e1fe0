-- Scheduled clean-up: every minute, with pg_cron.
--
-- The tour. Claims take over expired leases of their own agent by themselves. This job does the
-- same for agents that no longer claim, and cancels what waited for more than 24 hours. Run it
-- once per project as the owner of the migrations; running it again replaces the job. pg_cron keeps
-- a row per run in cron.job_run_details, which is yours to prune.

create extension if not exists pg_cron;

select cron.schedule(
  'ehg-tasks-cleanup',
  '* * * * *',
  $$ select * from ehg_tasks.cleanup_stale_contracts(1440, 1000) $$
);
