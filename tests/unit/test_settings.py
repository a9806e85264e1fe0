"""Where the URL and the keys come from, and which of them are refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from ehg_tasks.errors import SettingsError
from ehg_tasks.settings import (
    Connection,
    KeyKind,
    Settings,
    check_key,
    check_url,
    checked_agent_token,
    is_loopback,
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


def test_the_environment_takes_precedence_over_the_dotenv_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        f"SUPABASE_URL=https://from-file.supabase.co\nSUPABASE_PUBLISHABLE_KEY='{PUBLISHABLE}'\n"
    )
    assert Settings.from_env().url == "https://from-file.supabase.co"
    monkeypatch.setenv("SUPABASE_URL", URL)
    settings = Settings.from_env()
    assert settings.url == URL
    assert settings.key("publishable").get_secret_value() == PUBLISHABLE
    assert Settings.from_env(dotenv=False).publishable_key is None


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


@pytest.mark.parametrize("url", [URL, "http://127.0.0.1:54321", "http://localhost:1", "http://[::1]:54321"])
def test_an_https_or_loopback_url_is_accepted(url: str) -> None:
    assert check_url(url) == check_url(f"{url}/") == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "not an http"),
        ("abcdefgh.supabase.co", "not an http"),
        ("postgresql://postgres:p4ss@db.abcdefgh.supabase.co/postgres", "not an http"),
        ("https://", "not an http"),
        ("https://abc defgh.supabase.co", "not an http"),
        ("https://abcdefgh.supabase.co:port", "not an http"),
        ("https://[::1", "not an http"),
        ("https://me:p4ss@abcdefgh.supabase.co", "must not contain a user name"),
        ("https://abcdefgh.supabase.co?apikey=p4ss", "must not contain a user name"),
        ("https://abcdefgh.supabase.co/rest/v1/", "must end before"),
        ("https://abcdefgh.supabase.co/auth/v1", "must end before"),
        ("http://abcdefgh.supabase.co", "unencrypted"),
        ("http://192.168.1.2:54321", "unencrypted"),
        ("http://localhost.example.com", "unencrypted"),
    ],
)
def test_any_other_url_is_refused_without_quoting_a_password(url: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as raised:
        check_url(url)
    assert "p4ss" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_loopback_address_is_recognized() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.8.9.1", "::1", "localhost", "my.localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "10.0.0.1", "localhost.com", "notlocalhost"]))


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
