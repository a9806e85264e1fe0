-- Finish: complete, fail, release, cancel, requeue.
--
-- Each function locks the contract, recognizes a repeat of a call that has already succeeded, and
-- only then checks the claim: a repeat carries a token that is no longer valid. Cheap checks come
-- before expensive ones, and nobody's output is read before the claim is proven.
--
-- The triggers of the queue end the attempt when a contract becomes final, and settle what waits for
-- it. A contract that goes back to pending has its attempt ended here, which says how.

set local lock_timeout = '10s';

-- Earlier definitions (see the foundation migration).
drop function if exists public.complete_task_contract(uuid, uuid, text, integer, boolean, text);
drop function if exists public.fn_complete_task_contract_idempotent(uuid, uuid, uuid, text, integer, uuid);

-- The caller holds the lock on the contract's row.
create or replace function ehg_tasks.hand_back(
  p_attempt ehg_tasks.attempts, p_outcome text, p_error_message text, p_retry_at timestamptz)
returns void
language sql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
  update ehg_tasks.attempts a
  set ended_at = clock_timestamp(), outcome = p_outcome, error_message = p_error_message, retry_at = p_retry_at
  where a.contract_id = p_attempt.contract_id and a.attempt = p_attempt.attempt
$$;
comment on function ehg_tasks.hand_back(ehg_tasks.attempts, text, text, timestamptz) is
  'Ends an attempt whose contract goes back to pending.';
revoke all on function ehg_tasks.hand_back(ehg_tasks.attempts, text, text, timestamptz)
  from public, anon, authenticated, service_role;

create or replace function ehg_tasks.ended_attempt(p_contract_id uuid, p_claim_token uuid, p_outcome text)
returns ehg_tasks.attempts
language sql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
  select a from ehg_tasks.attempts a
  where a.contract_id = p_contract_id and a.claim_token = p_claim_token and a.outcome = p_outcome
$$;
comment on function ehg_tasks.ended_attempt(uuid, uuid, text) is
  'The attempt with this token, if it ended with this outcome. Its existence shows that a call is a repeat.';
revoke all on function ehg_tasks.ended_attempt(uuid, uuid, text)
  from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- Complete
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.check_output(p_output jsonb)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  -- JSON takes at most about six times the size of its text in memory, which is cheap to look up.
  perform ehg_tasks.check_size('p_output, as jsonb,', pg_column_size(p_output), 8 * 1048576);
  perform ehg_tasks.check_json('p_output', p_output);
  perform ehg_tasks.check_size('p_output', octet_length(p_output::text), 1048576);
end
$$;
comment on function ehg_tasks.check_output(jsonb) is
  'Raises TC006 if an output is larger than 1 MiB or fails check_json.';
revoke all on function ehg_tasks.check_output(jsonb) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.store_output(
  p_artifact_id uuid, p_contract public.agent_task_contracts, p_result_summary text, p_execution_tokens integer,
  p_output jsonb)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into public.agent_artifacts (
    id, session_id, sd_id, type, summary, content_text, token_count, metadata, created_by, source_tool)
  values (
    p_artifact_id, p_contract.session_id, p_contract.sd_id, 'contract_output',
    left(case when ehg_tasks.is_blank(p_result_summary) then format('Output of task contract %s', p_contract.id)
         else p_result_summary end, 1000),
    p_output::text, p_execution_tokens, jsonb_build_object('contract_id', p_contract.id),
    p_contract.target_agent, 'contract-system')
$$;
comment on function ehg_tasks.store_output(uuid, public.agent_task_contracts, text, integer, jsonb) is
  'Stores an output as an artifact.';
revoke all on function ehg_tasks.store_output(uuid, public.agent_task_contracts, text, integer, jsonb)
  from public, anon, authenticated, service_role;

-- A backend job may do the work itself and record the result without a claim.
create or replace function ehg_tasks.check_unclaimed(p_contract public.agent_task_contracts)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
begin
  perform ehg_tasks.check_not_final(p_contract);
  if (select count(*) from ehg_tasks.attempts a where a.contract_id = p_contract.id) > 1 then
    raise exception using
      errcode = 'TC002',
      message = format('task contract %s has been claimed more than once', p_contract.id),
      hint = 'Pass the claim_token of the current attempt.';
  end if;
