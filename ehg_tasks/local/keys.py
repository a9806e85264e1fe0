"""The keys, passwords and ports of one stack: random, and kept in a file that only its owner can read."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Self

import jwt
from pydantic import BaseModel, Field, ValidationError

from ehg_tasks.errors import LocalStackError

KEY_YEARS = 10  # lifetime of the legacy keys, as on a hosted project


def _password() -> str:
    return secrets.token_hex(24)  # hexadecimal needs no escaping in a URL


class Keys(BaseModel):
    """The secrets and ports of a stack. `api_port` and `db_port` are 0 until its first start."""

    api_port: int = 0
    db_port: int = 0
    publishable_key: str = Field(default_factory=lambda: f"sb_publishable_{secrets.token_urlsafe(24)}")
    secret_key: str = Field(default_factory=lambda: f"sb_secret_{secrets.token_urlsafe(24)}")
    jwt_secret: str = Field(default_factory=lambda: secrets.token_hex(32))
    superuser_password: str = Field(default_factory=_password)
    postgres_password: str = Field(default_factory=_password)
    authenticator_password: str = Field(default_factory=_password)
    auth_password: str = Field(default_factory=_password)
    anon_jwt: str = Field(default_factory=lambda data: _legacy_key(data["jwt_secret"], "anon"))
    service_role_jwt: str = Field(
        default_factory=lambda data: _legacy_key(data["jwt_secret"], "service_role")
    )

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read the keys from `file`, after creating it if it does not exist.

        Raises:
            LocalStackError: the file cannot be read, or is not valid.
        """
        if not file.exists():
            keys = cls()
            keys.write(file)
            return keys
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise LocalStackError(f"cannot read {file}: {error.strerror}") from None
        except ValidationError:
            raise LocalStackError(
                f"{file} is damaged",
                hint=f"To start over, delete {file.parent}. The data in it is lost.",
            ) from None

    def write(self, file: Path) -> None:
        """Write the keys to `file`."""
        write_secrets(file, self.model_dump_json(indent=2) + "\n")


def write_secrets(file: Path, text: str) -> None:
    """Replace a file, so that only its owner can read it, and no reader sees half of it."""
    new = file.with_name(f".{file.name}.{os.getpid()}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(file)


def _legacy_key(jwt_secret: str, role: str) -> str:
    """Return a JWT for a role: the kind of key that came before publishable and secret keys."""
    now = int(time.time())
    claims = {"iss": "supabase", "role": role, "iat": now, "exp": now + KEY_YEARS * 365 * 86_400}
    return jwt.encode(claims, jwt_secret, algorithm="HS256")
