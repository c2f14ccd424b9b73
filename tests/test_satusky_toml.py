"""Which satusky.toml is meant, and what is said about one that cannot be used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import satusky_toml
from cli.satusky_toml import AppConfig, ConfigError, find, read
from ledger.errors import RefusedError

GOOD = '[app]\nname = "user-service"\n'


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, worked in, with nothing above it that could be found."""
    root = tmp_path.resolve()
    assert satusky_toml._nearest(root, "satusky.toml") is None
    monkeypatch.chdir(root)
    return root


def put(path: Path, text: str | bytes = GOOD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused_find(config: str, start: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        find(config, start)
    assert caught.value.hint
    return caught.value


def refused_read(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert isinstance(caught.value, RefusedError)
    assert caught.value.hint
    return caught.value


# Finding


def test_without_any_file_none_is_found(tree: Path) -> None:
    assert find(None, tree) is None


def test_the_nearest_file_upwards_is_found(tree: Path) -> None:
    put(tree / "satusky.toml")
    near = put(tree / "a" / "satusky.toml")
    deep = tree / "a" / "b" / "c"
    deep.mkdir(parents=True)
    assert find(None, deep) == near
    assert find(None, Path("a/b")) == near


def test_a_file_of_another_name_is_not_found_without_asking(tree: Path) -> None:
    put(tree / "satusky.staging.toml")
    assert find(None, tree) is None


def test_a_dangling_link_is_not_passed_over_for_a_file_further_up(tree: Path) -> None:
    put(tree / "satusky.toml")
    link = tree / "a" / "satusky.toml"
    link.parent.mkdir()
    link.symlink_to(tree / "gone")
    assert find(None, link.parent) == link
    assert "a/satusky.toml cannot be read: No such file" in refused_read(link).message


@pytest.mark.parametrize("config", ["other.toml", "./other.toml", "a/../other.toml"])
def test_a_path_is_that_file(tree: Path, config: str) -> None:
    put(tree / "satusky.toml")
    (tree / "a").mkdir()
    other = put(tree / "other.toml")
    found = find(config, tree)
    assert found is not None
    assert found.samefile(other)


def test_an_absolute_path_is_that_file(tree: Path) -> None:
    other = put(tree / "x" / "other.toml")
    assert find(str(other), tree / "elsewhere") == other


def test_a_path_with_a_separator_needs_no_ending(tree: Path) -> None:
    path = put(tree / "x" / "config")
    assert find("x/config", tree) == path


@pytest.mark.parametrize("config", ["services/user", "services/user/", "./services/user"])
def test_a_directory_is_the_file_in_it(tree: Path, config: str) -> None:
    inside = put(tree / "services" / "user" / "satusky.toml")
    assert find(config, tree) == inside


def test_dots_are_directories(tree: Path) -> None:
    put(tree / "satusky.toml")
    (tree / "a").mkdir()
    up = find("..", tree / "a")
    assert up is not None
    assert up.samefile(tree / "satusky.toml")
    assert find(".", tree) == tree / "satusky.toml"


def test_a_directory_without_the_file_is_refused_even_with_one_above(tree: Path) -> None:
    put(tree / "satusky.toml")
    (tree / "a").mkdir()
    assert refused_find("./a", tree).message == "a has no satusky.toml"


@pytest.mark.parametrize("config", ["gone.toml", "a/gone", "x" * 300 + ".toml", "y" * 300 + "/z"])
def test_a_missing_path_is_refused_and_no_other_file_is_taken(tree: Path, config: str) -> None:
    put(tree / "satusky.toml")
    assert refused_find(config, tree).message == f"{config} does not exist"


def test_a_missing_path_comes_with_the_files_beside_it(tree: Path) -> None:
    put(tree / "d" / "satusky.toml")
    put(tree / "d" / "satusky.prod.toml")
    error = refused_find("d/satusky.prd.toml", tree)
    assert error.hint == "In d there is: satusky.prod.toml, satusky.toml"


def test_a_name_is_the_file_of_that_name_beside_the_nearest_one(tree: Path) -> None:
    put(tree / "a" / "satusky.toml")
    staging = put(tree / "a" / "satusky.staging.toml")
    (tree / "a" / "b").mkdir()
    assert find("staging", tree / "a" / "b") == staging


def test_a_name_needs_no_satusky_toml_beside_it(tree: Path) -> None:
    staging = put(tree / "satusky.staging.toml")
    (tree / "b").mkdir()
    assert find("staging", tree / "b") == staging


def test_a_name_is_not_taken_from_beyond_the_nearest_app(tree: Path) -> None:
    put(tree / "satusky.staging.toml")
    put(tree / "a" / "satusky.toml")
    put(tree / "a" / "satusky.prod.toml")
    error = refused_find("staging", tree / "a")
    assert error.message == "satusky.staging.toml not found in a, beside satusky.toml"
    assert error.hint == "In a there is: satusky.prod.toml, satusky.toml"


def test_a_name_without_any_file_says_where_it_was_looked_for(tree: Path) -> None:
    error = refused_find("staging", tree)
    assert error.message == "satusky.staging.toml not found in . or any directory above it"
    assert error.hint is not None
    assert "--config path/to/satusky.staging.toml" in error.hint


def test_a_name_may_be_a_directory_unless_there_is_a_file_of_that_name(tree: Path) -> None:
    put(tree / "satusky.toml")
    inside = put(tree / "user" / "satusky.toml")
    assert find("user", tree) == inside
    named = put(tree / "satusky.user.toml")
    assert find("user", tree) == named


def test_an_empty_config_is_refused(tree: Path) -> None:
    put(tree / "satusky.toml")
    assert refused_find("", tree).message == "--config is empty"


# Reading


def test_a_file_is_read_with_all_its_keys(tree: Path) -> None:
    path = put(
        tree / "satusky.toml",
        '[app]\nname = "user-service"\nport = 8081\ncpu = "0.25"\nmemory = "128Mi"\nreplicas = 0\n'
        'health_path = "/healthz"\nimage_pull_secret = "registry-login"\n',
    )
    assert read(path) == AppConfig(
        path=path,
        name="user-service",
        port=8081,
        cpu="0.25",
        memory="128Mi",
        replicas=0,
        health_path="/healthz",
        image_pull_secret="registry-login",
    )


@pytest.mark.parametrize("text", [GOOD, "\ufeff" + GOOD, GOOD.replace("\n", "\r\n"), 'app.name = "user-service"'])
def test_what_the_file_does_not_say_is_none(tree: Path, text: str) -> None:
    path = put(tree / "satusky.toml", text)
    assert read(path) == AppConfig(path=path, name="user-service")


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ('port = "eighty"', 'port in satusky.toml is "eighty": must be a whole number from 1 to 65535', "port = 8080"),
        ("port = true", "port in satusky.toml is true: must be a whole number", "port = 8080"),
        ("port = 80.0", "port in satusky.toml is 80.0: must be a whole number", "port = 8080"),
        ("port = 0", "port in satusky.toml is 0: must be a whole number", "port = 8080"),
        (f"port = 0x{'f' * 9000}", "port in satusky.toml is a number of more than 64 bits: must be", "port = 8080"),
        ("port = [80]", "port in satusky.toml is an array: must be a whole number", "port = 8080"),
        ("replicas = -1", "replicas in satusky.toml is -1: must be a whole number from 0", "replicas = 2"),
        ("replicas = 1979-05-27", "replicas in satusky.toml is 1979-05-27: must be a whole", "replicas = 2"),
        ("cpu = 0.5", "cpu in satusky.toml is 0.5: must be text, in quotes", 'cpu = "0.5"'),
        ("cpu = 2", "cpu in satusky.toml is 2: must be text, in quotes", 'cpu = "2"'),
        ("cpu = nan", "cpu in satusky.toml is nan: must be text, in quotes", 'cpu = "0.25"'),
        (f"cpu = 0x{'f' * 9000}", "cpu in satusky.toml is a number of more than 64 bits: must be text", 'cpu = "0.25"'),
        ('cpu = "half"', 'cpu in satusky.toml is "half": must be a number of cores', 'cpu = "0.25"'),
        ("memory = 512", "memory in satusky.toml is 512: must be text, in quotes", 'memory = "512Mi"'),
        ('memory = "512"', 'memory in satusky.toml is "512": must end in Mi or Gi', 'memory = "512Mi"'),
        ('health_path = "x"', 'health_path in satusky.toml is "x": must start with /', 'health_path = "/healthz"'),
        ("health_path = {}", "health_path in satusky.toml is a table: must be text", 'health_path = "/healthz"'),
        (
            'image_pull_secret = "A\\u001b"',
            'image_pull_secret in satusky.toml is "A\\u001b": must be',
            'image_pull_secret = "registry-login"',
        ),
    ],
)
def test_a_bad_value_is_named_with_its_file_its_reason_and_an_example(
    tree: Path, line: str, message: str, hint: str
) -> None:
    error = refused_read(put(tree / "satusky.toml", GOOD + line))
    assert error.message.startswith(message)
    assert error.hint == f"Example: {hint}"


@pytest.mark.parametrize(
    ("name", "hint"),
    [('"2048"', 'name = "app-2048"'), ("2048", 'name = "app-2048"'), ('["x"]', 'name = "user-service"')],
)
def test_a_bad_name_comes_with_a_good_one(tree: Path, name: str, hint: str) -> None:
    assert refused_read(put(tree / "satusky.toml", f"[app]\nname = {name}")).hint == f"Example: {hint}"


def test_a_long_value_is_cut_short_in_the_message(tree: Path) -> None:
    path = put(tree / "satusky.toml", f'{GOOD}health_path = "{"x" * 5000}"')
    assert len(refused_read(path).message) < 200


@pytest.mark.parametrize("text", ["", "# nothing yet", "[app]", "[app]\nport = 80"])
def test_a_missing_name_says_what_to_add(tree: Path, text: str) -> None:
    error = refused_read(put(tree / "satusky.toml", text))
    assert error.message == "satusky.toml is missing 'name'"
    assert error.hint == 'Add:\n  [app]\n  name = "your-app"'


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (GOOD + "prot = 80", "prot in satusky.toml is not a key of [app]", "Did you mean port?"),
        (GOOD + 'Memory = "1Gi"', "Memory in satusky.toml is not a key of [app]", "Did you mean memory?"),
        (GOOD + 'health-path = "/"', "health-path in satusky.toml is not", "Did you mean health_path?"),
        (GOOD + "zone = 1", "zone in satusky.toml is not a key of [app]", "The keys of [app] are: name, port, cpu"),
        (GOOD + "[app.checks]", "checks in satusky.toml is not a key of [app]", "The keys of [app] are:"),
        (GOOD + '"a\\u001bb" = 1', '"a\\u001bb" in satusky.toml is not a key of [app]', "The keys of [app] are:"),
        (GOOD + "[env]", "env in satusky.toml is outside [app]", "Everything is in one table, [app]."),
        ('[ap]\nname = "x"', "ap in satusky.toml is outside [app]", "Did you mean app?"),
        ("port = 80\n" + GOOD, "port in satusky.toml is outside [app]", "Put port below a line [app]."),
        ("prot = 80\n" + GOOD, "prot in satusky.toml is outside [app]", "Did you mean port?"),
        ('app = "x"', 'app in satusky.toml is "x": must be a table', "Add:\n  [app]"),
        ('[[app]]\nname = "x"', "app in satusky.toml is an array: must be a table", "Add:\n  [app]"),
    ],
)
def test_nothing_unknown_is_ignored(tree: Path, text: str, message: str, hint: str) -> None:
    error = refused_read(put(tree / "satusky.toml", text))
    assert error.message.startswith(message)
    assert error.hint is not None
    assert error.hint.startswith(hint)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[app]\nname = user-service\n", "satusky.toml:2: Invalid value"),
        (GOOD + "cpu = 250m", "satusky.toml:3: Expected newline"),
        (GOOD + 'name = "again"', "satusky.toml:"),
        ("[app\n", "satusky.toml:1: Expected ']'"),
        ("[app]\nname", "satusky.toml:2: Expected '=' after a key in a key/value pair at the end of the file"),
        (GOOD + f"port = {'9' * 5000}", "satusky.toml: Exceeds the limit"),
        (GOOD + f"port = {'[' * 20_000}", "satusky.toml: nested too deeply"),
        (GOOD.encode() + b"\n\n# \xff\xfe", "satusky.toml:5: not UTF-8"),
        (GOOD.encode("utf-16"), "satusky.toml:1: not UTF-8"),
        (b"\0" * 10, "satusky.toml:1: Invalid statement"),
    ],
)
def test_what_is_not_toml_is_refused_with_its_line(tree: Path, text: str | bytes, message: str) -> None:
    assert refused_read(put(tree / "satusky.toml", text)).message.startswith(message)