end
$$;
comment on function ehg_tasks.check_unclaimed(public.agent_task_contracts) is
  'Whether the service role may complete a contract without a token: one that was claimed once at most. Raises TC002 or TC003.';
revoke all on function ehg_tasks.check_unclaimed(public.agent_task_contracts)
  from public, anon, authenticated, service_role;

create or replace function ehg_tasks.complete_task_contract(
  p_contract_id uuid, p_output_artifact_id uuid, p_result_summary text, p_execution_tokens integer,
  p_success boolean, p_error_message text, p_claim_token uuid, p_idempotency_key uuid, p_agent_id uuid,
  p_output jsonb)
returns setof public.task_contract_completion
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  v_contract public.agent_task_contracts;
  v_key constant uuid := coalesce(p_idempotency_key, p_claim_token);
  v_status constant text := case when p_success then 'completed' else 'failed' end;
  v_attempt ehg_tasks.attempts;
  v_artifact_id uuid := p_output_artifact_id;
begin
  -- Completions come by the thousand, so the usual one locks the contract and compares the token here.
  -- The functions that do so for all others decide the rest.
  select c.* into v_contract from public.agent_task_contracts c where c.id = p_contract_id for update;
  if not found then
    v_contract := ehg_tasks.lock_contract(p_contract_id);
  end if;
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
    select a.* into v_attempt
    from ehg_tasks.attempts a
    where a.contract_id = p_contract_id
    order by a.attempt desc
    limit 1;
    if (v_contract.status = 'in_progress' and v_attempt.outcome is null
        and v_attempt.claim_token = p_claim_token) is not true then
      v_attempt := ehg_tasks.check_claim(v_contract, p_claim_token);
    end if;
  else
    perform ehg_tasks.check_unclaimed(v_contract);
  end if;

  -- After the claim is proven, because these checks cost time while the contract's row is locked.
  if greatest(octet_length(p_result_summary), octet_length(p_error_message)) > 65536 then
    perform ehg_tasks.check_size('p_result_summary', octet_length(p_result_summary));
    perform ehg_tasks.check_size('p_error_message', octet_length(p_error_message));
  end if;
  if p_output is not null then
    perform ehg_tasks.check_output(p_output);
    v_artifact_id := gen_random_uuid();
    perform ehg_tasks.store_output(v_artifact_id, v_contract, p_result_summary, p_execution_tokens, p_output);
  end if;

  update public.agent_task_contracts c
  set status = v_status,
      completed_at = clock_timestamp(),
      output_artifact_id = v_artifact_id,
      result_summary = p_result_summary,
      execution_tokens = p_execution_tokens,
      error_message = p_error_message,
      completion_idempotency_key = v_key,
      completed_by_agent_id = coalesce(p_agent_id, v_attempt.agent_id)
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
  'Records a result, once. An agent presents its claim token; the service role needs none for a contract that has been claimed once at most. A repeat with the same p_idempotency_key (by default, the claim token) gets the same answer, and is refused if the result differs. p_output (at most 1 MiB) is stored as an artifact in the same transaction; p_output_artifact_id names one that exists. p_success = false fails the contract without a retry; success in the answer says that the result is recorded.';
revoke all on function public.complete_task_contract(
  uuid, uuid, text, integer, boolean, text, uuid, uuid, uuid, jsonb)
  from public, anon, authenticated, service_role;
grant execute on function public.complete_task_contract(
  uuid, uuid, text, integer, boolean, text, uuid, uuid, uuid, jsonb) to anon, service_role;

-- Results of attempts in progress are recorded together, in a few statements. What is out of the
-- ordinary (a repeat, a refusal, a failure) goes one by one through complete_task_contract, each in a
-- subtransaction, so that no item undoes another.
create or replace function ehg_tasks.complete_together(p_results jsonb)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_ids constant uuid[] := array(
    select i.contract_id from jsonb_to_recordset(p_results) as i (contract_id uuid));
  v_done uuid[];
