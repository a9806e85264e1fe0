-- Finish: complete, fail, release, cancel.
--
-- Each function locks the contract, recognizes a repeat of a call that has already succeeded, and
-- only then checks the claim: a repeat carries a token that is no longer valid.

-- Earlier definitions (see the foundation migration).
drop function if exists public.complete_task_contract(uuid, uuid, text, integer, boolean, text);
drop function if exists public.fn_complete_task_contract_idempotent(uuid, uuid, uuid, text, integer, uuid);

-- Inside a SECURITY DEFINER function, current_user is the owner. The caller's role is in the `role`
-- setting, which `set role` (and so the API) sets; otherwise it is the session user.
create or replace function ehg_tasks.is_service_role()
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select pg_has_role(
    coalesce(nullif(nullif(current_setting('role', true), 'none'), ''), session_user::text),
    'service_role', 'usage')
$$;
comment on function ehg_tasks.is_service_role() is
  'Whether the caller acts as the service role, or as a role that includes it (the owner of the project).';
revoke all on function ehg_tasks.is_service_role() from public, anon, authenticated, service_role;

create or replace function ehg_tasks.retry_wait(p_retry_count integer)
returns interval
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select least(interval '5 seconds' * power(2, least(greatest(p_retry_count, 1), 20) - 1), interval '5 minutes')
$$;
comment on function ehg_tasks.retry_wait(integer) is
  'How long a contract waits after a failed attempt: 5 seconds, doubled with each retry, at most 5 minutes. Replace it in a migration of your own to change the schedule.';
revoke all on function ehg_tasks.retry_wait(integer) from public, anon, authenticated, service_role;

