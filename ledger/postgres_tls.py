"""What a connection to a remote database must be: encrypted, and to the server that was named.

libpq's own default (``sslmode=prefer``) falls back to plain text, so whoever stands in between would read everything
and could answer in the server's place. Whatever the user says about TLS holds instead: in the address, in ``PGSSLMODE``
and ``PGSSLROOTCERT``, in a service file, or by an authority's certificate where libpq looks for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path


def tls_parameters(given: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """What else the driver is given; nothing for a socket or this machine, where nobody stands in between.

    Args:
        given: What the address says, by libpq's names.
        environ: The environment, of which libpq reads its part.
    """
    if given.get("service") or environ.get("PGSERVICE") or given.get("sslmode") or environ.get("PGSSLMODE"):
        return {}
    if not any(map(_is_elsewhere, _hosts(given, environ))):
        return {}
    checked = {"sslmode": "verify-full"}
    if given.get("sslrootcert") or environ.get("PGSSLROOTCERT") or _has_own_authority(environ):
        return checked
    return checked | {"sslrootcert": _system_certificates()}


def _hosts(given: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    """Where libpq connects to: an address wins over a name, and what is given wins over the environment."""
    said = given.get("hostaddr") or environ.get("PGHOSTADDR") or given.get("host") or environ.get("PGHOST") or ""
    return said.split(",")


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
