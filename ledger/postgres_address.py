"""Addresses of PostgreSQL databases: read as libpq reads them, and shown without what is secret in them.

It needs no driver, so that commands which only show an address do not wait for one. Whoever connects asks libpq as well
(`ledger.postgres_connection`): an address that the two read differently is not used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from ledger.errors import InvalidValueError

_EXAMPLE = "postgresql://user@host/database"
_SECRET_PARAMETERS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
_DEFAULTS = {
    "application_name": "1ctl",
    "connect_timeout": "10",
    # A server that vanished is noticed within a minute, even by a command that waits for its answer.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}

# As in libpq's own reader, except that "@" stands only behind user and password. Elsewhere it most likely comes from a
# password with a bare "@" or "/", part of which libpq would take for the host, the port or the database.
_URL = re.compile(
    r"postgres(?:ql)?(?:\+psycopg)?://"
    r"(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?"
    r"(?P<places>[^@/?]*)"
    r"(?:/(?P<dbname>[^@?]*))?"
    r"(?:\?(?P<query>[^@]*))?"
)
_PLACE = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[0-9]*))?")


class Address:
    """Where a database is, from a ``postgresql://`` URL as libpq understands it.

    Attributes:
        url: The address as libpq takes it, secrets included.
        given: What the address says.
        parameters: What the driver is given: that, and defaults.
        shown: The address as it may be shown: its password, if there is one, as ``***``.
        has_secret: Whether it holds something that is for its owner only.

    Raises:
        InvalidValueError: It is not such a URL.
    """

    def __init__(self, url: str) -> None:
        self.url = re.sub(r"^postgres(ql)?(\+psycopg)?://", "postgresql://", url)
        said = parse(url)
        # Of several hosts, the one that can be written; what a standby says may be older than what was acknowledged.
        several = {"target_session_attrs": "read-write"} if "," in said.get("host", "") else {}
        self.given = several | said | {"client_encoding": "UTF8"}
        self.parameters = _DEFAULTS | self.given
        self.shown = _shown(said)
        self.has_secret = any(said.get(name) for name in _SECRET_PARAMETERS)

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def parse(url: str) -> dict[str, str]:
    """What a URL says, by the names of libpq's parameters.

    Raises:
        InvalidValueError: It is not a URL, or may be read in two ways; the error repeats nothing of it.
    """
    found = _URL.fullmatch(url)
    places = [_PLACE.fullmatch(place) for place in found["places"].split(",")] if found else []
    if found is None or not all(places) or " " in url or not url.isprintable():
        raise invalid_address()
    hosts = ",".join(place["ipv6"] or place["host"] for place in places if place)
    ports = ",".join(place["port"] or "" for place in places if place)
    named = {
        "user": found["user"],
        "password": found["password"],
        "host": hosts,
        "port": ports,
        "dbname": found["dbname"],
    }
    said = {name: _decoded(text) for name, text in named.items() if text} | _query(found["query"] or "")
    if not said or "@" in said.get("host", "") or not re.fullmatch(r"[0-9,]*", said.get("port", "")):
        raise invalid_address()
    return said


def invalid_address() -> InvalidValueError:
    """Why a URL is not an address."""
    return InvalidValueError(
        "ledger address",
        None,
        "is not a PostgreSQL URL (special characters of a password are written as %40 for @, %2F for /)",
        example=_EXAMPLE,
    )


def _query(text: str) -> dict[str, str]:
    said = {}
    for part in text.removesuffix("&").split("&") if text else ():
        name, found, value = part.partition("=")
        if not found or "=" in value:
            raise invalid_address()
        name, value = _decoded(name), _decoded(value)
        if (name, value) == ("ssl", "true"):  # as JDBC writes it
            name, value = "sslmode", "require"
        said[name] = value
    return said


def _decoded(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})|%00", text):
        raise invalid_address()
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise invalid_address() from None


def _shown(parameters: Mapping[str, str]) -> str:
    user = quote(parameters.get("user", ""), safe="")
    password = ":***" if parameters.get("password") else ""
    hosts, ports = parameters.get("host", "").split(","), parameters.get("port", "").split(",")
    sockets = any(host.startswith("/") for host in hosts)
    places = [
        (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
        for host, port in zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=False)
    ]
    place = "" if sockets else ",".join(places)
    query = [f"host={','.join(hosts)}"] if sockets else []
    query += [f"service={quote(parameters['service'], safe='')}"] if parameters.get("service") else []
    at = "@" if user or password else ""
    name = quote(parameters.get("dbname", ""), safe="")
    return f"postgresql://{user}{password}{at}{place}/{name}" + (f"?{'&'.join(query)}" if query else "")
