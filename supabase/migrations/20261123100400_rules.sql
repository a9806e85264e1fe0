-- Rules: what the lifecycle functions share.
--
-- A rule that several functions need has one function here: what is final, how long an attempt may
-- take, whether a retry is left, how an agent's name is written, how large a value may be, and
-- whether a token proves a claim. No API role may call them.

set local lock_timeout = '10s';

---------------------------------------------------------------------------------------------------
-- Statuses, time limits and retries
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.final_statuses()
returns text[]
language sql immutable
set search_path = pg_catalog, pg_temp
as $$ select array['completed', 'failed', 'cancelled'] $$;
comment on function ehg_tasks.final_statuses() is
  'The final statuses. Immutable, so `status = any (…)` becomes a constant at plan time and can use an index.';
revoke all on function ehg_tasks.final_statuses() from public, anon, authenticated, service_role;

create or replace function ehg_tasks.time_limit(p_timeout_minutes integer)
returns interval
language sql immutable
set search_path = pg_catalog, pg_temp
as $$ select make_interval(mins => greatest(coalesce(p_timeout_minutes, 30), 1)) $$;
comment on function ehg_tasks.time_limit(integer) is
  'How long an attempt may take: timeout_minutes, at least 1. Null counts as 30, the column''s default.';
revoke all on function ehg_tasks.time_limit(integer) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.retries_left(p_retry_count integer, p_max_retries integer)
returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$ select coalesce(p_retry_count, 0) < coalesce(p_max_retries, 2) $$;
comment on function ehg_tasks.retries_left(integer, integer) is
  'Whether a failed attempt is retried. A null max_retries counts as 2, the column''s default.';
revoke all on function ehg_tasks.retries_left(integer, integer)
  from public, anon, authenticated, service_role;

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

create or replace function ehg_tasks.is_blank(p_text text)
returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$ select p_text is null or p_text !~ '\S' $$;
comment on function ehg_tasks.is_blank(text) is 'Whether text is null, empty or only white space.';
revoke all on function ehg_tasks.is_blank(text) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.as_json(p_text text)
returns jsonb
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_json jsonb;
begin
  v_json := p_text::jsonb;
  -- Another program may have written the artifact.
  perform ehg_tasks.check_json('an artifact', v_json);
  return v_json;
exception when data_exception or program_limit_exceeded or sqlstate 'TC006' then
  return to_jsonb(p_text);
end
$$;
comment on function ehg_tasks.as_json(text) is
  'The content of an artifact as JSON. Text that is not valid JSON, or fails check_json, becomes a JSON string.';
revoke all on function ehg_tasks.as_json(text) from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- Names of agents
---------------------------------------------------------------------------------------------------

-- Two names that look alike must not be two queues. White space around a name is ignored and
-- composed characters are equal to decomposed ones. Invisible characters are refused, or ignored
-- where a backend job writes them to the table.

create or replace function ehg_tasks.trimmed_name(p_name text)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select regexp_replace(
    normalize(p_name),
    '^[\s\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+|[\s\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+$',
    '', 'g')
$$;
comment on function ehg_tasks.trimmed_name(text) is
  'A name without surrounding white space, in Unicode normal form C.';
revoke all on function ehg_tasks.trimmed_name(text) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.queue_name(p_name text)
returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_name ~ '^[!-~]([ -~]*[!-~])?$' then  -- printable ASCII, the usual case
    return p_name;
  end if;
  -- Without control characters and what Unicode lets programs ignore; all spaces are plain ones.
  return ehg_tasks.trimmed_name(regexp_replace(
    regexp_replace(p_name, '[\u00a0\u1680\u2000-\u200a\u202f\u205f\u2800\u3000]', ' ', 'g'),
    '[\u0001-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]',
    '', 'g'));
end
$$;
comment on function ehg_tasks.queue_name(text) is
  'The name of an agent as its queue is called: trimmed_name without invisible characters.';
