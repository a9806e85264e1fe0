"""Where the project is found, and what is refused before anything is sent."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from ehg_tasks.calls import project
from ehg_tasks.errors import SettingsError
from ehg_tasks.settings import KeyKind, Settings, check_key, check_url, is_loopback, key_kind

URL = "https://abcdefgh.supabase.co"
PUBLISHABLE, SECRET = "sb_publishable_PUBLIC123", "sb_secret_HIDDEN456"
NAMES = (
    "SUPABASE_URL", "SUPABASE_PUBLISHABLE_KEY", "SUPABASE_ANON_KEY", "SUPABASE_SECRET_KEY",
    "SUPABASE_SERVICE_ROLE_KEY",
)  # fmt: skip


def token(payload: object) -> str:
    """A JWT as it looks; nobody checks the signature here."""
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


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", f" {URL} ")
    monkeypatch.setenv("SUPABASE_PUBLISHABLE_KEY", PUBLISHABLE)
    monkeypatch.setenv("SUPABASE_SECRET_KEY", SECRET)
    settings = Settings.from_env()
    assert settings.url == URL
    assert settings.key("publishable").get_secret_value() == PUBLISHABLE
    assert settings.key("secret").get_secret_value() == SECRET


def test_legacy_names_count_where_the_new_ones_are_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", URL)
    monkeypatch.setenv("SUPABASE_ANON_KEY", ANON)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", SERVICE)
    assert Settings.from_env().key("publishable").get_secret_value() == ANON
    assert Settings.from_env().key("secret").get_secret_value() == SERVICE
    monkeypatch.setenv("SUPABASE_PUBLISHABLE_KEY", "")
    assert Settings.from_env().key("publishable").get_secret_value() == ANON
    monkeypatch.setenv("SUPABASE_PUBLISHABLE_KEY", PUBLISHABLE)
    assert Settings.from_env().key("publishable").get_secret_value() == PUBLISHABLE


def test_the_environment_goes_before_dotenv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        f"SUPABASE_URL=https://from-file.supabase.co\nSUPABASE_PUBLISHABLE_KEY='{PUBLISHABLE}'\n"
    )
    assert Settings.from_env().url == "https://from-file.supabase.co"
    monkeypatch.setenv("SUPABASE_URL", URL)
    settings = Settings.from_env()
    assert settings.url == URL
    assert settings.key("publishable").get_secret_value() == PUBLISHABLE
    assert Settings.from_env(dotenv=False).publishable_key is None


def test_a_dotenv_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"SUPABASE_URL=\xff\xfe")
    with pytest.raises(SettingsError, match=r"cannot read \.env: UnicodeDecodeError"):
        Settings.from_env()


def test_what_is_missing_is_named() -> None:
    with pytest.raises(SettingsError, match=r"SUPABASE_URL is not set"):
        Settings.from_env()
    settings = Settings(url=URL)
    with pytest.raises(SettingsError, match=r"SUPABASE_PUBLISHABLE_KEY \(or SUPABASE_ANON_KEY"):
        settings.key("publishable")
    with pytest.raises(SettingsError, match=r"SUPABASE_SECRET_KEY \(or SUPABASE_SERVICE_ROLE_KEY"):
        settings.key("secret")


def test_keys_are_not_printed() -> None:
    settings = Settings(url=URL, publishable_key=SecretStr(PUBLISHABLE), secret_key=SecretStr(SECRET))
    for text in (repr(settings), str(settings)):
        assert "PUBLIC123" not in text
        assert "HIDDEN456" not in text


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
def test_the_kind_of_a_key(key: str, kind: KeyKind) -> None:
    assert key_kind(key) == kind


@pytest.mark.parametrize(("key", "found"), KINDS)
@pytest.mark.parametrize("wanted", ["publishable", "secret", "user token"])
def test_only_a_key_of_the_wanted_kind_passes(key: str, found: KeyKind, wanted: KeyKind) -> None:
    if found == wanted:
        check_key(key, wanted, "AgentTasks")
        return
    with pytest.raises(SettingsError, match=r"^AgentTasks works with") as raised:
        check_key(key, wanted, "AgentTasks")
    assert not key or key not in f"{raised.value} {raised.value!r}"


@pytest.mark.parametrize("odd", [" ", "\n", "\r\nX-Other: 1", "é", "\x7f"])
def test_a_key_with_odd_characters_is_none(odd: str) -> None:
    with pytest.raises(SettingsError, match="no Supabase key") as raised:
        check_key(PUBLISHABLE + odd, "publishable", "AgentTasks")
    assert "PUBLIC123" not in str(raised.value)


@pytest.mark.parametrize("url", [URL, "http://127.0.0.1:54321", "http://localhost:1", "http://[::1]:54321"])
def test_urls_that_pass(url: str) -> None:
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
        ("https://me:p4ss@abcdefgh.supabase.co", "must hold no user name"),
        ("https://abcdefgh.supabase.co?apikey=p4ss", "must hold no user name"),
        ("https://abcdefgh.supabase.co/rest/v1/", "must end before"),
        ("https://abcdefgh.supabase.co/auth/v1", "must end before"),
        ("http://abcdefgh.supabase.co", "unencrypted"),
        ("http://192.168.1.2:54321", "unencrypted"),
        ("http://localhost.example.com", "unencrypted"),
    ],
)
def test_urls_that_are_refused(url: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as raised:
        check_url(url)
    assert "p4ss" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_loopback() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.8.9.1", "::1", "localhost", "my.localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "10.0.0.1", "localhost.com", "notlocalhost"]))


def test_a_client_takes_settings_or_url_and_key() -> None:
    settings = Settings(url=f"{URL}/", publishable_key=SecretStr(PUBLISHABLE), secret_key=SecretStr(SECRET))
    assert project(settings, None, None, "publishable", "AgentTasks") == (URL, PUBLISHABLE)
    assert project(settings, None, None, "secret", "BackendTasks") == (URL, SECRET)
    assert project(None, URL, ANON, "publishable", "AgentTasks") == (URL, ANON)


@pytest.mark.parametrize(
    ("settings", "url", "key", "why"),
    [
        (None, None, None, "given no url"),
        (None, None, PUBLISHABLE, "given no url"),
        (None, URL, None, "given no key"),
        (Settings(url=URL, publishable_key=SecretStr(PUBLISHABLE)), URL, None, "given both"),
        (Settings(url=URL, publishable_key=SecretStr(PUBLISHABLE)), None, PUBLISHABLE, "given both"),
        (Settings(url=URL, secret_key=SecretStr(SECRET)), None, None, "no publishable key is given"),
        (None, URL, SECRET, "given a secret key"),
        (None, URL, "", "no Supabase key"),
        (None, "", PUBLISHABLE, "not an http"),
    ],
)
def test_anything_else_is_refused(
    settings: Settings | None, url: str | None, key: str | None, why: str
) -> None:
    with pytest.raises(SettingsError, match=why) as raised:
        project(settings, url, key, "publishable", "AgentTasks")
    assert "HIDDEN456" not in str(raised.value)
