"""`1ctl profile`: which cluster, namespace and ledger commands are about."""

from __future__ import annotations

from os import environ
from typing import TYPE_CHECKING, Annotated

import typer

from cli.lazy import command_group
from cli.options import INVOCATION, not_empty, offer

if TYPE_CHECKING:
    from cli.session import Session

app = command_group(
    {
        "create": "cli.profile:create",
        "use": "cli.profile:use",
        "list": "cli.profile:list_profiles",
        "current": "cli.profile:current",
        "delete": "cli.profile:delete",
    }
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the profile.")]
KnownNameArgument = Annotated[
    str, typer.Argument(metavar="NAME", autocompletion=offer("profiles"), help="Name of the profile.")
]


_EPILOG = """\b
Examples:
  1ctl profile create prod --context my-cluster --namespace shop
  1ctl profile use prod"""


@app.callback(epilog=_EPILOG)
def profile() -> None:
    """Places to deploy to; without one, the sandbox.

    A profile names a cluster, a namespace and a ledger. Without one, commands use a simulated cluster on this machine.
    """


def create(
    name: NameArgument,
    context: Annotated[str, typer.Option(metavar="CTX", callback=not_empty, help="Context of the kubeconfig.")],
    namespace: Annotated[str, typer.Option(metavar="NS", callback=not_empty, help="Namespace; it must exist.")],
    kubeconfig: Annotated[
        str | None, typer.Option(metavar="FILE", callback=not_empty, help="Kubeconfig [~/.kube/config].")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", callback=not_empty, help="The cluster's lasting name in the ledger [the context's]."
        ),
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option("--ledger", metavar="FILE|URL", callback=not_empty, help="Ledger [a file of its own]."),
    ] = None,
    domain_suffix: Annotated[
        str | None, typer.Option(metavar="DOMAIN", callback=not_empty, help="End of host names [satusky.com].")
    ] = None,
    gateway: Annotated[
        str | None,
        typer.Option(
            metavar="NS/NAME", callback=not_empty, help="Gateway for routes [gateway-system/satusky-gateway]."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a profile of that name, all of it.")] = False,
) -> None:
    """Add a profile for a real cluster.

    Example:  1ctl profile create prod --context my-cluster --namespace shop
    """
    from cli.home import expanded  # noqa: PLC0415
    from cli.profiles import Profile, lasting_address  # noqa: PLC0415
    from cli.session import Session  # noqa: PLC0415

    session = Session()
    ledger = ledger or INVOCATION.ledger  # it may stand before the command, as for every other one
    existed = name in session.profiles.all
    session.profiles.create(
        name,
        Profile(
            context=context,
            namespace=namespace,
            kubeconfig=str(expanded(kubeconfig).absolute()) if kubeconfig else None,
            cluster=cluster,
            ledger=lasting_address(ledger) if ledger else None,
            domain_suffix=domain_suffix,
            gateway=gateway,
        ),
        replace=force,
    )
    session.terminal.success(f"Profile {name} {'replaced' if existed else 'created'}")
    session.terminal.notice(f"Use it by default: 1ctl profile use {name}   For one run: 1ctl -p {name} ...")
    _document(session, name)


def use(name: KnownNameArgument) -> None:
    """Make a profile the default.

    The name `sandbox` goes back to the simulated cluster on this machine.

    Example:  1ctl profile use prod
    """
    from cli.profiles import SANDBOX  # noqa: PLC0415
    from cli.session import Session  # noqa: PLC0415

    session = Session()
    session.profiles.use(None if name == SANDBOX else name)
    session.terminal.success(f"Using {name}")
    if before := _variables_before():
        session.terminal.notice(f"The environment comes first ({before}). See where commands act: 1ctl profile current")
    _document(session, name)


def current() -> None:
    """Show where commands act now.

    Example:  1ctl profile current
    """
    from cli.profiles import shown_address  # noqa: PLC0415
    from cli.session import Session  # noqa: PLC0415

    session = Session()
    place = session.place
    if session.terminal.json:
        document = place._asdict()
        paths = {
            "ledger": shown_address(place.ledger) or "",
            "kubeconfig": str(place.kubeconfig) if place.kubeconfig else None,
        }
        session.terminal.document({**document, **paths})
        return
    session.terminal.fields(
        place.profile
        or f"No profile: the {'sandbox on this machine' if place.is_sandbox else 'environment names the cluster'}",
        {
            "Cluster": place.cluster,
            "Context": place.context or "none",
            "Namespace": place.namespace,
            "Ledger": shown_address(place.ledger) or "",
            "Domain suffix": place.domain_suffix,
            "Gateway": place.gateway,
        },
    )


def list_profiles() -> None:
    """List profiles by name.

    Example:  1ctl profile list
    """
    from cli.profiles import shown_address  # noqa: PLC0415
    from cli.session import Session  # noqa: PLC0415

    session = Session()
    profiles = session.profiles
    if session.terminal.json:
        session.terminal.document(
            [
                {
                    "name": name,
                    **each._asdict(),
                    "ledger": shown_address(each.ledger),
                    "current": name == profiles.current,
                }
                for name, each in sorted(profiles.all.items())
            ]
        )
        return
    if not profiles.all:
        before = _variables_before()
        used = f"what the environment names ({before})" if before else "the sandbox on this machine"
        session.terminal.info(f"No profiles found: commands use {used}")
        return
    session.terminal.table(
        ["NAME", "CONTEXT", "NAMESPACE", "CURRENT"],
        [
            [name, each.context or "-", each.namespace or "-", "yes" if name == profiles.current else ""]
            for name, each in sorted(profiles.all.items())
        ],
    )


def delete(name: KnownNameArgument) -> None:
    """Remove a profile. Its ledger stays where it is.

    Example:  1ctl profile delete prod
    """
    from cli.session import Session  # noqa: PLC0415

    session = Session()
    was_default = session.profiles.current == name
    session.profiles.delete(name)
    session.terminal.success(f"Profile {name} deleted")
    if was_default:
        session.terminal.notice("It was the default. Without one, commands use the sandbox: 1ctl profile use NAME")
    _document(session, name)


def _variables_before() -> str:
    """The variables of the environment that come before the default profile, separated by commas; empty if none is set."""
    names = ("ONECTL_PROFILE", "ONECTL_CONTEXT", "ONECTL_CLUSTER", "ONECTL_IN_CLUSTER")
    return ", ".join(name for name in names if environ.get(name))


def _document(session: Session, name: str) -> None:
    if session.terminal.json:
        session.terminal.document({"name": name})
