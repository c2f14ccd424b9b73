"""What chance and cryptography must make before a command is decided: ids, host names, keys, sealed values."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

from ledger import sealing, values
from ledger.candidates import candidates, ended_life
from ledger.commands import Command, Deploy, Destroy, PurgeSecret, Restore, Rollback, SetSecrets
from ledger.decide import Minted
from ledger.spec import SecretVersion
from ledger.store import NOTHING_BESIDE, Beside, LifeKeyRow, LifeRow, SealedRow
from ledger.streams import LEDGER_STREAM, domain_stream

if TYPE_CHECKING:
    from ledger.app import App, Life
    from ledger.reader import LedgerReader
    from ledger.spec import AppId

MakeBeside: TypeAlias = Callable[[str, int], Beside]
"""Makes the rows beside a decision's events, once it was taken.

From the effects identity (public key, base64) and the version of the ledger's own stream that names it.
"""

_UNMINTED = "00000000-0000-0000-0000-000000000000"
"""Deployment id of a life that is only imagined."""


def mint(
    reader: LedgerReader,
    app: App,
    command: Command,
    secret_values: Mapping[str, bytes],
    *,
    mint_domain: Callable[[], str],
) -> tuple[Minted, MakeBeside]:
    """What the decision needs minted, and what makes the rows beside its events once it was taken.

    Args:
        reader: The ledger.
        app: The app as it is.
        command: What is to be decided.
        secret_values: The values of the secrets that the command sets, by key.
        mint_domain: Makes a new random host name; called again for one that was ever given out.

    Raises:
        RefusedError: The secrets are too large, or what the command names is not there.
    """
    life = app.life
    _check_secret_size(reader, app, command, secret_values)
    if isinstance(command, Deploy) and life is None:
        return _mint_life(reader, app.id, secret_values, mint_domain)
    if (
        isinstance(command, Restore) and life is not None
    ):  # is refused, with what could be restored once it is destroyed
        return Minted(ended=ended_life(reader, app, command.deployment_id)), lambda *_: NOTHING_BESIDE
    if isinstance(command, Restore):
        minted, beside = _mint_life(reader, app.id, secret_values, mint_domain)
        return replace(minted, ended=ended_life(reader, app, command.deployment_id)), beside
    if life is not None and isinstance(command, Deploy | SetSecrets) and secret_values:
        assert life.life_key is not None
        sealed, rows = _seal(life.deployment_id, life.life_key, life.secret_versions, secret_values)
        return Minted(sealed=sealed), lambda *_: Beside(sealed=rows)
    if isinstance(command, Destroy) and life is not None:
        return Minted(), lambda *_: Beside(shred=life.deployment_id)
    if isinstance(command, PurgeSecret) and life is not None:
        return Minted(), lambda *_: Beside(purge=(life.deployment_id, command.key))
    if isinstance(command, Rollback) and life is not None:
        return Minted(releases=candidates(reader, app, command.version, only=command.only)), lambda *_: NOTHING_BESIDE
    return Minted(), lambda *_: NOTHING_BESIDE


def imagine(reader: LedgerReader, app: App, command: Command, secret_values: Mapping[str, bytes]) -> Minted:
    """Placeholders for what `mint` would make; of the values, only the sizes are looked at.

    Raises:
        RefusedError: The secrets are too large, or what the command names is not there.
    """
    _check_secret_size(reader, app, command, secret_values)
    minted = Minted(deployment_id=_UNMINTED, domain="(random)", life_key="(new key)")
    if keys := _secret_keys(command):
        versions = app.life.secret_versions if app.life is not None else {}
        sealed = {key: SecretVersion(versions.get(key, 0) + 1, f"(sealed {key})") for key in keys}
        minted = replace(minted, sealed=sealed)
    if isinstance(command, Restore):
        minted = replace(minted, ended=ended_life(reader, app, command.deployment_id))
    if isinstance(command, Rollback) and app.life is not None:
        minted = replace(minted, releases=candidates(reader, app, command.version, only=command.only))
    return minted


def _mint_life(
    reader: LedgerReader, app_id: AppId, secret_values: Mapping[str, bytes], mint_domain: Callable[[], str]
) -> tuple[Minted, MakeBeside]:
    deployment_id = str(uuid.uuid4())
    private, public = sealing.generate()
    sealed, rows = _seal(deployment_id, public, {}, secret_values)
    minted = Minted(
        deployment_id=deployment_id, domain=_free_domain(reader, mint_domain), life_key=public, sealed=sealed
    )
    life = LifeRow(deployment_id, app_id.cluster, app_id.namespace, app_id.name, 0)

    def beside(identity: str, version: int) -> Beside:
        wrapped = sealing.wrap(private, deployment_id, identity)
        return Beside(
            life=life,
            life_key=LifeKeyRow(deployment_id, identity, wrapped),
            sealed=rows,
            # If it is wrapped for an identity that was replaced meanwhile, maybe nobody can open it any more.
            unchanged=(LEDGER_STREAM.bytes, version),
        )

    return minted, beside


def _free_domain(reader: LedgerReader, mint_domain: Callable[[], str]) -> str:
    while True:
        domain = mint_domain()
        version = reader.store.stream_version(domain_stream(domain).bytes)
        if version == 0:  # a name is never given out twice: old links must not lead to something else
            return domain


def _check_secret_size(reader: LedgerReader, app: App, command: Command, secret_values: Mapping[str, bytes]) -> None:
    """Makes sure that one Secret can hold what is given beside what the app has; other commands seal nothing."""
    seals = (Deploy, Restore) if app.life is None else (Deploy, SetSecrets)
    if secret_values and isinstance(command, seals):
        held = _held(reader, app.life) if app.life is not None else {}
        values.check_size("secrets", {**held, **{key: len(value) for key, value in secret_values.items()}})


def _held(reader: LedgerReader, life: Life) -> Mapping[str, int]:
    """By key, the size of the value that a life has; of a value that was deleted it is not known."""
    stored = reader.store.sealed_sizes(life.deployment_id) if life.secrets else {}
    return {
        key: stored[key, secret.version] - sealing.OVERHEAD
        for key, secret in life.secrets.items()
        if (key, secret.version) in stored
    }


def _secret_keys(command: Command) -> Sequence[str]:
    """The secrets that a command sets."""
    match command:
        case SetSecrets():
            return command.keys
        case Deploy() | Restore():
            return command.secret_keys
        case _:
            return ()


def _seal(
    deployment_id: str, life_key: str, versions: Mapping[str, int], secret_values: Mapping[str, bytes]
) -> tuple[dict[str, SecretVersion], list[SealedRow]]:
    """The values sealed to a life, each as its key's next version: what the event says, and what is stored."""
    sealed, rows = {}, []
    for key, value in secret_values.items():
        version = versions.get(key, 0) + 1
        ciphertext = sealing.seal_value(value, deployment_id, key, version, life_key)
        sealed[key] = SecretVersion(version, sha256(ciphertext).hexdigest())
        rows.append(SealedRow(deployment_id, key, version, ciphertext))
    return sealed, rows
