"""A life's secret values, opened when the first object needs one."""

from __future__ import annotations

from collections.abc import Mapping

from effects.desired import DesiredObject
from ledger.app import Life
from ledger.secret_reader import SecretReader
from ledger.spec import SecretVersion


class LazyValues:
    """The life's secret values, opened when the first object needs one: most reconciles need none.

    Attributes:
        opened: By original name, the newest one that was opened, and its value.
    """

    def __init__(self, ledger: SecretReader, life: Life) -> None:
        self._ledger = ledger
        self._life = life
        self.opened: dict[str, tuple[SecretVersion, bytes]] = {}

    def of(self, entry: DesiredObject) -> Mapping[str, bytes]:
        """The values of a Secret by their original names."""
        secrets = dict(entry.secrets.values())
        values = self._ledger.open_secrets(self._life, secrets)
        for name, secret in secrets.items():
            if name not in self.opened or self.opened[name][0].version < secret.version:
                self.opened[name] = (secret, values[name])
        return values
