"""Environment values stay in the log in plain text, so what looks like a credential is refused first."""

from __future__ import annotations

import time

import pytest

from ledger.credentials import looks_like_credential

JWT = ".".join(("eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0In0", "c2lnbmF0dXJl"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("DB_PASSWORD", "hunter22"),
        ("password", "correct horse"),
        ("PGPASSWORD", "hunter22"),
        ("DB_PASS", "hunter22"),
        ("PASS", "hunter22"),
        ("REDIS_AUTH", "hunter22"),
        ("STRIPE_API_KEY", "abcdef123"),
        ("URL", "postgres://user:pw@host:5432/orders"),
        ("KEY", "-----BEGIN RSA PRIVATE KEY-----\nMII"),
        ("A", "AKIA" + "A" * 16),
        ("A", "ghp_" + "a" * 36),
        ("A", "sk_" + "live_" + "a" * 24),
        ("A", JWT),
    ],
)
def test_what_looks_like_a_credential_is_told_without_quoting_it(key: str, value: str) -> None:
    why = looks_like_credential(key, value)
    assert why is not None
    assert value not in why


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("USER_SERVICE_URL", "https://excitedowl-twzwpdg.satusky.com"),
        ("URL", "https://host:8080/path@v2"),
        ("PASSWORD_MIN_LENGTH", "12"),
        ("TOKEN", "900"),
        ("TOKEN_TTL_SECONDS", "86400000"),
        ("USE_TOKEN", "true"),
        ("MONKEY", "see no evil"),
        ("COMPASS", "north by northwest"),
        ("BYPASS", "localhost,127.0.0.1"),
        ("AUTHOR", "Jane Doe"),
        ("AUTH_MODE", "client_secret"),
        ("AUTH_URL", "https://auth.example.com"),
        ("AUTH", "client_secret"),
        ("SMTP_AUTH", "required"),
        ("ADMIN_AUTH", "oauth2"),
        ("PASSPORT", "not needed"),
        ("PASS_THROUGH", "x-request-id"),
    ],
)
def test_ordinary_values_are_not_taken_for_credentials(key: str, value: str) -> None:
    assert looks_like_credential(key, value) is None


@pytest.mark.parametrize(
    "value", ["a" * 1_000_000, "://:" * 250_000, "eyJ" * 300_000, "a:" * 500_000, "-----BEGIN " * 90_000]
)
def test_a_large_value_is_judged_in_no_time(value: str) -> None:
    started = time.process_time()
    looks_like_credential("X", value)
    assert time.process_time() - started < 2
