"""A life's secret values, opened when the first object needs one."""

from __future__ import annotations

from collections.abc import Mapping

from effects.desired import DesiredObject
from ledger.app import Life
from ledger.secret_reader import SecretReader


class LazyValues:
    """The life's secret values, opened when the first object needs one: most reconciles need none."""

    def __init__(self, ledger: SecretReader, life: Life) -> None:
        self._ledger = ledger
        self._life = life
        self.opened: dict[str, tuple[int, bytes]] = {}

    def of(self, entry: DesiredObject) -> Mapping[str, bytes]:
        """The values of a Secret by their original names."""
        secrets = dict(entry.secrets.values())
        values = self._ledger.open_secrets(self._life, secrets)
        for name, secret in secrets.items():
            if self.opened.get(name, (0, b""))[0] < secret.version:
                self.opened[name] = (secret.version, values[name])
        return values
