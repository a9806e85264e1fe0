-- Three sample contracts, created by `supabase db reset`.
select * from public.create_task_contracts($$[
  {"parent_agent": "PLANNER", "target_agent": "DESIGN", "objective": "Sketch the settings page", "priority": 70},
  {"parent_agent": "PLANNER", "target_agent": "DOCMON", "objective": "Check README.md for broken links"},
  {"parent_agent": "PLANNER", "target_agent": "TESTING", "objective": "Write a regression test for the login bug"}
]$$);