begin
  with items as materialized (
    select r.contract_id, r.claim_token, r.result_summary, r.execution_tokens, r.agent_id,
           coalesce(r.idempotency_key, r.claim_token) as key, r.output, r.output_artifact_id, a.agent_id as holder_id,
           case when r.output is null then r.output_artifact_id else gen_random_uuid() end as artifact_id
    from (
      select i.*, count(*) over (partition by i.contract_id) as times
      from jsonb_to_recordset(p_results) as i (
        contract_id uuid, claim_token uuid, result_summary text, execution_tokens integer, agent_id uuid,
        idempotency_key uuid, output jsonb, output_artifact_id uuid, success boolean, error_message text)
    ) as r
    cross join lateral (
      select k.id, k.status from public.agent_task_contracts k where k.id = r.contract_id offset 0
    ) as c
    cross join lateral (
      select b.* from ehg_tasks.attempts b where b.contract_id = c.id order by b.attempt desc limit 1
    ) as a
    where c.status = 'in_progress' and a.outcome is null and a.claim_token = r.claim_token
      and r.times = 1 and coalesce(r.success, true) and r.error_message is null
      and (r.output is null or r.output_artifact_id is null)
      and coalesce(r.execution_tokens, 0) >= 0
      and coalesce(octet_length(r.result_summary), 0) <= 65536
  ),
  stored as (
    select ehg_tasks.check_output(i.output),
           ehg_tasks.store_output(i.artifact_id, c.contract, i.result_summary, i.execution_tokens, i.output)
    from items i
    cross join lateral (
      select k as contract from public.agent_task_contracts k where k.id = i.contract_id offset 0
    ) as c
    where i.output is not null
  ),
  settled as (
    -- All at once: the triggers would settle them one by one.
    select ehg_tasks.settle_dependents(array_agg(i.contract_id), 'completed') from items i
  ),
  finished as (
    update public.agent_task_contracts c
    set status = 'completed', completed_at = clock_timestamp(), output_artifact_id = i.artifact_id,
        result_summary = i.result_summary, execution_tokens = i.execution_tokens, error_message = null,
        completion_idempotency_key = i.key, completed_by_agent_id = coalesce(i.agent_id, i.holder_id)
    from items i
    where c.id = i.contract_id and c.id = any (v_ids)
      and (select count(*) from stored) >= 0 and (select count(*) from settled) >= 0
    returning c.id
  )
  select array_agg(f.id) into v_done from finished f;
  return v_done;
end
$$;
comment on function ehg_tasks.complete_together(jsonb) is
  'Completes those contracts of a bulk call whose result can be recorded as it is; returns their ids. The caller has locked them.';
revoke all on function ehg_tasks.complete_together(jsonb) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.complete_task_contracts(p_results jsonb)
returns setof public.task_contract_bulk_completion
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  v_done uuid[];
  v_item record;
  v_row public.task_contract_bulk_completion;
  v_others public.task_contract_bulk_completion[];
  v_places bigint[];
begin
  perform ehg_tasks.check_batch('p_results', p_results, array[
    'contract_id', 'output_artifact_id', 'result_summary', 'execution_tokens', 'success', 'error_message',
    'claim_token', 'idempotency_key', 'agent_id', 'output']);
  -- Before the block below, because its failure would release the locks. An id that is not a UUID is
  -- refused below. PostgreSQL accepts UUIDs in braces too.
  perform ehg_tasks.lock_contracts(ehg_tasks.with_dependents(array(
    select i.id::uuid
    from (select btrim(r.value ->> 'contract_id', '{}') as id from jsonb_array_elements(p_results) as r) as i
    where i.id ~* '^([0-9a-f]{4}-?){7}[0-9a-f]{4}$')));
  begin
    v_done := ehg_tasks.complete_together(p_results);
  exception
    -- One of them holds a value that is refused. Below, only that one is.
    when data_exception or integrity_constraint_violation or sqlstate 'TC006' then
      v_done := null;
  end;

  for v_item in
    select i.value, i.n
    from jsonb_array_elements(p_results) with ordinality as i (value, n)
    -- If some are done, every id is a UUID.
    where case when v_done is null then true else ((i.value ->> 'contract_id')::uuid = any (v_done)) is not true end
    order by i.n
  loop
    v_row := null;
    begin
      v_row.contract_id := (v_item.value ->> 'contract_id')::uuid;
      select c.success, c.status, c.was_duplicate, c.output_artifact_id, c.message
      into v_row.success, v_row.status, v_row.was_duplicate, v_row.output_artifact_id, v_row.message
      from jsonb_to_record(v_item.value) as i (
        contract_id uuid, output_artifact_id uuid, result_summary text, execution_tokens integer,
        success boolean, error_message text, claim_token uuid, idempotency_key uuid, agent_id uuid, output jsonb),
        ehg_tasks.complete_task_contract(
          i.contract_id, i.output_artifact_id, i.result_summary, i.execution_tokens, coalesce(i.success, true),
          i.error_message, i.claim_token, i.idempotency_key, i.agent_id, i.output) as c;
    exception when others then
      -- An error of this item becomes its answer. Any other error ends the call.
      if sqlstate !~ '^(TC|22|23)' then
        raise;
      end if;
      v_row.success := false;
      v_row.code := sqlstate;
      v_row.message := sqlerrm;
    end;
    v_others := v_others || v_row;
    v_places := v_places || v_item.n;
  end loop;

  return query
  select r.contract_id, r.success, r.status, r.was_duplicate, r.output_artifact_id, r.code, r.message
  from (
    select c.id, true, c.status::text, false, c.output_artifact_id, null::text, 'task contract completed', i.n
    from jsonb_array_elements(p_results) with ordinality as i (value, n)
    cross join lateral (
      select k.id, k.status, k.output_artifact_id
      from public.agent_task_contracts k
      where k.id = (i.value ->> 'contract_id')::uuid and k.id = any (v_done)
      offset 0
    ) as c
    where v_done is not null
    union all
    select (v_others[o.k]).*, o.n
    from unnest(v_places) with ordinality as o (n, k)
  ) as r (contract_id, success, status, was_duplicate, output_artifact_id, code, message, n)
  order by r.n;