-- The caller holds the lock on the contract's row.
create or replace function ehg_tasks.hand_back(p_lease ehg_tasks.leases, p_outcome text, p_not_before timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  delete from ehg_tasks.leases l where l.contract_id = p_lease.contract_id;
  insert into ehg_tasks.handbacks (contract_id, claim_token, outcome, not_before)
  values (p_lease.contract_id, p_lease.claim_token, p_outcome, p_not_before)
  on conflict (contract_id) do update
  set claim_token = excluded.claim_token, outcome = excluded.outcome, not_before = excluded.not_before;
$$;
comment on function ehg_tasks.hand_back(ehg_tasks.leases, text, timestamptz) is
  'Ends a lease and records how, so that a repeated call is recognized.';
revoke all on function ehg_tasks.hand_back(ehg_tasks.leases, text, timestamptz)
  from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- Complete
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.complete_task_contract(
  p_contract_id uuid, p_output_artifact_id uuid, p_result_summary text, p_execution_tokens integer,
  p_success boolean, p_error_message text, p_claim_token uuid, p_idempotency_key uuid, p_agent_id uuid,
  p_output jsonb)
returns setof public.task_contract_completion
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_contract constant public.agent_task_contracts := ehg_tasks.lock_contract(p_contract_id);
  v_key constant uuid := coalesce(p_idempotency_key, p_claim_token);
  v_status constant text := case when p_success then 'completed' else 'failed' end;
  v_lease ehg_tasks.leases;
  v_artifact_id uuid := p_output_artifact_id;
begin
  if p_success is null or p_execution_tokens < 0 then
    raise exception using
      errcode = 'TC005',
      message = 'p_success must be true or false, and p_execution_tokens at least 0';
  end if;
  if p_output is not null and p_output_artifact_id is not null then
    raise exception using
      errcode = 'TC005',
      message = 'p_output and p_output_artifact_id are mutually exclusive',
      hint = 'Pass either the output or the id of an artifact that holds it.';
  end if;

  -- A repeat: the same key gets the same answer if the request is the same too.
  if v_contract.status in ('completed', 'failed')
    and v_key is not null and v_contract.completion_idempotency_key is not null then
    if v_contract.completion_idempotency_key <> v_key then
      raise exception using
        errcode = 'TC004',
        message = format('task contract %s was finished with another idempotency key', v_contract.id);
    end if;
    if (v_contract.status, v_contract.result_summary, v_contract.execution_tokens, v_contract.error_message)
        is distinct from (v_status, p_result_summary, p_execution_tokens, p_error_message)
      or (p_agent_id is not null and p_agent_id is distinct from v_contract.completed_by_agent_id)
      or (p_output is null and p_output_artifact_id is distinct from v_contract.output_artifact_id)
      or (p_output is not null and not exists (
            select from public.agent_artifacts a
            where a.id = v_contract.output_artifact_id and ehg_tasks.as_json(a.content_text) = p_output))
    then
      raise exception using
        errcode = 'TC004',
        message = format('task contract %s was finished with this idempotency key but another result', v_contract.id);
    end if;
    return next (true, 'already recorded', v_contract.id, v_status, true, v_contract.output_artifact_id
      )::public.task_contract_completion;
    return;
  end if;

  if p_claim_token is not null or not ehg_tasks.is_service_role() then
    v_lease := ehg_tasks.check_claim(v_contract, p_claim_token);
  elsif v_contract.status <> 'in_progress' then
    raise exception using
      errcode = 'TC003',
      message = format('task contract %s is %s, not in progress', v_contract.id, v_contract.status);
  end if;

  -- After the claim is proven, because these checks cost time while the contract's row is locked.
  perform ehg_tasks.check_size('p_result_summary', octet_length(p_result_summary));
  perform ehg_tasks.check_size('p_error_message', octet_length(p_error_message));
  -- JSON takes at most about six times the size of its text in memory, which is cheap to look up.
  perform ehg_tasks.check_size('p_output, as jsonb,', pg_column_size(p_output), 8 * 1048576);
  perform ehg_tasks.check_json('p_output', p_output);
  perform ehg_tasks.check_size('p_output', octet_length(p_output::text), 1048576);

  if p_output is not null then
    insert into public.agent_artifacts (
      session_id, sd_id, type, summary, content_text, token_count, metadata, created_by, source_tool)
    values (
      v_contract.session_id, v_contract.sd_id, 'contract_output',
      left(case when ehg_tasks.is_blank(p_result_summary) then format('Output of task contract %s', v_contract.id)
           else p_result_summary end, 1000),
      p_output::text, p_execution_tokens, jsonb_build_object('contract_id', v_contract.id),
      v_contract.target_agent, 'contract-system')
    returning id into v_artifact_id;
  end if;

  delete from ehg_tasks.leases l where l.contract_id = v_contract.id;
  update public.agent_task_contracts c
  set status = v_status,
      completed_at = clock_timestamp(),
      output_artifact_id = v_artifact_id,
      result_summary = p_result_summary,
      execution_tokens = p_execution_tokens,
      error_message = p_error_message,
      completion_idempotency_key = v_key,
      completed_by_agent_id = coalesce(p_agent_id, v_lease.agent_id)
  where c.id = v_contract.id;

  return next (true, format('task contract %s', v_status), v_contract.id, v_status, false, v_artifact_id
    )::public.task_contract_completion;
end
$$;
revoke all on function ehg_tasks.complete_task_contract(
  uuid, uuid, text, integer, boolean, text, uuid, uuid, uuid, jsonb)
  from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.complete_task_contract(
  uuid, uuid, text, integer, boolean, text, uuid, uuid, uuid, jsonb) to anon, service_role;

create or replace function public.complete_task_contract(
  p_contract_id uuid,
  p_output_artifact_id uuid default null,
  p_result_summary text default null,
  p_execution_tokens integer default null,
  p_success boolean default true,
  p_error_message text default null,
  p_claim_token uuid default null,
  p_idempotency_key uuid default null,
  p_agent_id uuid default null,
  p_output jsonb default null)
returns setof public.task_contract_completion
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$
  select * from ehg_tasks.complete_task_contract(
    p_contract_id, p_output_artifact_id, p_result_summary, p_execution_tokens, p_success,
    p_error_message, p_claim_token, p_idempotency_key, p_agent_id, p_output)
$$;
comment on function public.complete_task_contract(
  uuid, uuid, text, integer, boolean, text, uuid, uuid, uuid, jsonb) is
  'Records a result, once. An agent presents its claim token. p_output (at most 1 MiB) is stored as an artifact in the same transaction. p_success = false fails the contract without a retry; success in the answer says that the result is recorded.';
revoke all on function public.complete_task_contract(
  uuid, uuid, text, integer, boolean, text, uuid, uuid, uuid, jsonb)
  from public, anon, authenticated, service_role;
grant execute on function public.complete_task_contract(
  uuid, uuid, text, integer, boolean, text, uuid, uuid, uuid, jsonb) to anon, service_role;

-- For earlier clients: the name, parameters and result columns that they use. New clients call
-- complete_task_contract.
create or replace function public.fn_complete_task_contract_idempotent(
  p_contract_id uuid,
  p_idempotency_key uuid,
  p_output_artifact_id uuid default null,
  p_result_summary text default null,
  p_tokens_used integer default 0,
  p_agent_id uuid default null,
  p_claim_token uuid default null)
returns table (success boolean, was_duplicate boolean, message text, contract_id uuid)
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$
  select c.success, c.was_duplicate, c.message, c.contract_id
  from ehg_tasks.complete_task_contract(
    p_contract_id, p_output_artifact_id, p_result_summary, p_tokens_used, true,
    null, p_claim_token, p_idempotency_key, p_agent_id, null) as c
$$;
comment on function public.fn_complete_task_contract_idempotent(uuid, uuid, uuid, text, integer, uuid, uuid) is
  'complete_task_contract under its earlier name.';
revoke all on function public.fn_complete_task_contract_idempotent(uuid, uuid, uuid, text, integer, uuid, uuid)
  from public, anon, authenticated, service_role;
grant execute on function public.fn_complete_task_contract_idempotent(uuid, uuid, uuid, text, integer, uuid, uuid)
  to anon, service_role;

---------------------------------------------------------------------------------------------------
-- Fail
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.fail_task_contract(
  p_contract_id uuid, p_claim_token uuid, p_error_message text, p_retry boolean)
returns setof public.task_contract_failed_attempt
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_contract constant public.agent_task_contracts := ehg_tasks.lock_contract(p_contract_id);
  v_retries constant integer := coalesce(v_contract.retry_count, 0);
  v_lease ehg_tasks.leases;
  v_next timestamptz;
begin
  if p_retry is null then
    raise exception using errcode = 'TC005', message = 'p_retry must be true or false';
  end if;
  perform ehg_tasks.check_size('p_error_message', octet_length(p_error_message));

  -- A repeat: of a final failure, or of one that is being retried.
  if v_contract.status = 'failed' and v_contract.completion_idempotency_key = p_claim_token then
    return next (v_contract.id, 'failed', 'already recorded', v_retries, v_next, true
      )::public.task_contract_failed_attempt;
    return;
  end if;
  select h.not_before into v_next
  from ehg_tasks.handbacks h
  where h.contract_id = v_contract.id and h.claim_token = p_claim_token and h.outcome = 'failed';
  if found and v_contract.status <> all (ehg_tasks.final_statuses()) then
    return next (v_contract.id, 'pending', 'already recorded', v_retries, v_next, true
      )::public.task_contract_failed_attempt;
    return;
  end if;

  v_lease := ehg_tasks.check_claim(v_contract, p_claim_token);
  if p_retry and ehg_tasks.retries_left(v_contract.retry_count, v_contract.max_retries) then
    v_next := clock_timestamp() + ehg_tasks.retry_wait(v_retries + 1);
    perform ehg_tasks.hand_back(v_lease, 'failed', v_next);
    update public.agent_task_contracts c
    set status = 'pending', retry_count = v_retries + 1, started_at = null, error_message = p_error_message
    where c.id = v_contract.id;
    return next (v_contract.id, 'pending', 'the attempt failed and will be retried', v_retries + 1, v_next, false
      )::public.task_contract_failed_attempt;
  else
    delete from ehg_tasks.leases l where l.contract_id = v_contract.id;
    update public.agent_task_contracts c
    set status = 'failed', completed_at = clock_timestamp(), error_message = p_error_message,
        completion_idempotency_key = p_claim_token, completed_by_agent_id = v_lease.agent_id
    where c.id = v_contract.id;
    return next (v_contract.id, 'failed', 'task contract failed', v_retries, v_next, false
      )::public.task_contract_failed_attempt;
  end if;
end
$$;
revoke all on function ehg_tasks.fail_task_contract(uuid, uuid, text, boolean)
  from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.fail_task_contract(uuid, uuid, text, boolean) to anon, service_role;

create or replace function public.fail_task_contract(
  p_contract_id uuid, p_claim_token uuid, p_error_message text, p_retry boolean default true)
returns setof public.task_contract_failed_attempt
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.fail_task_contract(p_contract_id, p_claim_token, p_error_message, p_retry) $$;
comment on function public.fail_task_contract(uuid, uuid, text, boolean) is
  'Ends an attempt with an error. While retries are left, the contract goes back to pending with a wait that grows each time. Otherwise, or with p_retry = false, it fails.';
revoke all on function public.fail_task_contract(uuid, uuid, text, boolean)
  from public, anon, authenticated, service_role;
grant execute on function public.fail_task_contract(uuid, uuid, text, boolean) to anon, service_role;

---------------------------------------------------------------------------------------------------
-- Release
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.release_task_contract(p_contract_id uuid, p_claim_token uuid)
returns setof public.task_contract_status_change
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_contract constant public.agent_task_contracts := ehg_tasks.lock_contract(p_contract_id);
begin
  if v_contract.status <> all (ehg_tasks.final_statuses()) and exists (
    select from ehg_tasks.handbacks h
    where h.contract_id = v_contract.id and h.claim_token = p_claim_token and h.outcome = 'released'
  ) then
    return next (v_contract.id, 'pending', 'already recorded', true)::public.task_contract_status_change;
    return;
  end if;
  perform ehg_tasks.hand_back(ehg_tasks.check_claim(v_contract, p_claim_token), 'released', clock_timestamp());
  update public.agent_task_contracts c set status = 'pending', started_at = null where c.id = v_contract.id;
  return next (v_contract.id, 'pending', 'the claim was released', false)::public.task_contract_status_change;
end
$$;
revoke all on function ehg_tasks.release_task_contract(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.release_task_contract(uuid, uuid) to anon, service_role;

create or replace function public.release_task_contract(p_contract_id uuid, p_claim_token uuid)
returns setof public.task_contract_status_change
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.release_task_contract(p_contract_id, p_claim_token) $$;
comment on function public.release_task_contract(uuid, uuid) is
  'Gives up a claim: the contract is pending again at once, and no retry is used up.';
revoke all on function public.release_task_contract(uuid, uuid) from public, anon, authenticated, service_role;
grant execute on function public.release_task_contract(uuid, uuid) to anon, service_role;

---------------------------------------------------------------------------------------------------
-- Cancel
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.cancel_task_contract(p_contract_id uuid, p_reason text)
returns setof public.task_contract_status_change
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_contract constant public.agent_task_contracts := ehg_tasks.lock_contract(p_contract_id);
begin
  perform ehg_tasks.check_size('p_reason', octet_length(p_reason));
  if v_contract.status = 'cancelled' then
    return next (v_contract.id, 'cancelled', 'already cancelled', true)::public.task_contract_status_change;
    return;
  end if;
  perform ehg_tasks.check_not_final(v_contract);
  delete from ehg_tasks.leases l where l.contract_id = v_contract.id;
  update public.agent_task_contracts c
  set status = 'cancelled', completed_at = clock_timestamp(), error_message = p_reason
  where c.id = v_contract.id;
  return next (v_contract.id, 'cancelled', 'task contract cancelled', false)::public.task_contract_status_change;
end
$$;
revoke all on function ehg_tasks.cancel_task_contract(uuid, text) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.cancel_task_contract(uuid, text) to anon, service_role;

create or replace function public.cancel_task_contract(p_contract_id uuid, p_reason text default null)
returns setof public.task_contract_status_change
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.cancel_task_contract(p_contract_id, p_reason) $$;
comment on function public.cancel_task_contract(uuid, text) is
  'Cancels a contract that is not final. Anyone who knows its id may do so. The worker that holds it finds out at its next call.';
revoke all on function public.cancel_task_contract(uuid, text) from public, anon, authenticated, service_role;
grant execute on function public.cancel_task_contract(uuid, text) to anon, service_role;
