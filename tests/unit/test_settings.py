"""Where the URL and the keys come from, and which of them are refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from ehg_tasks.connection import Connection
from ehg_tasks.errors import AuthenticationFailed, SettingsError
from ehg_tasks.settings import (
    KeyKind,
    Settings,
    check_key,
    checked_agent_token,
    expired,
    key_kind,
    url_and_key,
)

URL = "https://abcdefgh.supabase.co"
PUBLISHABLE, SECRET = "sb_publishable_PUBLIC123", "sb_secret_HIDDEN456"
AGENT = "agent_HIDDEN789"
NAMES = (
    "SUPABASE_URL", "SUPABASE_PUBLISHABLE_KEY", "SUPABASE_ANON_KEY", "SUPABASE_SECRET_KEY",
    "SUPABASE_SERVICE_ROLE_KEY", "EHG_AGENT_TOKEN",
)  # fmt: skip


def token(payload: object) -> str:
    """Return a text of the form of a JWT; its signature is not valid."""
    text = base64.urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJIUzI1NiJ9.{text}.c2ln"


ANON, SERVICE, USER = (
    token({"role": "anon"}),
    token({"role": "service_role"}),
    token({"role": "authenticated"}),
)


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", f" {URL} ")
    monkeypatch.setenv("SUPABASE_PUBLISHABLE_KEY", PUBLISHABLE)
    monkeypatch.setenv("SUPABASE_SECRET_KEY", SECRET)
    monkeypatch.setenv("EHG_AGENT_TOKEN", f"{AGENT}\n")
    settings = Settings.from_env()
    assert settings.url == URL
    assert settings.key("publishable").get_secret_value() == PUBLISHABLE
    assert settings.key("secret").get_secret_value() == SECRET
    assert checked_agent_token(settings, None) == AGENT
    assert settings == Settings.of(URL, PUBLISHABLE, SECRET, AGENT)


def test_settings_are_read_again_from_their_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.of(URL, PUBLISHABLE, SECRET, AGENT)
    for name, value in settings.env().items():
        monkeypatch.setenv(name, value)
    assert Settings.from_env() == settings
    assert Settings.of(URL).env() == {"SUPABASE_URL": URL}


def test_a_legacy_variable_is_used_if_the_new_one_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", URL)
    monkeypatch.setenv("SUPABASE_ANON_KEY", ANON)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", SERVICE)
    assert Settings.from_env().key("publishable").get_secret_value() == ANON
    assert Settings.from_env().key("secret").get_secret_value() == SERVICE
    monkeypatch.setenv("SUPABASE_PUBLISHABLE_KEY", "")
    assert Settings.from_env().key("publishable").get_secret_value() == ANON
    monkeypatch.setenv("SUPABASE_PUBLISHABLE_KEY", PUBLISHABLE)
    assert Settings.from_env().key("publishable").get_secret_value() == PUBLISHABLE


FILE_URL = "https://from-file.supabase.co"


def test_a_dotenv_file_is_read_if_the_environment_names_no_project(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"SUPABASE_URL={FILE_URL}\nSUPABASE_PUBLISHABLE_KEY='{PUBLISHABLE}'\n")
    assert Settings.from_env() == Settings.of(FILE_URL, PUBLISHABLE)
    assert Settings.configured()
    with pytest.raises(SettingsError, match=r"^SUPABASE_URL is not set\. Set it in the environment"):
        Settings.from_env(dotenv=False)
    monkeypatch.setenv("SUPABASE_URL", "  ")
    assert Settings.from_env().url == FILE_URL


@pytest.mark.parametrize("name", [name for name in NAMES if name != "SUPABASE_URL"])
def test_no_secret_of_the_environment_is_sent_to_the_url_of_a_dotenv_file(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"SUPABASE_URL={FILE_URL}\nSUPABASE_PUBLISHABLE_KEY={PUBLISHABLE}\n")
    monkeypatch.setenv(name, SECRET)
    with pytest.raises(
        SettingsError, match=f"^SUPABASE_URL is not set in the environment, which sets {name}"
    ):
        Settings.from_env()


def test_no_secret_of_a_dotenv_file_is_sent_to_the_url_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("".join(f"{name}={SECRET}\n" for name in NAMES))
    monkeypatch.setenv("SUPABASE_URL", URL)
    assert Settings.from_env() == Settings.of(URL)


def test_a_dotenv_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"SUPABASE_URL=\xff\xfe")
    with pytest.raises(SettingsError, match=r"cannot read \.env: UnicodeDecodeError"):
        Settings.from_env()


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(SettingsError, match=r"SUPABASE_URL is not set"):
        Settings.from_env()
    settings = Settings(url=URL)
    with pytest.raises(SettingsError, match=r"SUPABASE_PUBLISHABLE_KEY \(or SUPABASE_ANON_KEY"):
        settings.key("publishable")
    with pytest.raises(SettingsError, match=r"SUPABASE_SECRET_KEY \(or SUPABASE_SERVICE_ROLE_KEY"):
        settings.key("secret")


def test_settings_do_not_print_their_keys() -> None:
    settings = Settings.of(URL, PUBLISHABLE, SECRET, AGENT)
    connection = Connection(URL, PUBLISHABLE, timeout=10.0, retries=3, agent_token=AGENT)
    for text in (repr(settings), str(settings), repr(connection)):
        assert "PUBLIC123" not in text
        assert "HIDDEN" not in text


KINDS: list[tuple[str, KeyKind]] = [
    (PUBLISHABLE, "publishable"),
    (SECRET, "secret"),
    (ANON, "publishable"),
    (SERVICE, "secret"),
    (USER, "user token"),
    (token({"role": "postgres"}), "unknown"),
    (token({"role": ["anon"]}), "unknown"),
    (token([1]), "unknown"),
    ("a.b", "unknown"),
    ("a.%%%.c", "unknown"),
    ("", "unknown"),
]


@pytest.mark.parametrize(("key", "kind"), KINDS)
def test_the_form_of_a_key_shows_its_kind(key: str, kind: KeyKind) -> None:
    assert key_kind(key) == kind


@pytest.mark.parametrize(("key", "kind"), KINDS)
@pytest.mark.parametrize("expected", ["publishable", "secret", "user token"])
def test_only_a_key_of_the_expected_kind_is_accepted(key: str, kind: KeyKind, expected: KeyKind) -> None:
    if kind == expected:
        check_key(key, expected, "AgentTasks")
        return
    with pytest.raises(SettingsError, match=r"^AgentTasks needs a") as raised:
        check_key(key, expected, "AgentTasks")
    assert not key or key not in f"{raised.value} {raised.value!r}"


@pytest.mark.parametrize("character", [" ", "\n", "\r\nX-Other: 1", "é", "\x7f"])
def test_a_key_with_an_illegal_character_is_refused(character: str) -> None:
    with pytest.raises(SettingsError, match="not a Supabase key") as raised:
        check_key(PUBLISHABLE + character, "publishable", "AgentTasks")
    assert "PUBLIC123" not in str(raised.value)


@pytest.mark.parametrize("token", ["", " ", "two words", "a\n", "a\r\nX-Other: 1", "é", "a\0", "\x7f"])
def test_an_agent_token_that_fits_no_header_is_refused(token: str) -> None:
    with pytest.raises(SettingsError, match=r"^the agent token is blank, or holds a space") as raised:
        checked_agent_token(None, f"{AGENT}{token}" if token.strip() else token)
    assert "HIDDEN789" not in str(raised.value)


def test_a_given_agent_token_takes_precedence_over_the_settings() -> None:
    settings = Settings.of(URL, agent_token=AGENT)
    assert checked_agent_token(settings, None) == AGENT
    assert checked_agent_token(settings, "agent_other") == "agent_other"
    assert checked_agent_token(Settings.of(URL), None) is checked_agent_token(None, None) is None


def test_text_that_is_not_a_token_is_called_so() -> None:
    with pytest.raises(
        SettingsError, match="needs a user token, but was given something that is not a user token"
    ):
        check_key("abc", "user token", "DashboardTasks")


def for_an_agent(settings: Settings | None, url: str | None, key: str | None) -> tuple[str, str]:
    return url_and_key(settings, url, key, "publishable", "AgentTasks")


def test_a_client_takes_settings_or_url_and_key() -> None:
    settings = Settings(url=f"{URL}/", publishable_key=SecretStr(PUBLISHABLE))
    assert for_an_agent(settings, None, None) == for_an_agent(None, URL, PUBLISHABLE) == (URL, PUBLISHABLE)


@pytest.mark.parametrize(
    ("settings", "url", "key", "why"),
    [
        (None, None, None, "needs a URL"),
        (None, None, PUBLISHABLE, "needs a URL"),
        (None, URL, None, "needs a key"),
        (Settings(url=URL, publishable_key=SecretStr(PUBLISHABLE)), URL, None, "not both"),
        (Settings(url=URL, publishable_key=SecretStr(PUBLISHABLE)), None, PUBLISHABLE, "not both"),
        (Settings(url=URL, secret_key=SecretStr(SECRET)), None, None, "there is no publishable key"),
        (None, URL, SECRET, "given a secret key"),
        (None, URL, "", "not a Supabase key"),
        (None, "", PUBLISHABLE, "not an http"),
    ],
)
def test_a_client_refuses_missing_or_contradictory_settings(
    settings: Settings | None, url: str | None, key: str | None, why: str
) -> None:
    with pytest.raises(SettingsError, match=why) as raised:
        for_an_agent(settings, url, key)
    assert "HIDDEN456" not in str(raised.value)


def test_an_expired_token_is_told_from_one_that_is_refused_for_another_reason() -> None:
    refused = AuthenticationFailed("JWT expired", code="PGRST303", status=401)
    error = expired(refused, token({"exp": 1_700_000_000}))
    assert str(error).startswith("the access token expired at 2023-11-14 22:13 UTC (PGRST303). Sign in again")
    assert error.status == 401
    for other in (None, "not a token", token({}), token({"exp": "1"}), token({"exp": 2**40}), token([1])):
        assert expired(refused, other) is refused