revoke all on function ehg_tasks.queue_name(text) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.agent_name(p_what text, p_name text)
returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_name text;
begin
  if p_name ~ '^[!-~]([ -~]{0,48}[!-~])?$' then  -- printable ASCII, the usual case
    return p_name;
  end if;
  v_name := ehg_tasks.trimmed_name(p_name);
  if coalesce(v_name, '') = '' then
    raise exception using errcode = 'TC005', message = format('%s must not be empty', p_what);
  end if;
  if v_name <> ehg_tasks.queue_name(v_name) then
    raise exception using
      errcode = 'TC005',
      message = format('%s holds an invisible character', p_what),
      hint = 'Use visible characters and plain spaces in the names of agents.';
  end if;
  if length(v_name) > 50 then
    raise exception using errcode = 'TC005', message = format('%s is longer than 50 characters', p_what);
  end if;
  return v_name;
end
$$;
comment on function ehg_tasks.agent_name(text, text) is
  'The trimmed_name of a valid name. Raises TC005 for one that is empty, longer than 50 characters or holds invisible characters.';
revoke all on function ehg_tasks.agent_name(text, text) from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- The caller
---------------------------------------------------------------------------------------------------

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

---------------------------------------------------------------------------------------------------
-- Size limits (TC006), for the functions and for direct writes
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.check_size(p_what text, p_bytes integer, p_limit integer default 65536)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_bytes > p_limit then
    raise exception using
      errcode = 'TC006',
      message = format('%s is too large: %s bytes, the limit is %s', p_what, p_bytes, p_limit),
      hint = 'Store large content as an artifact and pass its id.';
  end if;
end
$$;
comment on function ehg_tasks.check_size(text, integer, integer) is
  'Raises TC006 if a text or JSON field is larger than the limit, 64 KiB by default.';
revoke all on function ehg_tasks.check_size(text, integer, integer)
  from public, anon, authenticated, service_role;

create or replace function ehg_tasks.check_count(p_what text, p_count integer, p_limit integer default 1000)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_count > p_limit then
    raise exception using
      errcode = 'TC006',
      message = format('%s has %s entries, the limit is %s', p_what, p_count, p_limit);
  end if;
end
$$;
comment on function ehg_tasks.check_count(text, integer, integer) is
  'Raises TC006 if a list has more entries than the limit, 1000 by default.';
revoke all on function ehg_tasks.check_count(text, integer, integer) from public, anon, authenticated, service_role;

-- Small JSON can still be costly: nested so deeply that it breaks its readers, or with numbers like
-- 1e131071, which is 131,072 digits as text. These checks come before anything turns it into text.
create or replace function ehg_tasks.check_json(p_what text, p_json jsonb)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if jsonb_path_exists(p_json, 'strict $.**{65 to last}') then
    raise exception using
      errcode = 'TC006', message = format('%s is nested more than 64 levels deep', p_what);
  end if;
  -- As one array: a set of matches takes quadratic time.
  if exists (
    select
    from jsonb_array_elements(jsonb_path_query_array(p_json, 'strict $.** ? (@.type() == "number")')) as n (value)
    where length(n.value::text) > 400
  ) then
    raise exception using
      errcode = 'TC006', message = format('%s holds a number of more than 400 digits', p_what);
  end if;
end
$$;
comment on function ehg_tasks.check_json(text, jsonb) is
  'Raises TC006 if JSON is nested more than 64 levels deep or holds a number of more than 400 digits.';
revoke all on function ehg_tasks.check_json(text, jsonb) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.check_batch(p_what text, p_items jsonb, p_fields text[])
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_problem text;
begin
  if p_items is null or jsonb_typeof(p_items) <> 'array' or jsonb_array_length(p_items) = 0 then
    raise exception using
      errcode = 'TC005', message = format('%s must be an array of one or more objects', p_what);
  end if;
  perform ehg_tasks.check_count(p_what, jsonb_array_length(p_items), 100);
  if jsonb_path_exists(p_items, 'strict $[*] ? (@.type() != "object")') then
    raise exception using errcode = 'TC005', message = format('%s must hold objects only', p_what);
  end if;
  select string_agg(distinct k.key, ', ') into v_problem
  from jsonb_array_elements(p_items) as i, jsonb_object_keys(i.value - p_fields) as k (key);
  if v_problem is not null then
    raise exception using errcode = 'TC005', message = format('%s: unknown field: %s', p_what, v_problem);
  end if;
end
$$;
comment on function ehg_tasks.check_batch(text, jsonb, text[]) is
  'Raises TC005 or TC006 if the argument of a bulk call is not an array of 1 to 100 objects with these fields.';
