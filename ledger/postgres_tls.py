"""What a connection to a remote database must be: encrypted, and to the server that was named.

libpq's own default (``sslmode=prefer``) falls back to plain text, so whoever stands in between would read everything
and could answer in the server's place. Whatever the user says about TLS holds instead: in the address, in ``PGSSLMODE``
and ``PGSSLROOTCERT``, in a service file, or by an authority's certificate where libpq looks for one. That a service is
named says nothing of TLS yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

NAMES = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT"}
"""What matters here, and the variable that libpq reads where nobody else says it."""


def tls_parameters(
    given: Mapping[str, str], environ: Mapping[str, str], service: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What else the driver is given; nothing for a socket or this machine, where nobody stands in between.

    Args:
        given: What the address says, by libpq's names.
        environ: The environment, of which libpq reads its part.
        service: What the section of a service file says, which wins over the environment.
    """
    from_environment = {name: environ[variable] for name, variable in NAMES.items() if environ.get(variable)}
    said = from_environment | dict(service or {}) | {name: value for name, value in given.items() if value}
    if said.get("sslmode") or not any(map(_is_elsewhere, _hosts(said))):
        return {}
    checked = {"sslmode": "verify-full"}
    if said.get("sslrootcert") or _has_own_authority(environ):
        return checked
    return checked | {"sslrootcert": _system_certificates()}


def _hosts(said: Mapping[str, str]) -> list[str]:
    """Where libpq connects to: an address wins over a name."""
    return (said.get("hostaddr") or said.get("host") or "").split(",")


def _is_elsewhere(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host.rstrip(".").lower() == "localhost":
        return False
    try:
        return not ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return True


def _has_own_authority(environ: Mapping[str, str]) -> bool:
    """Whether there is a certificate where libpq looks for one."""
    return bool(environ.get("HOME")) and Path(environ["HOME"], ".postgresql", "root.crt").exists()


def _system_certificates() -> str:
    """The authorities that this machine trusts: a file of them, since the driver's own OpenSSL may not know where it is."""
    import ssl  # noqa: PLC0415 - for a server elsewhere only

    return ssl.get_default_verify_paths().cafile or "system"
