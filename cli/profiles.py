"""Profiles: which cluster, namespace and ledger a command is about.

Without one, commands use the sandbox: a real cluster is never chosen by accident, and an ambient KUBECONFIG is ignored.
The name "sandbox" asks for it where another profile is the default.
Each field has an environment twin, which wins over the profile: ONECTL_CONTEXT, ONECTL_KUBECONFIG, ONECTL_NAMESPACE,
ONECTL_CLUSTER, ONECTL_LEDGER, ONECTL_DOMAIN_SUFFIX, ONECTL_GATEWAY; ONECTL_PROFILE names the profile itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cli.home import expanded
from ledger import values
from ledger.errors import InvalidValueError, OneCtlError, RefusedError

SANDBOX = "sandbox"
"""The cluster name of the sandbox, and of no other cluster."""

DEFAULT_DOMAIN_SUFFIX = "satusky.com"
DEFAULT_GATEWAY = "gateway-system/satusky-gateway"


class ProfileFileError(OneCtlError):
    """The file of profiles cannot be read or written."""


class Profile(NamedTuple):
    """One place to deploy to; None means "not said".

    Attributes:
        context: Context of the kubeconfig; without one and without a cluster's name, it is the sandbox.
        kubeconfig: Path of the kubeconfig; None is ``~/.kube/config``.
        namespace: Kubernetes namespace.
        cluster: Cluster name in the ledger; None is the context's name.
        ledger: Ledger file or URL; None is a file of this profile's own.
        domain_suffix: What generated host names end in.
        gateway: ``namespace/name`` of the Gateway that routes attach to.
    """

    context: str | None = None
    kubeconfig: str | None = None
    namespace: str | None = None
    cluster: str | None = None
    ledger: str | None = None
    domain_suffix: str | None = None
    gateway: str | None = None


class Place(NamedTuple):
    """Where a command acts, everything decided.

    Attributes:
        profile: Name of the profile, or None without one.
        context: Context of the kubeconfig, or None without one.
        kubeconfig: Path of the kubeconfig, or None for the default one.
        namespace: Kubernetes namespace.
        cluster: Cluster name in the ledger.
        ledger: Path of the ledger's file, or URL of its database; the latter may hold a password.
        domain_suffix: What generated host names end in.
        gateway: ``namespace/name``.
        in_cluster: Whether this process runs in the cluster, with a service account.
    """

    profile: str | None
    context: str | None
    kubeconfig: Path | None
    namespace: str
    cluster: str
    ledger: Path | str
    domain_suffix: str
    gateway: str
    in_cluster: bool = False

    @property
    def is_sandbox(self) -> bool:
        """Whether the cluster is a simulation."""
        return self.cluster == SANDBOX


class Profiles:
    """The profiles of this user, in one small file (mode 0600)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.current, self.all = _read(path)

    def get(self, name: str) -> Profile:
        """The profile of that name.

        Raises:
            RefusedError: There is none.
        """
        if name not in self.all:
            raise RefusedError(
                f'profile "{name}" does not exist',
                hint="See those that do: 1ctl profile list" if self.all else "Make one: 1ctl profile create --help",
            )
        return self.all[name]

    def create(self, name: str, profile: Profile, *, replace: bool = False) -> None:
        """Add a profile, or replace the one of that name.

        Raises:
            RefusedError: The name is taken, or a value is not acceptable.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", name):
            raise RefusedError(f'"{name}" is not a profile name', hint="Use letters, digits, - and _: staging")
        if name == SANDBOX:
            raise RefusedError('the name "sandbox" is kept for the sandbox', hint="Give the profile another name.")
        if name in self.all and not replace:
            raise RefusedError(
                f'profile "{name}" exists already',
                hint="Give this one another name, or replace all of that one: --force   (or remove it: "
                f"1ctl profile delete {name})",
            )
        check(profile)
        _check_address(profile.ledger)
        self.all[name] = profile
        self._write()

    def use(self, name: str | None) -> None:
        """Make a profile the one that commands use by default; None for the sandbox."""
        if name is not None:
            self.get(name)
        self.current = name
        self._write()

    def delete(self, name: str) -> None:
        """Remove a profile. Its ledger stays."""
        self.get(name)
        del self.all[name]
        if self.current == name:
            self.current = None
        self._write()

    def _write(self) -> None:
        import orjson  # noqa: PLC0415 - reading profiles needs it only where there is a file

        from ledger.durable_files import make_directory, write_durably  # noqa: PLC0415 - likewise

        content = {"current": self.current, "profiles": {name: each._asdict() for name, each in self.all.items()}}
        try:
            make_directory(self._path.parent)
            write_durably(self._path, orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
        except OSError as error:
            raise ProfileFileError(
                f"{self._path} cannot be written: {error.strerror}", hint="ONECTL_HOME names the directory it is in."
            ) from error


def check(profile: Profile) -> None:
    """Refuse what no command could use.

    Raises:
        RefusedError: A value is not acceptable.
    """
    if profile.namespace is not None:
        values.namespace(profile.namespace)
    if profile.domain_suffix is not None:
        values.domain_suffix(profile.domain_suffix)
    if profile.gateway is not None and not re.fullmatch(r"[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}", profile.gateway):
        raise InvalidValueError("gateway", profile.gateway, "must be namespace/name", example=DEFAULT_GATEWAY)
    if profile.context is not None and (profile.cluster or profile.context) == SANDBOX:
        raise RefusedError(
            'the cluster name "sandbox" is kept for the sandbox', hint="Give this cluster another name: --cluster NAME"
        )


def _check_address(address: str | None) -> None:
    """A profile is kept in a file, and shown: nothing secret belongs in it."""
    if address is None or "://" not in address:
        return
    from ledger.postgres_address import Address  # noqa: PLC0415 - most ledgers are files

    if Address(address).has_secret:
        raise RefusedError(
            "the address of the ledger holds a password, which a profile does not keep",
            hint="Leave it out, and put it into ~/.pgpass (or where PGPASSFILE says), PGPASSWORD or a service file.",
        )


def place(profiles: Profiles, *, name: str | None, ledger: str | None, home: Path, environ: Mapping[str, str]) -> Place:
    """Where this run acts: options over environment over profile over sandbox.

    Raises:
        RefusedError: The profile does not exist, or what is said does not fit together.
    """
    name = name or environ.get("ONECTL_PROFILE") or profiles.current
    sandbox = name == SANDBOX and name not in profiles.all
    name = None if sandbox else name
    profile = profiles.get(name) if name else Profile()
    given = {field: environ.get(f"ONECTL_{field.upper()}") for field in Profile._fields}
    profile = profile._replace(**{field: value for field, value in given.items() if value})
    check(profile)
    in_cluster = bool(environ.get("ONECTL_IN_CLUSTER"))
    cluster = profile.cluster or profile.context or SANDBOX
    real = cluster != SANDBOX
    if sandbox and (real or in_cluster):
        raise RefusedError(
            f"the sandbox is asked for, but the environment names the cluster {cluster if real else 'that this runs in'}",
            hint="For the sandbox: unset ONECTL_CONTEXT ONECTL_CLUSTER ONECTL_IN_CLUSTER",
        )
    if in_cluster and not real:
        raise RefusedError(
            "ONECTL_IN_CLUSTER is set, but nothing names the cluster",
            hint="Name it as the ledger does: ONECTL_CLUSTER=...",
        )
    if real and profile.namespace is None:
        raise RefusedError(
            f'no namespace is named for the cluster "{cluster}"',
            hint="Name one: ONECTL_NAMESPACE=..., or in a profile: 1ctl profile create --help",
        )
    return Place(
        profile=name,
        context=profile.context,
        kubeconfig=expanded(profile.kubeconfig) if profile.kubeconfig else None,
        namespace=(profile.namespace or "default") if real else "default",
        cluster=cluster,
        ledger=_ledger_address(ledger or profile.ledger, name or cluster, home),
        domain_suffix=profile.domain_suffix or DEFAULT_DOMAIN_SUFFIX,
        gateway=profile.gateway or DEFAULT_GATEWAY,
        in_cluster=in_cluster,
    )


def _ledger_address(given: str | None, owner: str, home: Path) -> Path | str:
    """A path of a file, or a URL of a database."""
    if given is None:
        return home / "ledgers" / f"{re.sub(r'[^A-Za-z0-9_-]', '-', owner)}.db"
    scheme, separator, rest = given.partition("://")
    if scheme in ("postgresql", "postgres") and separator:
        return given
    if separator and scheme != "sqlite":
        raise RefusedError(
            f'a ledger at "{scheme}://" is not supported',
            hint="Name a file, --ledger /path/ledger.db, or a database, --ledger postgresql://host/name",
        )
    # As in SQLAlchemy, sqlite:///x is relative and sqlite:////x is absolute.
    return expanded(rest.removeprefix("/") if separator else given)


def lasting_address(given: str) -> str:
    """A ledger's address as a profile keeps it: a path that means the same in every directory, or the URL as it is."""
    address = _ledger_address(given, "", Path())
    return address if isinstance(address, str) else str(address.absolute())


def shown_address(address: Path | str | None) -> str | None:
    """The address for people to see, without what is secret in it; only the scheme of one that is not an address."""
    if address is None or isinstance(address, Path) or "://" not in address:
        return None if address is None else str(address)
    from ledger.postgres_address import Address  # noqa: PLC0415 - most ledgers are files

    try:
        return Address(address).shown
    except InvalidValueError:
        return "postgresql://***"


def _name(content: object) -> str | None:
    if content is not None and not isinstance(content, str):
        raise TypeError
    return content


def _profile(content: Mapping[str, object]) -> Profile:
    if not all(value is None or isinstance(value, str) for value in content.values()):
        raise TypeError
    return Profile(**content)  # type: ignore[arg-type]


def _read(path: Path) -> tuple[str | None, dict[str, Profile]]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None, {}
    except OSError as error:
        raise ProfileFileError(
            f"{path} cannot be read: {error.strerror}", hint="ONECTL_HOME names the directory it is looked for in."
        ) from error
    import orjson  # noqa: PLC0415

    try:
        content = orjson.loads(text)
        return _name(content["current"]), {name: _profile(each) for name, each in content["profiles"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProfileFileError(f"{path} is not a file of profiles", hint="Move it away and make them again.") from error