revoke all on function ehg_tasks.check_batch(text, jsonb, text[]) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.check_contract_sizes(p_contract public.agent_task_contracts)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform ehg_tasks.check_size('objective', octet_length(p_contract.objective));
  perform ehg_tasks.check_size('input_summary', octet_length(p_contract.input_summary));
  perform ehg_tasks.check_size('result_summary', octet_length(p_contract.result_summary));
  perform ehg_tasks.check_size('error_message', octet_length(p_contract.error_message));
  perform ehg_tasks.check_size('constraints', octet_length(p_contract.constraints::text));
  perform ehg_tasks.check_size('output_schema', octet_length(p_contract.output_schema::text));
  perform ehg_tasks.check_count('input_artifacts', cardinality(p_contract.input_artifacts));
end
$$;
comment on function ehg_tasks.check_contract_sizes(public.agent_task_contracts) is
  'Raises TC006 if a contract exceeds a limit: 64 KiB per text or JSON field, 1000 input artifacts. Call check_json first.';
revoke all on function ehg_tasks.check_contract_sizes(public.agent_task_contracts)
  from public, anon, authenticated, service_role;

---------------------------------------------------------------------------------------------------
-- The contract, and the claim on it
---------------------------------------------------------------------------------------------------

create or replace function ehg_tasks.lock_contract(p_contract_id uuid)
returns public.agent_task_contracts
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  v_contract public.agent_task_contracts;
begin
  if p_contract_id is null then
    raise exception using errcode = 'TC005', message = 'p_contract_id must not be null';
  end if;
  -- By primary key alone: with a condition on the status, the planner may choose the status index
  -- and read through its dead entries.
  select c.* into v_contract
  from public.agent_task_contracts c
  where c.id = p_contract_id
  for update;
  if not found then
    raise exception using
      errcode = 'TC001', message = format('there is no task contract %s', p_contract_id);
  end if;
  return v_contract;
end
$$;
comment on function ehg_tasks.lock_contract(uuid) is
  'Locks a contract and returns it. Raises TC001 if it does not exist.';
revoke all on function ehg_tasks.lock_contract(uuid) from public, anon, authenticated, service_role;

create or replace function ehg_tasks.check_not_final(p_contract public.agent_task_contracts)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_contract.status = any (ehg_tasks.final_statuses()) then
    raise exception using
      errcode = 'TC003',
      message = format('task contract %s is already %s', p_contract.id, p_contract.status);
  end if;
end
$$;
comment on function ehg_tasks.check_not_final(public.agent_task_contracts) is
  'Raises TC003 if the contract is completed, failed or cancelled.';
revoke all on function ehg_tasks.check_not_final(public.agent_task_contracts)
  from public, anon, authenticated, service_role;

-- The caller holds the lock on the contract's row.
create or replace function ehg_tasks.check_claim(p_contract public.agent_task_contracts, p_claim_token uuid)
returns ehg_tasks.attempts
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
  v_attempt ehg_tasks.attempts;
begin
  perform ehg_tasks.check_not_final(p_contract);
  if p_claim_token is null then
    raise exception using
      errcode = 'TC002',
      message = format('no claim token was given for task contract %s', p_contract.id),
      hint = 'Pass the claim_token that claim_task_contract returned.';
  end if;
  -- The last attempt by primary key: a search for the one without an end may choose an index of
  -- attempts without an end, and read through its dead entries.
  select a.* into v_attempt
  from ehg_tasks.attempts a
  where a.contract_id = p_contract.id
  order by a.attempt desc
  limit 1;
  if p_contract.status <> 'in_progress' or v_attempt.ended_at is not null
    or v_attempt.claim_token is distinct from p_claim_token then
    raise exception using
      errcode = 'TC002',
      message = format('the claim on task contract %s is lost', p_contract.id),
      hint = 'It expired, was given back, or another worker has claimed the contract. Stop working on it and claim again.';
  end if;
  return v_attempt;
end
$$;
comment on function ehg_tasks.check_claim(public.agent_task_contracts, uuid) is
  'Returns the attempt that the token belongs to; raises TC002 or TC003. An expired lease is still valid until a claim or a clean-up ends the attempt.';
revoke all on function ehg_tasks.check_claim(public.agent_task_contracts, uuid)
  from public, anon, authenticated, service_role;
