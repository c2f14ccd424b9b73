"""What a user may write: each function returns the value to record, or says why it is not acceptable.

Pure and total: no I/O, no clock, no lookups. A value that passes here will not be refused by the API server for its
form; whether the image exists or the machine is there is for the cluster to say. The rules follow RFC 1035 and
RFC 1123 (names), the Kubernetes API conventions (quantities, sizes) and the OCI distribution spec (images).

Values of secrets never reach an error: not in its message, its attributes or its context.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ledger.errors import InvalidValueError

MAX_OBJECT_BYTES = 1_048_576
"""What Kubernetes lets one ConfigMap or Secret hold: 1 MiB."""

MAX_REPLICAS = 10_000
MAX_CPU_CORES = 1_024
MAX_MEMORY_GI = 16_384
MAX_DURATION_SECONDS = 365 * 24 * 3600.0

# Patterns are strings: `re` compiles one on first use and keeps it, so a command pays only for what it checks.
# They are always matched whole; `$` would let a trailing newline through.
_DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_DNS_SUBDOMAIN = rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*"
_ENV_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,252}"
_ENV_NAME_RULE = "letters, digits and _, not starting with a digit, at most 253 characters"
_NOT_SHOWN = "(what was given is not shown)"
_NO_SECRET = f"must have a value after its NAME= {_NOT_SHOWN}"
_NAME_APART = "A value that has no name before it is given with one: --key JWT_SECRET"

_IMAGE_EXAMPLE = "ghcr.io/acme/user-service:1.4.2"
_IMAGE_HOST_LABEL = r"[A-Za-z0-9](?:[-A-Za-z0-9]*[A-Za-z0-9])?"
_IMAGE_REGISTRY = rf"(?:{_IMAGE_HOST_LABEL}(?:\.{_IMAGE_HOST_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?"
_IMAGE_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_IMAGE_DIGEST = r"sha256:[0-9a-f]{64}"

# Besides control characters: line separators, which break a table, and the marks that reorder text, with which a
# recorded reason could read as something else than it says.
_UNSAFE_IN_LINE = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
_SURROGATE = r"[\ud800-\udfff]"


# What runs


def app_name(text: str) -> str:
    """Returns the name of an app: a DNS-1035 label of at most 63 characters.

    It names the Service and is the value of the label ``app``, and 63 is the limit of both (RFC 1035, Kubernetes
    object names). What is derived from it (``<app>-environments``, ``<app>-secrets`` and their copies) has 253.

    Raises:
        InvalidValueError: It is not such a label. The example is the nearest name that is.
    """
    if not text:
        reason = "must not be empty"
    elif len(text) > 63:
        reason = f"must be at most 63 characters, not {len(text)}"
    elif re.fullmatch(r"[0-9].*", text):
        reason = "must start with a letter: Kubernetes takes no Service whose name starts with a digit"
    elif not re.fullmatch(r"[a-z](?:[-a-z0-9]*[a-z0-9])?", text):
        reason = "must be lower-case letters, digits and -, starting with a letter and not ending in -"
    else:
        return text
    raise _refusal("name", text, reason, example=_nearest_app_name(text))


def image(text: str) -> str:
    """Returns an image reference, ``[registry[:port]/]path[:tag][@sha256:...]``, as given.

    The grammar is that of the OCI distribution spec. The first component is a registry if it has a dot or a port,
    as container runtimes read it (and ``localhost``, which is as good as the first part of a path).

    Raises:
        InvalidValueError: It is not such a reference.
    """
    fault = _image_fault(text)
    if fault is None:
        return text
    bare = text.strip().rpartition("://")[2]
    raise _refusal("image", text, fault, example=_IMAGE_EXAMPLE if _image_fault(bare) else bare)


def machine(text: str) -> str:
    """Returns the name of a node: a DNS-1123 subdomain.

    Raises:
        InvalidValueError: No node can have this name.
    """
    return _subdomain("machine", text, example="compute-main-01")


def machines(names: Iterable[str]) -> tuple[str, ...]:
    """Returns node names in the order given, each once.

    Raises:
        InvalidValueError: No node can have one of these names.
    """
    return tuple(dict.fromkeys(machine(name) for name in names))


def port(number: object) -> int:
    """Returns a TCP port, 1 to 65535.

    Raises:
        InvalidValueError: It is not a whole number in that range; a truth value is not a number.
    """
    return _whole("port", number, least=1, most=65_535, example="8080")


def replicas(number: object) -> int:
    """Returns a number of pods, 0 to 10,000. Kubernetes sets no upper limit; more is taken for a typing error.

    Raises:
        InvalidValueError: It is not a whole number in that range; a truth value is not a number.
    """
    return _whole("replicas", number, least=0, most=MAX_REPLICAS, example="2")


def cpu(text: str) -> str:
    """Returns a CPU quantity (``2``, ``0.25`` or ``250m``) as given, without the space around it.

    From 10m, the least that the kernel's quota can express (1 ms in 100 ms), to 1024 cores, in steps of 1m.

    Raises:
        InvalidValueError: It is not such a quantity.
    """
    quantity = text.strip()
    millicores = _millicores(quantity)
    if millicores is None:
        reason = "must be a number of cores, with at most three decimals, or of millicores, ending in m"
    elif millicores < 10:
        reason = "must be at least 10m (0.01 of a core)"
    elif millicores > MAX_CPU_CORES * 1000:
        reason = f"must be at most {MAX_CPU_CORES} cores"
    else:
        return quantity
    raise _refusal("cpu", text, reason, example="0.25")


def memory(text: str) -> str:
    """Returns a memory quantity (``128Mi`` or ``2Gi``) as given, without the space around it.

    Other units of Kubernetes are refused because they are mistaken for these: a bare number means bytes, ``m`` means
    thousandths of a byte, and either gets the pods killed.

    Raises:
        InvalidValueError: It is not a whole number above 0 of ``Mi`` or ``Gi``, or is more than 16384Gi.
    """
    quantity = text.strip()
    example = "128Mi"
    if re.fullmatch(r"[0-9]{1,9}", quantity):
        reason = "must end in Mi or Gi: Kubernetes would read a bare number as bytes"
        example = f"{int(quantity)}Mi" if 0 < int(quantity) <= MAX_MEMORY_GI * 1024 else example
    elif not re.fullmatch(r"[0-9]{1,9}(?:Mi|Gi)", quantity):
        reason = "must be a whole number followed by Mi or Gi"
    elif int(quantity[:-2]) == 0:
        reason = "must be more than 0"
    elif int(quantity[:-2]) > MAX_MEMORY_GI * (1024 if quantity.endswith("Mi") else 1):
        reason = f"must be at most {MAX_MEMORY_GI}Gi"
    else:
        return quantity
    raise _refusal("memory", text, reason, example=example)


def health_path(text: str) -> str:
    """Returns the path of an HTTP probe: printable ASCII from ``/`` on, at most 1024 characters.

    Raises:
        InvalidValueError: It is not such a path, for instance because it is a whole URL.
    """
    if "://" in text:
        reason = "must be a path, not a URL"
    elif not text.startswith("/"):
        reason = "must start with /"
    elif len(text) > 1024:
        reason = f"must be at most 1024 characters, not {len(text)}"
    elif not re.fullmatch(r"[!-~]+", text):
        reason = "must be printable ASCII without spaces"
    else:
        return text
    raise _refusal("health_path", text, reason, example="/healthz")


def image_pull_secret(text: str) -> str:
    """Returns the name of a Secret: a DNS-1123 subdomain.

    Raises:
        InvalidValueError: No Secret can have this name.
    """
    return _subdomain("image_pull_secret", text, example="registry-login")


# Where it runs and how it is reached


def namespace(text: str) -> str:
    """Returns the name of a namespace: a DNS-1123 label of at most 63 characters.

    Raises:
        InvalidValueError: No namespace can have this name.
    """
    if len(text) <= 63 and re.fullmatch(_DNS_LABEL, text):
        return text
    reason = "must be 1 to 63 lower-case letters, digits and -, starting and ending with a letter or digit"
    raise _refusal("namespace", text, reason, example="team-a")


def domain(text: str) -> str:
    """Returns a host name (RFC 1123) as a route of the Gateway API takes it: lower-case, no wildcard, no address.

    Raises:
        InvalidValueError: It is not such a host name, for instance because it is a whole URL.
    """
    return _host_name("domain", text, most=253, example="excitedowl-twzwpdg.satusky.com")


def domain_suffix(text: str) -> str:
    """Returns the domain under which apps get their host names, without a leading dot.

    At most 189 characters, so that a label of any length and its dot still fit in a host name of 253.

    Raises:
        InvalidValueError: It is not such a domain.
    """
    return _host_name("domain_suffix", text, most=189, example="satusky.com")


# What it is given to read


def secret_name(text: str) -> str:
    """Returns the name of a secret, which reaches a pod as an environment variable: see `env_name`.

    Raises:
        InvalidValueError: As there.
    """
    return env_name(text, what="secret name", example="JWT_SECRET")


def env_name(text: str, *, what: str = "env name", example: str = "LOG_LEVEL") -> str:
    """Returns the name of an environment variable or secret: a C identifier of at most 253 characters.

    Kubernetes takes more (dots, dashes, in newer versions nearly all of ASCII), but no shell can read such a variable,
    and ``A-B`` would have the `object_key` of ``A_B``. 253 is what Kubernetes allows that key.

    Raises:
        InvalidValueError: It is not such a name. The error does not hold one with an ``=``, which may be followed by a
            secret.
    """
    if _is_env_name(text):
        return text
    if "=" in text:
        reason = f"must be a name alone, without =VALUE {_NOT_SHOWN}"
        raise _refusal(what, None, reason, example=example, hint=f"Example: {example}")
    raise _refusal(what, text, f"must be {_ENV_NAME_RULE}", example=example, hint=f"Example: {example}")


def env_value(text: str, *, field: str = "env value") -> str:
    """Returns the value of an environment variable or secret: any text that UTF-8 can hold, without NUL.

    Raises:
        InvalidValueError: No process can be given this value. The error does not hold it.
    """
    fault = _env_value_fault(text)
    if fault is None:
        return text
    raise _refusal(field, None, fault, example="info", hint="Give the value as UTF-8 text.")


def env_pair(text: str, *, secret: bool) -> tuple[str, str]:
    """Returns name and value of ``NAME=VALUE``, split at the first ``=``.

    Args:
        text: The pair as given.
        secret: Keep everything given out of the errors. Also the name: in ``postgres://user:pw@host/db?ssl=on``,
            given without its name, what stands before the ``=`` is the secret. A value is needed, see `env_file`.

    Raises:
        InvalidValueError: There is no ``=``, or name or value is not acceptable.
    """
    name, equals, value = text.partition("=")
    if secret and not (equals and _is_env_name(name)):
        reason = f"must be NAME=VALUE, where NAME is {_ENV_NAME_RULE} {_NOT_SHOWN}"
        raise _refusal("secret", None, reason, example="JWT_SECRET=...", hint="Example: JWT_SECRET=...")
    if secret and _lacks_value(value):
        raise _refusal("secret", None, _NO_SECRET, example="JWT_SECRET=...", hint=_NAME_APART)
    if not equals:
        hint = "Example: --env LOG_LEVEL=debug"
        raise _refusal("env", text, "must be NAME=VALUE", example="LOG_LEVEL=debug", hint=hint)
    if not secret and not _is_env_name(name):
        hint = "Example: --env LOG_LEVEL=debug"
        raise _refusal("env name", name, f"must be {_ENV_NAME_RULE}", example="LOG_LEVEL", hint=hint)
    return env_name(name), env_value(value, field=f"value of {name}")


def env_file(text: str, path_label: str, *, secret: bool = False) -> dict[str, str]:
    r"""Returns the pairs of a dotenv file, in its order.

    A line is empty, a ``#`` comment, or ``NAME=VALUE`` after an optional ``export``. A value in single quotes is taken
    literally; in double quotes ``\n``, ``\r``, ``\t``, ``\"`` and ``\\`` stand for what they do in C; without
    quotes it ends before a ``#`` that follows a space. ``$NAME`` is not replaced.

    Not python-dotenv: it skips a line that it cannot read, with a warning, lets the last of two equal names win and
    replaces variables; each of these would deploy something other than the file says.

    Args:
        text: The content of the file.
        path_label: What errors call the file.
        secret: Refuse a line without a value. ``uJcb0vQwEr4=`` alone, as `openssl rand -base64` prints it, is not an empty
            value: its name would be the secret, and names are kept in plain text.

    Raises:
        InvalidValueError: A line is none of these, or a name occurs twice. It names the line, never what is in it.
    """
    pairs: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        content = line.strip(" \t\r")
        if not content or content.startswith("#"):
            continue
        where = f"{path_label}:{number}"
        name, value = _env_line(content, where)
        if secret and _lacks_value(value):
            raise _refusal(where, None, _NO_SECRET, example="JWT_SECRET=...", hint=_NAME_APART)
        if name in pairs:
            raise _line_refusal(where, f"must not give {name} again: it is given in line {lines[name]}")
        pairs[name] = value
        lines[name] = number
    return pairs


def object_key(name: str) -> str:
    """Returns the key of a variable in its ConfigMap or Secret: ``JWT_SECRET`` becomes ``jwt-secret``.

    The container still reads it under its own name. Two names may have the same key: see `check_keys`.
    """
    return name.lower().replace("_", "-")


def colliding_keys(names: Iterable[str]) -> tuple[str, str] | None:
    """Returns the first two different names with the same `object_key`, in the order given, or None."""
    first_with: dict[str, str] = {}
    for name in names:
        other = first_with.setdefault(object_key(name), name)
        if other != name:
            return other, name
    return None


def check_keys(field: str, names: Iterable[str]) -> None:
    """Makes sure that no two names would overwrite each other in their ConfigMap or Secret.

    Raises:
        InvalidValueError: Two different names have the same `object_key`.
    """
    pair = colliding_keys(names)
    if pair is None:
        return
    reason = f"must not hold both {pair[0]} and {pair[1]}: each would be stored under the key {object_key(pair[0])}"
    raise _refusal(field, None, reason, example=pair[0], hint=f"Rename or unset {pair[0]} or {pair[1]}.")


def check_size(field: str, entries: Mapping[str, str | int]) -> None:
    """Makes sure that one ConfigMap or Secret can hold these entries: 1 MiB of keys and values.

    Kubernetes counts the values only. The keys are counted here too, because they travel with them.

    Args:
        field: What the entries are, for the error.
        entries: By name, the value, or its size in bytes where it is sealed.

    Raises:
        InvalidValueError: They are too big. It says how big, and which entry is the biggest.
    """
    sizes = {name: len(name.encode()) + _size(value) for name, value in entries.items()}
    total = sum(sizes.values())
    if total <= MAX_OBJECT_BYTES:
        return
    biggest = max(sizes, key=sizes.__getitem__)
    reason = f"must be at most {MAX_OBJECT_BYTES:,} bytes in all (1 MiB, the limit of Kubernetes), not {total:,}"
    hint = f"The biggest is {biggest} with {sizes[biggest]:,} bytes. Large content belongs in the image or a volume."
    raise _refusal(field, None, reason, example=biggest, hint=hint)


# The request itself


def request_id(text: str) -> str:
    """Returns a request id: 1 to 128 printable ASCII characters without spaces.

    Raises:
        InvalidValueError: It is not such an id.
    """
    if re.fullmatch(r"[!-~]{1,128}", text):
        return text
    reason = "must be 1 to 128 printable ASCII characters without spaces"
    raise _refusal("request id", text, reason, example="ci-4711-deploy")


def actor(text: str) -> str:
    """Returns the name of whoever asks: one line of at most 256 characters, as given.

    Names that begin with ``1ctl/`` are kept for what is observed: see `Request`.

    Raises:
        InvalidValueError: It is not such a name, or is one of those.
    """
    if not text.strip():
        fault = "must not be empty"
    elif len(text) > 256:
        fault = f"must be at most 256 characters, not {len(text)}"
    elif re.search(_UNSAFE_IN_LINE, text) or re.search(_SURROGATE, text):
        fault = "must be one line of text without control characters"
    elif text.startswith("1ctl/"):
        fault = "must not begin with 1ctl/, which stands for what 1ctl itself observed"
    else:
        return text
    raise _refusal("actor", text, fault, example="ana", hint="Name who asks: ONECTL_ACTOR=ana")


def reason(text: str) -> str:
    """Returns why something was done, in one line of at most 1000 characters, without the space around it.

    Raises:
        InvalidValueError: It is empty, longer, or has characters that would break or disguise a line of history.
    """
    line = text.strip(" ")
    if not line:
        fault = "must not be empty"
    elif len(line) > 1000:
        fault = f"must be at most 1000 characters, not {len(line)}"
    elif "\n" in line or "\r" in line:
        fault = "must be one line"
    elif re.search(_UNSAFE_IN_LINE, line) or re.search(_SURROGATE, line):
        fault = "must not have control characters"
    else:
        return line
    raise _refusal("reason", text, fault, example="rolls back the login bug")


def duration(text: str, *, of: str = "duration") -> float:
    """Returns seconds: of ``90`` or ``30s``, ``5m``, ``1h`` or any of these in that order, as in ``1h30m``.

    Seconds may have decimals. More than 0, at most a year.

    Args:
        text: As typed.
        of: What it is the length of, for the error.

    Raises:
        InvalidValueError: It is not such a duration.
    """
    given = text.strip()
    number = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
    # A bare number is seconds on its own only: 1m30 is more likely a 1m30s cut short than meant.
    in_units = f"{given}s" if re.fullmatch(number, given) else given
    found = re.fullmatch(rf"(?:([0-9]{{1,9}})h)?(?:([0-9]{{1,9}})m)?(?:({number})s)?", in_units)
    if found is None:
        raise _refusal(of, text, "must be seconds, or hours, minutes and seconds", example="1m30s")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if not 0 < total <= MAX_DURATION_SECONDS:
        raise _refusal(of, text, "must be more than 0 and at most a year (8760h)", example="1m30s")
    return total


# Shared rules


def _refusal(field: str, value: object, reason: str, *, example: str, hint: str | None = None) -> InvalidValueError:
    """Returns the error, with a long value cut short and the hint replaced where "field = example" says nothing."""
    shown = f"{value[:77]}..." if isinstance(value, str) and len(value) > 80 else value
    error = InvalidValueError(field, shown, reason, example=example)
    error.hint = hint or error.hint
    return error


def _line_refusal(where: str, reason: str) -> InvalidValueError:
    return _refusal(where, None, reason, example="LOG_LEVEL=info", hint='Example: GREETING="hello world"  # comment')


def _nearest_app_name(text: str) -> str:
    kept = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    named = kept if kept[:1].isalpha() else f"app-{kept}"
    return named[:63].strip("-") if kept else "user-service"


def _image_fault(text: str) -> str | None:
    """Returns what is wrong with an image reference, the first thing that a reader would notice, or None."""
    name, at, digest = text.partition("@")
    registry, path, tag = _image_parts(name)
    components = path.split("/")
    faults = (
        (not text, "must not be empty"),
        (re.search(r"\s", text), "must not have spaces"),
        ("://" in text, "must not have a scheme: an image is not a URL"),
        (len(text) > 512, f"must be at most 512 characters, not {len(text)}"),
        (at and not re.fullmatch(_IMAGE_DIGEST, digest), "must have sha256: and 64 hexadecimal digits after its @"),
        (
            tag is not None and not re.fullmatch(_IMAGE_TAG, tag),
            "must have a tag of 1 to 128 letters, digits, _ . or -",
        ),
        (registry is not None and not _is_registry(registry), "must start with a registry's host name and port"),
        (path != path.lower(), "must be lower-case up to its tag"),
        (len(path) > 255, "must have a path of at most 255 characters"),
        (
            not all(re.fullmatch(_IMAGE_COMPONENT, component) for component in components),
            "must be an image reference: [registry/]path[:tag][@sha256:digest]",
        ),
    )
    return next((reason for found, reason in faults if found), None)


def _image_parts(name: str) -> tuple[str | None, str, str | None]:
    """Returns registry, path and tag; no registry or tag is None, unlike an empty one."""
    directory, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    first, _, rest = f"{directory}{slash}{last}".partition("/")
    has_registry = bool(slash) and ("." in first or ":" in first)
    registry, path = (first, rest) if has_registry else (None, f"{directory}{slash}{last}")
    return registry, path, tag if colon else None


def _is_registry(text: str) -> bool:
    if not re.fullmatch(_IMAGE_REGISTRY, text):
        return False
    number = re.search(r":([0-9]+)$", text.rpartition("]")[2])
    return number is None or 1 <= int(number[1]) <= 65_535


def _subdomain(field: str, text: str, *, example: str) -> str:
    if len(text) <= 253 and re.fullmatch(_DNS_SUBDOMAIN, text):
        return text
    reason = (
        "must be 1 to 253 lower-case letters, digits, - and ., each part starting and ending with a letter or digit"
    )
    raise _refusal(field, text, reason, example=example)


def _host_name(field: str, text: str, *, most: int, example: str) -> str:
    labels = text.split(".")
    if "://" in text or "/" in text:
        reason = "must be a host name, not a URL"
    elif "*" in text:
        reason = "must not have a wildcard"
    elif len(text) > most:
        reason = f"must be at most {most} characters, not {len(text)}"
    elif not all(len(label) <= 63 and re.fullmatch(_DNS_LABEL, label) for label in labels):
        reason = "must be lower-case letters, digits and - in parts of 1 to 63 characters with a dot between them"
    elif labels[-1].isdigit():
        reason = "must be a host name, not an address"
    else:
        return text
    raise _refusal(field, text, reason, example=example)


def _whole(field: str, number: object, *, least: int, most: int, example: str) -> int:
    if isinstance(number, int) and not isinstance(number, bool) and least <= number <= most:
        return number
    # Python refuses to write out numbers of thousands of digits.
    shown = None if isinstance(number, int) and number.bit_length() > 64 else number
    raise _refusal(field, shown, f"must be a whole number from {least} to {most}", example=example)


def _millicores(quantity: str) -> int | None:
    found = re.fullmatch(r"([0-9]{1,9})(?:m|(?:\.([0-9]{1,9}))?)", quantity)
    if found is None:
        return None
    if quantity.endswith("m"):
        return int(found[1])
    decimals = (found[2] or "").rstrip("0")
    # Integers: 0.29 * 1000 is 290.0 only by luck of rounding.
    return int(found[1]) * 1000 + int(decimals.ljust(3, "0")) if len(decimals) <= 3 else None


def _size(value: str | int) -> int:
    return value if isinstance(value, int) else len(value.encode(errors="surrogatepass"))


def _is_env_name(text: str) -> bool:
    return re.fullmatch(_ENV_NAME, text) is not None


def _lacks_value(text: str) -> bool:
    """Whether nothing but the padding of base64 stands where a value should."""
    return not text.strip("=")


def _env_value_fault(text: str) -> str | None:
    if "\0" in text:
        return "must not have a NUL character"
    # Searched for rather than encoded: an encoding error would carry the value along as the context of ours.
    return "must be valid UTF-8" if re.search(_SURROGATE, text) else None


def _env_line(content: str, where: str) -> tuple[str, str]:
    left, equals, right = content.partition("=")
    name = re.sub(r"^export[ \t]+", "", left.strip(" \t"))
    if not equals or not _is_env_name(name):
        raise _line_refusal(where, f"must be empty, a # comment or NAME=VALUE, where NAME is {_ENV_NAME_RULE}")
    value = _env_text(right, where)
    fault = _env_value_fault(value)
    if fault is not None:
        raise _line_refusal(where, fault)
    return name, value


def _env_text(right: str, where: str) -> str:
    """Returns the value that stands right of an equals sign."""
    raw = right.strip(" \t")
    if not raw.startswith(('"', "'")):
        return re.split(r"[ \t]#", right, maxsplit=1)[0].strip(" \t")
    body = r'"((?:[^"\\]|\\.)*)"' if raw[0] == '"' else r"'([^']*)'"
    found = re.fullmatch(rf"{body}(?:[ \t]+#.*)?", raw)
    if found is None:
        raise _line_refusal(where, "must close its quote at the end of the same line")
    return found[1] if raw[0] == "'" else _unescaped(found[1])


def _unescaped(text: str) -> str:
    meanings = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
    return re.sub(r"\\(.)", lambda found: meanings.get(found[1], found[0]), text)
