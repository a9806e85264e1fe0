"""An embedded Supabase for development, tests and demos: no containers, no account, loopback only."""

from ehg_tasks.local.stack import LocalStack

__all__ = ["LocalStack"]
