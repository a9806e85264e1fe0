#!/bin/sh
# Installs Debian's PostgreSQL 15 with plpgsql_check, pgTAP and pg_cron, for `make test-matrix`.
set -eu
packages="postgresql-15 postgresql-15-plpgsql-check postgresql-15-pgtap postgresql-15-cron"

if dpkg-query --show $packages >/dev/null 2>&1; then
  exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
  echo "PostgreSQL 15 is missing. As root, run: apt-get install $packages" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet --quiet
apt-get install --quiet --quiet --yes --no-install-recommends $packages
