-- The schemas of a Supabase project, before its first migration.

revoke create on schema public from public;
grant usage on schema public to anon, authenticated, service_role;
grant create on schema public to postgres;

create schema extensions authorization postgres;
grant usage on schema extensions to anon, authenticated, service_role;

create schema auth authorization supabase_auth_admin;
grant usage on schema auth to postgres, anon, authenticated, service_role;

-- Where the Supabase CLI, and this package, record the migrations that are applied.
create schema supabase_migrations authorization postgres;
create table supabase_migrations.schema_migrations (version text primary key, statements text[], name text);
alter table supabase_migrations.schema_migrations owner to postgres;

-- As on a hosted project, the API reads its schema again after each change of it.
create function extensions.pgrst_ddl_watch() returns event_trigger language plpgsql set search_path = pg_catalog as $$
begin
  if tg_event = 'sql_drop'
    or exists (select from pg_event_trigger_ddl_commands() where schema_name is distinct from 'pg_temp') then
    notify pgrst, 'reload schema';
  end if;
end $$;
create event trigger pgrst_ddl_watch on ddl_command_end execute function extensions.pgrst_ddl_watch();
create event trigger pgrst_drop_watch on sql_drop execute function extensions.pgrst_ddl_watch();
