"""What a user may write, and what every refusal says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import values
from ledger.errors import InvalidValueError, RefusedError

DIGEST = "sha256:" + "0123456789abcdef" * 4
SECRET = "hunter2"

Check = Callable[[str], object]


def refusal(check: Callable[[], object]) -> InvalidValueError:
    with pytest.raises(InvalidValueError) as caught:
        check()
    return caught.value


def everything_in(error: BaseException) -> str:
    """The error and all that it drags along: arguments, attributes, causes and contexts."""
    parts = [str(error), repr(error), repr(vars(error))]
    parts += [everything_in(other) for other in (error.__cause__, error.__context__) if other is not None]
    return "\n".join(parts)


ACCEPTED: list[tuple[Check, str]] = [
    *((values.app_name, text) for text in ("a", "user-service", "a1", "x--y", "a" * 63)),
    *((values.cpu, text) for text in ("2", "0.25", "250m", "10m", "0.01", "1.5", "0.250000", "1024", "1024000m")),
    *((values.memory, text) for text in ("1Mi", "128Mi", "2Gi", "16384Gi", "16777216Mi")),
    *(
        (values.image, text)
        for text in (
            "nginx",
            "nginx:alpine",
            "broken-thing",
            "held",
            "nginx:does-not-exist",
            "ghcr.io/a/b:1",
            "ghcr.io/a/b",
            "library/nginx",
            "localhost/x",
            "localhost:5000/x",
            f"localhost:5000/x@{DIGEST}",
            f"registry.example:443/a_b/c__d/e.f/g--h:V1.0_x-y@{DIGEST}",
            "[::1]:5000/x:1",
            "[::1]/x",
            "REGISTRY.example/x",
            "nginx:" + "t" * 128,
        )
    ),
    *((values.machine, text) for text in ("compute-main-01", "1", "ip-10-0-0-1.eu.internal", "a" * 253)),
    *((values.health_path, text) for text in ("/", "/healthz", "/a/b?c=d&e=%20", "/" + "a" * 1023)),
    *((values.image_pull_secret, text) for text in ("registry-login", "a.b", "1")),
    *((values.namespace, text) for text in ("default", "org3-b322955e", "1", "a" * 63)),
    *((values.domain, text) for text in ("excitedowl-twzwpdg.satusky.com", "localhost", "1.example", "a" * 63 + ".b")),
    *((values.domain_suffix, text) for text in ("satusky.com", "test")),
    *((values.env_name, text) for text in ("A", "_", "_LEADING", "jwt_Secret9", "A" * 253)),
    *((values.env_value, text) for text in ("", "a=b", "line\nline", "naïve 🚀", " padded ")),
    *((values.request_id, text) for text in ("1", "!", "ci-4711", "0b9d0f0e-4f0c-7000-8000-000000000000", "~" * 128)),
    *((values.actor, text) for text in ("ana", "dependabot[bot]", "Ana Löst 🚀", "a" * 256, "1ctl")),
    *((values.reason, text) for text in ("x", "rolls back #12: löst 🚀", "r" * 1000)),
]

REFUSED: list[tuple[Check, str, str]] = [
    (values.app_name, "", "must not be empty"),
    (values.app_name, "a" * 64, "must be at most 63 characters, not 64"),
    (values.app_name, "2048", "must start with a letter"),
    *((values.app_name, text, "must be lower-case") for text in ("User", "a_b", "-a", "a-", "a.b", "a b", "a\n", "é")),
    *(
        (values.cpu, text, "must be a number of cores")
        for text in ("", "half", "-1", "+1", "1e3", "0.5m", ".5", "1.", "0.0005", "0.2501", "1 m", "250M", "٢", "1\n2")
    ),
    *((values.cpu, text, "must be at least 10m") for text in ("0", "0.0", "0m", "9m", "0.009")),
    *((values.cpu, text, "must be at most 1024 cores") for text in ("1025", "1024.001", "1024001m")),
    *((values.memory, text, "would read a bare number as bytes") for text in ("512", "0", "999999999")),
    *(
        (values.memory, text, "must be a whole number followed by Mi or Gi")
        for text in ("", "1.5Gi", "128M", "128MB", "128mi", "1Ti", "Mi", "-1Mi", "128 Mi", "128Mi\n1", "٢Mi")
    ),
    *((values.memory, text, "must be more than 0") for text in ("0Mi", "000Gi")),
    *((values.memory, text, "must be at most 16384Gi") for text in ("16385Gi", "16777217Mi")),
    (values.image, "", "must not be empty"),
    *((values.image, text, "must not have spaces") for text in (" nginx", "nginx ", "ng inx", "nginx\n", "a\u2003b")),
    (values.image, "https://ghcr.io/a/b:1", "must not have a scheme"),
    (values.image, "docker://nginx", "must not have a scheme"),
    (values.image, "a" * 513, "must be at most 512 characters, not 513"),
    (values.image, "a" * 256, "must have a path of at most 255 characters"),
    *((values.image, text, "must be lower-case") for text in ("Nginx", "MyOrg/app", "ghcr.io/Acme/app:1")),
    *(
        (values.image, text, "must have a tag")
        for text in ("nginx:", "nginx:-x", "nginx:.x", "nginx:a:b", "nginx:ä", "nginx:" + "t" * 129)
    ),
    *(
        (values.image, text, "must have sha256:")
        for text in ("nginx@", "nginx@sha256:abc", f"nginx@{DIGEST}0", f"nginx@{DIGEST.upper()}", f"x@{DIGEST}@y")
    ),
    *(
        (values.image, text, "must start with a registry")
        for text in ("a:b/c", "localhost:/x", "localhost:0/x", "localhost:65536/x", "-a.b/c", "./x")
    ),
    *(
        (values.image, text, "must be an image reference")
        for text in ("/nginx", "a//b", "a/", "a___b", "a..b", "-a", "a-", "ghcr.io/", ":tag", "a\x00b", "nginx!")
    ),
    *((values.machine, text, "must be 1 to 253") for text in ("", "A", "a_b", ".a", "a..b", "a.", "a\n", "a" * 254)),
    *((values.health_path, text, "must start with /") for text in ("", "healthz", " /healthz")),
    (values.health_path, "https://x/healthz", "must be a path, not a URL"),
    (values.health_path, "/a://b", "must be a path, not a URL"),
    *((values.health_path, text, "must be printable ASCII") for text in ("/a b", "/a\n", "/é", "/\x7f")),
    (values.health_path, "/" + "a" * 1024, "must be at most 1024 characters, not 1025"),
    *((values.image_pull_secret, text, "must be 1 to 253") for text in ("", "Registry", "a/b")),
    *((values.namespace, text, "must be 1 to 63") for text in ("", "a.b", "A", "a-", "a\n", "a" * 64)),
    *((values.domain, text, "not a URL") for text in ("https://a.example", "a.example/path")),
    (values.domain, "*.example.com", "must not have a wildcard"),
    *((values.domain, text, "must be a host name, not an address") for text in ("10.0.0.1", "127.1")),
    *(
        (values.domain, text, "in parts of 1 to 63")
        for text in ("", "a..b", ".a", "a.", "A.example", "a_b.c", "a" * 64 + ".b", "a.b\n", "a.b:80")
    ),
    (values.domain, ".".join(["a" * 63] * 4), "must be at most 253 characters, not 255"),
    (values.domain_suffix, ".satusky.com", "in parts of 1 to 63"),
    (values.domain_suffix, ".".join(["a" * 63] * 3), "must be at most 189 characters, not 191"),
    *(
        (values.env_name, text, "must be letters, digits and _")
        for text in ("", "1A", "A-B", "A.B", "A B", "A\n", "É", "A" * 254)
    ),
    (values.env_value, "a\0b", "must not have a NUL"),
    (values.env_value, "a\udcffb", "must be valid UTF-8"),
    *((values.request_id, text, "must be 1 to 128 printable") for text in ("", "a b", "a\n", "é", "x" * 129)),
    *((values.actor, text, "must not be empty") for text in ("", " ", "\n")),
    (values.actor, "a" * 257, "must be at most 256 characters, not 257"),
    *((values.actor, text, "must be one line of text") for text in ("a\nb", "a\x1b[2J", "a\u202eb", "\udcff")),
    *((values.actor, text, "must not begin with 1ctl/") for text in ("1ctl/", "1ctl/effects", "1ctl/worker")),
    *((values.reason, text, "must not be empty") for text in ("", "   ")),
    (values.reason, "r" * 1001, "must be at most 1000 characters, not 1001"),
    *((values.reason, text, "must be one line") for text in ("a\nb", "a\rb", "a\n")),
    *((values.reason, text, "must not have control characters") for text in ("a\x1b[2J", "a\u202eb", "\0", "\ud800")),
]


@pytest.mark.parametrize(("check", "text"), ACCEPTED)
def test_an_acceptable_value_is_returned_as_given(check: Check, text: str) -> None:
    assert check(text) == text


@pytest.mark.parametrize(("check", "text", "reason"), REFUSED)
def test_a_refused_value_says_what_it_must_be(check: Check, text: str, reason: str) -> None:
    error = refusal(lambda: check(text))
    assert reason in error.reason
    assert error.message.endswith(error.reason)
    assert isinstance(error, RefusedError)
    assert error.hint


@pytest.mark.parametrize(("check", "text", "reason"), REFUSED)
def test_the_example_of_a_refusal_is_itself_acceptable(check: Check, text: str, reason: str) -> None:
    check(refusal(lambda: check(text)).example)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("2048", "app-2048"),
        ("My_App", "my-app"),
        ("-a-", "a"),
        ("***", "user-service"),
        ("1" + "a" * 80, "app-1" + "a" * 58),
        ("a" * 62 + "-b", "a" * 62),
    ],
)
def test_a_refused_app_name_comes_with_the_nearest_good_one(text: str, nearest: str) -> None:
    error = refusal(lambda: values.app_name(text))
    assert error.hint == f"Example: name = {nearest}"


@given(st.text())
def test_an_app_is_named_as_asked_or_a_good_name_is_offered(text: str) -> None:
    try:
        name = values.app_name(text)
    except InvalidValueError as error:
        name = error.example
    assert values.app_name(name) == name


def test_an_image_given_as_a_url_comes_with_the_image_it_means() -> None:
    assert refusal(lambda: values.image("https://ghcr.io/a/b:1")).example == "ghcr.io/a/b:1"


def test_a_bare_number_of_memory_comes_with_its_unit() -> None:
    assert refusal(lambda: values.memory("512")).hint == "Example: memory = 512Mi"


@pytest.mark.parametrize(("check", "text"), [(values.cpu, "250m"), (values.memory, "128Mi")])
def test_space_around_a_quantity_is_dropped(check: Check, text: str) -> None:
    assert check(f" {text}\t") == text


def test_a_long_value_is_cut_short_in_the_message() -> None:
    error = refusal(lambda: values.request_id("x" * 5000))
    assert len(error.message) < 200


def test_a_control_character_never_reaches_the_terminal() -> None:
    assert "\x1b" not in refusal(lambda: values.machine("\x1b[2J")).message


@pytest.mark.parametrize(
    ("check", "least", "most"), [(values.port, 1, 65_535), (values.replicas, 0, values.MAX_REPLICAS)]
)
def test_a_number_is_acceptable_from_its_least_to_its_most(
    check: Callable[[object], int], least: int, most: int
) -> None:
    assert check(least) == least
    assert check(most) == most
    for outside in (least - 1, most + 1, -(10**30), 1 << 100_000):
        assert f"from {least} to {most}" in refusal(lambda n=outside: check(n)).reason  # type: ignore[misc]


@pytest.mark.parametrize("check", [values.port, values.replicas])
@pytest.mark.parametrize("value", [True, False, "80", 80.0, None, [80]])
def test_what_is_not_a_whole_number_is_refused(check: Callable[[object], int], value: object) -> None:
    assert "must be a whole number" in refusal(lambda: check(value)).reason


def test_machines_are_kept_in_order_and_once() -> None:
    assert values.machines(["b", "a", "b", "c", "a"]) == ("b", "a", "c")
    assert values.machines([]) == ()
    assert refusal(lambda: values.machines(["a", "B"])).value == "B"


@given(
    registry=st.sampled_from(["", "ghcr.io/", "localhost/", "localhost:5000/", "r.example:1/"]),
    path=st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+(__[a-z0-9]+)?){0,3}", fullmatch=True).filter(
        lambda path: len(path) <= 255 and "." not in path.split("/")[0]
    ),
    tag=st.one_of(st.just(""), st.from_regex(r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)),
    digest=st.sampled_from(["", f"@{DIGEST}"]),
)
def test_every_reference_that_the_grammar_can_build_is_an_image(
    registry: str, path: str, tag: str, digest: str
) -> None:
    reference = f"{registry}{path}{tag}{digest}"
    assert values.image(reference) == reference


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("1m30s", 90),
        ("1h1m1s", 3661),
        ("0.5", 0.5),
        ("1h30s", 3630),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert values.duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "0",
        "0s",
        "0h0m",
        "-1",
        "s",
        "1d",
        "1s1m",
        "1m30",
        "1h30",
        "1.5h",
        "1 m",
        "1e3",
        "inf",
        "nan",
        "9999999h",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    assert values.duration(refusal(lambda: values.duration(text)).example) == 90


@given(st.integers(0, 99), st.integers(0, 59), st.integers(1, 59))
def test_a_duration_is_the_sum_of_its_parts(hours: int, minutes: int, seconds: int) -> None:
    assert values.duration(f"{hours}h{minutes}m{seconds}s") == 3600 * hours + 60 * minutes + seconds


def test_a_pair_is_split_at_its_first_equals_sign() -> None:
    assert values.env_pair("URL=https://x?a=b", secret=False) == ("URL", "https://x?a=b")
    assert values.env_pair("JWT_SECRET=a==", secret=True) == ("JWT_SECRET", "a==")
    assert values.env_pair("EMPTY=", secret=False) == ("EMPTY", "")


@pytest.mark.parametrize(
    ("text", "said"), [("LOG_LEVEL", "'LOG_LEVEL' must be NAME=VALUE"), ("1A=b", "'1A' must be"), ("=b", "'' must be")]
)
def test_a_bad_pair_is_shown_when_it_is_no_secret(text: str, said: str) -> None:
    assert said in refusal(lambda: values.env_pair(text, secret=False)).message


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"={SECRET}",
        f"{SECRET}-x=y",
        f"postgres://user:{SECRET}@host/db?ssl=on",
        f"A={SECRET}\0",
        f"A={SECRET}\udcff",
        f"{SECRET}=",
        f"{SECRET}==",
    ],
)
def test_nothing_of_a_bad_secret_is_in_its_error(text: str) -> None:
    error = refusal(lambda: values.env_pair(text, secret=True))
    assert SECRET not in everything_in(error)


@pytest.mark.parametrize("text", [f"A={SECRET}\0", f"A={SECRET}\udcff"])
def test_an_unacceptable_value_is_not_shown_even_when_it_is_no_secret(text: str) -> None:
    error = refusal(lambda: values.env_pair(text, secret=False))
    assert "value of A must" in error.message
    assert SECRET not in everything_in(error)


@pytest.mark.parametrize(
    ("line", "pair"),
    [
        ("A=b", ("A", "b")),
        ("  A = b c  ", ("A", "b c")),
        ("A=b\r", ("A", "b")),
        ("\ufeffA=b", ("A", "b")),
        ("export A=b", ("A", "b")),
        ("export=b", ("export", "b")),
        ("exportA=b", ("exportA", "b")),
        ("A=", ("A", "")),
        ("A=b=c", ("A", "b=c")),
        ("A=b # said why", ("A", "b")),
        ("A= # said why", ("A", "")),
        ("A=#b", ("A", "#b")),
        ("A=b#c", ("A", "b#c")),
        ("A=$HOME", ("A", "$HOME")),
        ("A=it's", ("A", "it's")),
        ("A='b # c' # said why", ("A", "b # c")),
        (r"A='b\n$c'", ("A", r"b\n$c")),
        (r'A="b\n\t\"\\n"', ("A", 'b\n\t"\\n')),
        (r'A="C:\dir"', ("A", r"C:\dir")),
        ('A=""', ("A", "")),
    ],
)
def test_a_line_of_an_env_file_is_a_pair(line: str, pair: tuple[str, str]) -> None:
    assert values.env_file(line, ".env") == dict([pair])


@pytest.mark.parametrize("line", [f"{SECRET}=", f"{SECRET}==", f'export {SECRET}=""', f"{SECRET}= # none"])
def test_a_secret_without_a_value_is_refused_and_its_name_not_shown(line: str) -> None:
    error = refusal(lambda: values.env_file(f"FIRST=1\n{line}\n", "prod.env", secret=True))
    assert error.message == "prod.env:2 must have a value after its NAME= (what was given is not shown)"
    assert SECRET not in everything_in(error)
    values.env_file(line, ".env")


def test_a_name_that_comes_with_a_value_is_refused_and_not_shown() -> None:
    error = refusal(lambda: values.env_name(f"PW={SECRET}"))
    assert error.message == "env name must be a name alone, without =VALUE (what was given is not shown)"
    assert SECRET not in everything_in(error)


def test_an_env_file_is_read_in_its_order_without_comments_and_empty_lines() -> None:
    pairs = values.env_file("# head\n\nB=1\n  # more\nA=2\n", ".env")
    assert list(pairs.items()) == [("B", "1"), ("A", "2")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (SECRET, "or NAME=VALUE"),
        (f"export {SECRET}", "or NAME=VALUE"),
        (f"postgres://{SECRET}?a=b", "or NAME=VALUE"),
        (f"={SECRET}", "or NAME=VALUE"),
        (f'A="{SECRET}', "must close its quote"),
        (f"A='{SECRET}", "must close its quote"),
        (f'A="{SECRET}" tail', "must close its quote"),
        (f'A="{SECRET}"#tail', "must close its quote"),
        (f'A="{SECRET}\\"', "must close its quote"),
        (f"A={SECRET}\0", "must not have a NUL"),
        (f"A={SECRET}\udcff", "must be valid UTF-8"),
        (f"FIRST={SECRET}", "must not give FIRST again: it is given in line 1"),
    ],
)
def test_a_bad_line_of_an_env_file_is_named_and_not_shown(line: str, said: str) -> None:
    error = refusal(lambda: values.env_file(f"FIRST=1\n\n{line}\nLAST=1", "prod.env"))
    assert error.message.startswith("prod.env:3 ")
    assert said in error.message
    assert SECRET not in everything_in(error)


@given(st.dictionaries(st.from_regex(values._ENV_NAME, fullmatch=True), st.text(st.characters(codec="utf-8"))))
def test_every_value_can_be_written_in_double_quotes(pairs: dict[str, str]) -> None:
    pairs = {name: value.replace("\0", "") for name, value in pairs.items()}
    escapes = {"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r"}
    quoted = {name: "".join(escapes.get(c, c) for c in value) for name, value in pairs.items()}
    text = "\n".join(f'{name}="{value}"' for name, value in quoted.items())
    assert values.env_file(text, ".env") == pairs


@pytest.mark.parametrize(
    ("name", "key"), [("JWT_SECRET", "jwt-secret"), ("_LEADING", "-leading"), ("a", "a"), ("A__B9", "a--b9")]
)
def test_a_name_has_the_object_key_of_the_guide(name: str, key: str) -> None:
    assert values.object_key(name) == key


@given(st.from_regex(values._ENV_NAME, fullmatch=True))
def test_an_object_key_is_a_valid_key_and_its_own_key(name: str) -> None:
    key = values.object_key(name)
    assert values.object_key(key) == key
    assert len(key) == len(name)
    assert set(key) <= set("-abcdefghijklmnopqrstuvwxyz0123456789")


def test_two_names_with_one_key_are_refused_by_name() -> None:
    error = refusal(lambda: values.check_keys("env", ["X", "API_KEY", "api_key"]))
    assert "API_KEY and api_key" in error.message
    assert "key api-key" in error.message


@pytest.mark.parametrize(
    ("names", "pair"),
    [
        ([], None),
        (["A", "B"], None),
        (["A", "A"], None),
        (["A", "B", "a", "b"], ("A", "a")),
        (["a_b", "A_B"], ("a_b", "A_B")),
        (["a-b", "a_b"], ("a-b", "a_b")),
    ],
)
def test_the_first_collision_of_keys_is_found(names: list[str], pair: tuple[str, str] | None) -> None:
    assert values.colliding_keys(iter(names)) == pair
    if pair is None:
        values.check_keys("env", names)


@given(st.lists(st.sampled_from(["A", "a", "A_B", "a_b", "A_b", "C"])))
def test_names_collide_exactly_when_there_are_fewer_keys_than_names(names: list[str]) -> None:
    collide = len({values.object_key(name) for name in names}) < len(set(names))
    assert (values.colliding_keys(names) is not None) == collide


def test_entries_may_fill_an_object_to_its_last_byte() -> None:
    values.check_size("env", {})
    values.check_size("env", {"AB": "ü" * 10, "C": values.MAX_OBJECT_BYTES - 23})


def test_too_big_entries_are_refused_with_their_size_and_the_biggest() -> None:
    error = refusal(lambda: values.check_size("env", {"AB": "ü" * 10, "C": values.MAX_OBJECT_BYTES - 22}))
    assert "at most 1,048,576 bytes" in error.message
    assert "not 1,048,577" in error.message
    assert error.hint is not None
    assert error.hint.startswith("The biggest is C with 1,048,555 bytes")


def test_the_size_of_a_secret_is_judged_without_its_value() -> None:
    error = refusal(lambda: values.check_size("secrets", {"A": SECRET * 200_000}))
    assert SECRET not in everything_in(error)