end
$$;
revoke all on function ehg_tasks.complete_task_contracts(jsonb) from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.complete_task_contracts(jsonb) to anon, service_role;

create or replace function public.complete_task_contracts(p_results jsonb)
returns setof public.task_contract_bulk_completion
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.complete_task_contracts(p_results) $$;
comment on function public.complete_task_contracts(jsonb) is
  'complete_task_contract for up to 100 results, each an object with its parameters, without the prefix "p_". Every result gets a row, in the order given: code is null if it is recorded, otherwise the SQLSTATE of the refusal. A refused result does not affect the others.';
revoke all on function public.complete_task_contracts(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.complete_task_contracts(jsonb) to anon, service_role;

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
set enable_seqscan = off
as $$
declare
  v_contract constant public.agent_task_contracts := ehg_tasks.lock_contract(p_contract_id);
  v_retries constant integer := coalesce(v_contract.retry_count, 0);
  v_attempt ehg_tasks.attempts := ehg_tasks.ended_attempt(p_contract_id, p_claim_token, 'failed');
begin
  if p_retry is null then
    raise exception using errcode = 'TC005', message = 'p_retry must be true or false';
  end if;
  perform ehg_tasks.check_size('p_error_message', octet_length(p_error_message));

  -- A final failure that this token did not record is not its repeat.
  if v_attempt.retry_at is not null
    or v_attempt.contract_id is not null and v_contract.completion_idempotency_key = p_claim_token then
    return next (
      v_contract.id, case when v_attempt.retry_at is null then 'failed' else 'pending' end,
      'already recorded', v_retries, v_attempt.retry_at, true)::public.task_contract_failed_attempt;
    return;
  end if;

  v_attempt := ehg_tasks.check_claim(v_contract, p_claim_token);
  if p_retry and ehg_tasks.retries_left(v_contract.retry_count, v_contract.max_retries) then
    v_attempt.retry_at := clock_timestamp() + ehg_tasks.retry_wait(v_retries + 1);
    perform ehg_tasks.hand_back(v_attempt, 'failed', p_error_message, v_attempt.retry_at);
    -- Before the status changes, so that the contract is held and not ready.
    insert into ehg_tasks.held (contract_id, target_agent, priority, created_at, not_before)
    values (v_contract.id, ehg_tasks.queue_name(v_contract.target_agent), v_contract.priority,
            v_contract.created_at, v_attempt.retry_at);
    update public.agent_task_contracts c
    set status = 'pending', retry_count = v_retries + 1, started_at = null, error_message = p_error_message
    where c.id = v_contract.id;
    return next (
      v_contract.id, 'pending', 'the attempt failed and will be retried', v_retries + 1, v_attempt.retry_at, false
      )::public.task_contract_failed_attempt;
  else
    update public.agent_task_contracts c
    set status = 'failed', completed_at = clock_timestamp(), error_message = p_error_message,
        completion_idempotency_key = p_claim_token, completed_by_agent_id = v_attempt.agent_id
    where c.id = v_contract.id;
    return next (v_contract.id, 'failed', 'task contract failed', v_retries, null, false
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
  'Ends an attempt with an error. While retries are left, the contract goes back to pending with a wait that grows each time (retry_wait). Otherwise, or with p_retry = false, it fails, and the contracts that wait for its success are cancelled.';
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
set enable_seqscan = off
as $$
declare
  v_contract constant public.agent_task_contracts := ehg_tasks.lock_contract(p_contract_id);
begin
  if (ehg_tasks.ended_attempt(p_contract_id, p_claim_token, 'released')).contract_id is not null then
    return next (v_contract.id, 'pending', 'already recorded', true)::public.task_contract_status_change;
    return;
  end if;
  perform ehg_tasks.hand_back(ehg_tasks.check_claim(v_contract, p_claim_token), 'released', null, null);
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
set enable_seqscan = off
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
  'Cancels a contract that is not final, and those that wait for its success. Anyone who knows its id may do so. The worker that holds it finds out at its next renewal.';
revoke all on function public.cancel_task_contract(uuid, text) from public, anon, authenticated, service_role;
grant execute on function public.cancel_task_contract(uuid, text) to anon, service_role;

---------------------------------------------------------------------------------------------------
-- Requeue
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.requeue_task_contract(p_contract_id uuid, p_max_retries integer)
returns setof public.task_contract_status_change
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_contract public.agent_task_contracts;
begin
  -- With what it depends on, which must not become final meanwhile.
  perform ehg_tasks.lock_contracts(p_contract_id || array(
    select d.depends_on from ehg_tasks.dependencies d where d.contract_id = p_contract_id));
  v_contract := ehg_tasks.lock_contract(p_contract_id);
  if p_max_retries not between 0 and 100 then
    raise exception using errcode = 'TC005', message = 'p_max_retries must be between 0 and 100';
  end if;
  if v_contract.status = 'pending' then
    return next (v_contract.id, 'pending', 'already pending', true)::public.task_contract_status_change;
    return;
  end if;
  if v_contract.status <> all (ehg_tasks.final_statuses()) then
    raise exception using
      errcode = 'TC003',
      message = format('task contract %s is %s', v_contract.id, v_contract.status),
      hint = 'Cancel it first to start it afresh.';
  end if;
  -- A dependency that was requeued before is waited for again.
  update ehg_tasks.dependencies d
  set settled = false
  from public.agent_task_contracts c
  where d.contract_id = v_contract.id and c.id = d.depends_on and c.status <> all (ehg_tasks.final_statuses());
  update public.agent_task_contracts c
  set status = 'pending', started_at = null, completed_at = null, output_artifact_id = null,
      result_summary = null, execution_tokens = null, error_message = null, retry_count = 0,
      max_retries = coalesce(p_max_retries, c.max_retries), completion_idempotency_key = null,
      completed_by_agent_id = null
  where c.id = v_contract.id;
  return next (v_contract.id, 'pending', 'task contract requeued', false)::public.task_contract_status_change;
end
$$;
revoke all on function ehg_tasks.requeue_task_contract(uuid, integer)
  from public, anon, authenticated, service_role;
grant execute on function ehg_tasks.requeue_task_contract(uuid, integer) to service_role;

create or replace function public.requeue_task_contract(p_contract_id uuid, p_max_retries integer default null)
returns setof public.task_contract_status_change
language sql security invoker
set search_path = pg_catalog, pg_temp
as $$ select * from ehg_tasks.requeue_task_contract(p_contract_id, p_max_retries) $$;
comment on function public.requeue_task_contract(uuid, integer) is
  'Puts a final contract back in the queue, without its result and with all retries (p_max_retries of them, if given). Its history stays. It waits for those of its dependencies that are not final. Contracts that were cancelled because of it stay cancelled.';
revoke all on function public.requeue_task_contract(uuid, integer)
  from public, anon, authenticated, service_role;
grant execute on function public.requeue_task_contract(uuid, integer) to service_role;