def test_a_file_may_have_a_mebibyte_and_no_more(tree: Path) -> None:
    path = put(tree / "satusky.toml", GOOD.ljust(satusky_toml.MAX_FILE_BYTES))
    assert read(path).name == "user-service"
    put(path, GOOD.ljust(satusky_toml.MAX_FILE_BYTES + 1))
    assert refused_read(path).message.startswith("satusky.toml is larger than 1 MiB")


@pytest.mark.timeout(10)
def test_a_named_pipe_is_refused_without_waiting_for_its_writer(tree: Path) -> None:
    os.mkfifo(tree / "satusky.toml")
    found = find(None, tree)
    assert found is not None
    assert refused_read(found).message == "satusky.toml is not a regular file"


def test_a_directory_of_that_name_is_refused(tree: Path) -> None:
    (tree / "satusky.toml").mkdir()
    assert refused_read(tree / "satusky.toml").message == "satusky.toml is a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tree: Path) -> None:
    path = put(tree / "satusky.toml")
    path.chmod(0)
    assert refused_read(path).message == "satusky.toml cannot be read: Permission denied"


def test_a_file_outside_the_working_directory_is_named_by_its_whole_path(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tree / "satusky.toml", "")
    (tree / "a").mkdir()
    monkeypatch.chdir(tree / "a")
    assert refused_read(path).message == f"{path} is missing 'name'"
    assert refused_read(Path("../satusky.toml")).message == f"{path} is missing 'name'"


def test_a_file_is_named_even_when_the_working_directory_is_gone(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tree / "satusky.toml", "")
    gone = tree / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert refused_read(path).message == f"{path} is missing 'name'"


@given(content=st.one_of(st.binary(), st.text().map(str.encode), st.text().map(lambda text: (GOOD + text).encode())))
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    message = None
    try:
        read(path)
    except ConfigError as error:
        message = error.message
    assert message is None or "any.toml" in message
