"""Benchmarks in SQL: this package next to other Postgres queues. `make bench` writes docs/benchmarks.md."""
