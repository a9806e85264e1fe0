"""The keys, passwords and ports of one stack: random, and kept in a file that only its owner can read."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from pathlib import Path
from typing import Self

from pydantic import BaseModel, Field, ValidationError

from ehg_tasks.errors import LocalStackError

KEY_YEARS = 10  # how long the legacy keys are good for, as on a hosted project


def _password() -> str:
    return secrets.token_hex(24)  # hexadecimal, so that it stands in a URL as it is


class Keys(BaseModel):
    """What opens a stack. `api_port` and `db_port` are 0 until it has started for the first time."""

    api_port: int = 0
    db_port: int = 0
    publishable_key: str = Field(default_factory=lambda: f"sb_publishable_{secrets.token_urlsafe(24)}")
    secret_key: str = Field(default_factory=lambda: f"sb_secret_{secrets.token_urlsafe(24)}")
    jwt_secret: str = Field(default_factory=lambda: secrets.token_hex(32))
    superuser_password: str = Field(default_factory=_password)
    postgres_password: str = Field(default_factory=_password)
    authenticator_password: str = Field(default_factory=_password)
    auth_password: str = Field(default_factory=_password)
    anon_jwt: str = ""
    service_role_jwt: str = ""

    @classmethod
    def of(cls, file: Path) -> Self:
        """The keys in `file`, which is written first where it is missing.

        Raises:
            LocalStackError: the file cannot be read, or holds something else.
        """
        if not file.exists():
            keys = cls()
            keys.anon_jwt = legacy_key(keys.jwt_secret, "anon")
            keys.service_role_jwt = legacy_key(keys.jwt_secret, "service_role")
            keys.write(file)
            return keys
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise LocalStackError(f"cannot read {file}: {error.strerror}") from None
        except ValidationError:
            raise LocalStackError(
                f"{file} is damaged",
                hint=f"Remove {file.parent}: the stack is made anew, and its data is lost.",
            ) from None

    def write(self, file: Path) -> None:
        """Replace `file` in one step, so that no reader ever sees half of it."""
        new = file.with_suffix(f".{os.getpid()}.new")
        new.touch(mode=0o600)
        new.write_text(self.model_dump_json(indent=2) + "\n")
        new.replace(file)


def legacy_key(jwt_secret: str, role: str) -> str:
    """A JWT key for a role, as projects had them before publishable and secret keys."""
    now = int(time.time())
    payload = {"iss": "supabase", "role": role, "iat": now, "exp": now + KEY_YEARS * 365 * 86_400}
    parts = (
        json.dumps(part, separators=(",", ":")).encode() for part in ({"alg": "HS256", "typ": "JWT"}, payload)
    )
    text = ".".join(map(_base64, parts))
    return f"{text}.{_base64(hmac.digest(jwt_secret.encode(), text.encode(), hashlib.sha256))}"


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
