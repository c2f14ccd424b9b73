"""What we put on every object beside its content, to know it again: labels, digest, position, owner. Pure.

A look returns them. So a missing mark is noticed without reading the object, even that of a Secret, and even though an
object that counts generations does not count changes of its metadata. Of a Secret, a look also returns the keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import orjson

from effects.cluster import DIGEST_ANNOTATION, POSITION_ANNOTATION, Seen
from effects.desired import DesiredObject
from ledger.events import FieldDrift


def lost_marks(entry: DesiredObject, seen: Seen, owner_uid: str | None) -> Iterator[FieldDrift]:
    """The marks, and keys of a Secret, that an object of ours does not have as we put them there, as they are recorded.

    Args:
        entry: The object as desired.
        seen: As it is.
        owner_uid: Uid of the object that owns it; None for that one itself.
    """
    labels: Mapping[str, str] = entry.manifest["metadata"]["labels"]
    for name, text in sorted(labels.items()):
        if seen.labels.get(name) != text:
            yield _drift(f"metadata.labels.{name}", text, seen.labels.get(name))
    for name in (DIGEST_ANNOTATION, POSITION_ANNOTATION):
        if name not in seen.annotations:
            yield _drift(f"metadata.annotations.{name}", "present", None)
    if owner_uid is not None and owner_uid not in seen.owners:
        yield _drift("metadata.ownerReferences", owner_uid, list(seen.owners) or None)
    if seen.secret_keys is not None:
        for key in sorted(entry.secrets.keys() - set(seen.secret_keys)):
            yield _drift(f"data.{key}", "present", None)


def _drift(field: str, wanted: object, found: object) -> FieldDrift:
    shown = None if found is None else orjson.dumps(found).decode()
    return FieldDrift(field=field, wanted=orjson.dumps(wanted).decode(), found=shown, manager=None)
