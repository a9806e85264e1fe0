"""How a client reaches its project: URLs, proxies and certificates."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ehg_tasks import AgentTasks, SettingsError
from ehg_tasks.connection import check_url, is_loopback

NETWORK, LOOPBACK = "https://abcdefgh.supabase.co", "https://127.0.0.1:54321"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def connect(url: str) -> None:
    """Make a client, without a call."""
    AgentTasks(url=url, key="sb_publishable_PUBLIC123").close()


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"NO_PROXY": "127.0.0.1,[::1]"}, "a proxy setting .* NO_PROXY"),
        ({"NO_PROXY": "fe80::/10"}, "a proxy setting .* NO_PROXY"),
        ({"HTTPS_PROXY": "ftp://ana:p4ss@proxy.example.com"}, "a proxy setting .* HTTPS_PROXY"),
        ({"HTTPS_PROXY": "http://ana:p4ss@proxy.example.com:port"}, "a proxy setting .* HTTPS_PROXY"),
        ({"ALL_PROXY": "socks5://ana:p4ss@127.0.0.1:9"}, r"pip install 'httpx\[socks\]'"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_in_words_and_not_quoted(
    environment: dict[str, str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=why) as raised:
        connect(NETWORK)
    assert "p4ss" not in str(raised.value)
    assert raised.value.__suppress_context__
    connect(LOOPBACK)


@pytest.mark.parametrize(
    "no_proxy", ["localhost,127.0.0.1,::1", "10.0.0.0/8, .svc.cluster.local", "*", "a:1"]
)
def test_the_usual_forms_of_no_proxy_are_accepted(no_proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    connect(NETWORK)


@pytest.mark.parametrize("url", [NETWORK, LOOPBACK])
def test_certificates_that_cannot_be_read_are_refused_for_https_only(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    with pytest.raises(SettingsError, match="that SSL_CERT_FILE names cannot be read: No such file"):
        connect(url)
    (tmp_path / "gone.pem").write_text("not a certificate")
    with pytest.raises(SettingsError, match="that SSL_CERT_FILE names cannot be read"):
        connect(url)
    connect("http://127.0.0.1:54321")


def test_a_project_on_a_network_is_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        agent = AgentTasks(url=NETWORK, key="sb_publishable_PUBLIC123", timeout=0.5, retries=0)
        with agent, pytest.raises(Exception, match="no answer"):
            agent.claim("A")
        connection, _ = proxy.accept()
        with connection:
            assert connection.recv(100).startswith(b"CONNECT abcdefgh.supabase.co:443")


@pytest.mark.parametrize(
    "url",
    ["https://abcdefgh.supabase.co", "http://127.0.0.1:54321", "http://localhost:1", "http://[::1]:54321"],
)
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
