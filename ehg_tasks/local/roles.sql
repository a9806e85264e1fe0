-- The roles of a Supabase project.
--
-- As on a hosted project, the superuser is supabase_admin, migrations run as postgres, which is not a
-- superuser, and the API logs in as authenticator and switches to the role of the key or token.
-- Passwords come from the environment, so that they do not show in a process list.

\getenv postgres_password EHG_POSTGRES_PASSWORD
\getenv authenticator_password EHG_AUTHENTICATOR_PASSWORD
\getenv auth_password EHG_AUTH_PASSWORD

create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;

create role authenticator login noinherit password :'authenticator_password';
grant anon, authenticated, service_role to authenticator;
-- The limit of the hosted API. Only hosted PostgREST applies the shorter limit of anon.
alter role authenticator set statement_timeout = '8s';

create role supabase_auth_admin login noinherit createrole password :'auth_password';
alter role supabase_auth_admin set search_path = auth;

create role postgres login createrole createdb replication bypassrls password :'postgres_password';
alter role postgres set search_path = "$user", public, extensions;
grant anon, authenticated, service_role to postgres with admin option;
alter database postgres owner to postgres;
