"""What a terminal shows: aligned columns, colour only where it can be seen, ages as a person says them."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from typing import Any

import pytest

from cli.age import age
from cli.terminal import Terminal
from ledger.text import Lines, printable
from tests.cli_support import Cli

SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, say: str = "success", **env: str) -> str:
    """What "text" looks like on a terminal with this environment."""
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    getattr(Terminal(json=False), say)("text")
    return screen.getvalue()


# Tables


def test_columns_are_as_wide_as_their_longest_cell(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["2", "nginx:alpine", "active", "just now"], ["1", "nginx:alpine", "superseded", "2 minutes ago"]]
    Terminal(json=False).table(["VERSION", "IMAGE", "STATUS", "DEPLOYED"], rows)
    assert capsys.readouterr().out == (
        "VERSION  IMAGE         STATUS      DEPLOYED\n"
        "───────  ────────────  ──────────  ─────────────\n"
        "2        nginx:alpine  active      just now\n"
        "1        nginx:alpine  superseded  2 minutes ago\n"
    )


def test_a_table_without_rows_has_its_headers(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(json=False).table(["A", "LONG"], [])
    assert capsys.readouterr().out == "A  LONG\n─  ────\n"


def test_wide_and_combining_characters_keep_the_columns(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(json=False).table(["KEY", "VALUE"], [["日本", "x"], ["🚀", "y"], ["e\u0301", "z"], ["abcd", "w"]])
    assert capsys.readouterr().out.splitlines()[2:] == ["日本  x", "🚀    y", "e\u0301     z", "abcd  w"]


def test_nothing_trails_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(json=False).table(["NAME", "CURRENT"], [["prod", ""]])
    assert capsys.readouterr().out.splitlines()[2] == "prod"


def test_fields_are_aligned_below_their_title(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(json=False).fields("Title", {"App": "a", "Last Updated": "b"})
    assert capsys.readouterr().out == "Title\n─────\nApp:          a\nLast Updated: b\n"


def test_in_json_mode_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(json=True).success("done")
    assert capsys.readouterr() == ("", "✅ done\n")


# A value cannot pass for something else


def test_a_value_cannot_draw_on_the_screen(deployed: Cli) -> None:
    deployed.run("env", "create", "--env", "A=x\x1b[31mred\r\nB  forged  yes").done()
    shown = deployed.run("env", "list").done()
    assert "\x1b" not in shown.stdout
    assert "\r" not in shown.stdout
    assert len(shown.lines) == 3
    assert (
        deployed.run("-o", "json", "env", "list").json[0]["key_values"][0]["value"] == "x\x1b[31mred\r\nB  forged  yes"
    )


HOSTILE = "said \x1b[2J\x1b]0;owned\x07\n✅ Ledger is intact\r\x9b31m \u202egnp.exe\u2066\u200b\u2028"
SAID = r"said \x1b[2J\x1b]0;owned\x07\n✅ Ledger is intact\r\x9b31m \u202egnp.exe\u2066\u200b\u2028"


@pytest.mark.parametrize("say", ["line", "success", "info", "notice", "notice_line", "warn"])
def test_what_others_said_stays_in_its_line(say: str, capsys: pytest.CaptureFixture[str]) -> None:
    getattr(Terminal(json=False), say)(HOSTILE)
    shown = "".join(capsys.readouterr())
    assert shown.endswith(f"{SAID}\n")
    assert shown.count("\n") == 1


def test_neither_a_message_nor_a_hint_holds_what_others_made_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(json=False)
    terminal.error(HOSTILE, HOSTILE)
    terminal.error("ours", Lines("Look:", HOSTILE, "  [app]"))
    assert capsys.readouterr().err == f"❌ {SAID}\n{SAID}\n❌ ours\nLook:\n{SAID}\n  [app]\n"


def test_a_question_and_a_title_are_each_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    terminal = Terminal(json=False)
    assert terminal.confirm(HOSTILE)
    terminal.fields(HOSTILE, {"a": HOSTILE})
    out, err = capsys.readouterr()
    assert err == f"{SAID} [y/N]: "
    assert out.splitlines()[0] == SAID
    assert out.count("\n") == 3


def test_colour_is_ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    Terminal(json=False).warn("\x1b[32mfine")
    assert screen.getvalue() == "\x1b[33m❗️ \\x1b[32mfine\x1b[0m\n"


def test_what_we_print_ourselves_is_printable() -> None:
    ours = "✅ 💡 ❗️ ❌ 🚀 ✓ → ─ … — “x” Ünïcödé 日本 e\u0301"
    assert printable(ours) == ours


def an_api_server_that_lies() -> None:
    """From now on what is applied is refused with a text that draws on screens."""
    from effects.cluster import ClusterRefusedError
    from effects.sandbox import SandboxCluster

    def refuse(*_: object, **__: object) -> Any:
        raise ClusterRefusedError(f"quota {HOSTILE}", status=403, reason="Forbidden")

    SandboxCluster.apply = refuse  # type: ignore[method-assign]


def test_what_an_api_server_says_is_shown_and_not_obeyed(deployed: Cli) -> None:
    change = f"{__name__}:{an_api_server_that_lies.__name__}"
    refused = replace(deployed, change=change).run("deploy", "--image", "nginx:2").failed(8)
    assert f"quota {SAID}" in refused.error
    assert "\x1b" not in refused.stderr


# Colour


def test_a_terminal_has_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_a_terminal(monkeypatch) == "\x1b[32m✅ text\x1b[0m\n"
    assert on_a_terminal(monkeypatch, "info") == "\x1b[36m💡 text\x1b[0m\n"


def test_no_color_means_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_a_terminal(monkeypatch, NO_COLOR="1") == "✅ text\n"


def test_an_empty_no_color_is_as_if_it_were_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" in on_a_terminal(monkeypatch, NO_COLOR="")


def test_a_dumb_terminal_has_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_a_terminal(monkeypatch, TERM="dumb") == "✅ text\n"


# Locales


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1"])
def test_the_glyphs_are_printed_in_any_locale(cli: Cli, locale: str) -> None:
    plain = cli.having(LANG=locale, LC_ALL=locale, PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert plain.run("deploy", "--image", "nginx:alpine").done().lines[0] == "💡 Using pre-built image: nginx:alpine"
    assert "─────" in plain.run("deploy", "list").done().stdout


def test_input_that_is_no_utf_8_is_refused(deployed: Cli) -> None:
    import subprocess

    done = subprocess.run(
        deployed.argv("secret", "create"),
        input=b"TOKEN=\xff\xfe\n",
        cwd=deployed.cwd,
        env=deployed.environ(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3
    assert "stdin:1 must be valid UTF-8" in done.stderr.decode()


# Ages


@pytest.mark.parametrize(
    ("elapsed", "text"),
    [
        (-5 * MINUTE, "just now"),
        (0, "just now"),
        (MINUTE - 1, "just now"),
        (MINUTE, "1 minute ago"),
        (2 * MINUTE - 1, "1 minute ago"),
        (2 * MINUTE, "2 minutes ago"),
        (HOUR - 1, "59 minutes ago"),
        (HOUR, "1 hour ago"),
        (DAY - 1, "23 hours ago"),
        (DAY, "yesterday"),
        (2 * DAY - 1, "yesterday"),
        (2 * DAY, "2 days ago"),
        (7 * DAY - 1, "6 days ago"),
        (7 * DAY, "1 week ago"),
        (14 * DAY, "2 weeks ago"),
        (30 * DAY - 1, "4 weeks ago"),
        (30 * DAY, "1 month ago"),
        (364 * DAY, "12 months ago"),
        (365 * DAY, "1 year ago"),
        (730 * DAY, "2 years ago"),
    ],
)
def test_age(elapsed: int, text: str) -> None:
    then = 1_800_000_000 * SECOND
    assert age(then, then + elapsed) == text
