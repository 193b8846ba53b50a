"""The operators' page: every command in it is one that the command line accepts."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rrl import cli, parse_objective
from rrl.operating.options import each_once, setting
from rrl.tuning.slo import parse_slo

PAGE = (Path(cli.__file__).parent / "operating" / "README.md").read_text(encoding="utf-8")
HELP = re.compile(r"^ {2,4}(rrl (?:.*\\\n)*.*)$", re.MULTILINE)
CODE = re.compile(r"^(?:\$ )?(rrl \w.*)$", re.MULTILINE)
INLINE = re.compile(r"`(rrl (?:replay|race|profile|serve|tune) [^`]+)`")


def commands(text):
    """The commands of a page or a help text: in blocks of code, and in lines of text."""
    blocks = "".join(re.findall(r"```\w+\n(.*?)```", text, re.DOTALL))
    return [*CODE.findall(blocks), *INLINE.findall(text)]


def examples(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    return HELP.findall(capsys.readouterr().out)


def accepted(command, monkeypatch):
    """The options of a command, after the readers of its values have accepted them, too."""
    read = []
    for module in (cli.tune, cli.replay, cli.racing, cli.serve, cli.profiling):
        for name in ("_tune", "_replay", "_race", "_serve", "_profile"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda options: read.append(options) or 0)
    words = shlex.split(command.replace("\\\n", " "), comments=True)
    assert cli.main(words[1:]) == 0, command
    (options,) = read
    knobs = each_once(getattr(options, "knob", []))
    setting(getattr(options, "default", None) or [])
    if getattr(options, "slo", None):
        parse_slo(options.slo)
    if getattr(options, "objective", None):
        parse_objective(options.objective, most_cpus=max(knobs.get("cpus", (1,))))
    return options


def test_the_page_has_commands_and_is_short():
    assert len(commands(PAGE)) >= 12
    assert len(PAGE.splitlines()) <= 160


@pytest.mark.parametrize("command", commands(PAGE))
def test_a_command_of_the_page_is_accepted(command, monkeypatch):
    accepted(command, monkeypatch)


def test_no_two_commands_of_the_page_share_a_folder(monkeypatch):
    """A folder belongs to one run; a command that is refused writes nothing."""
    refused = re.findall(r"^\$ (rrl .*)\nrrl: ", PAGE, re.MULTILINE)
    assert refused
    folders = {}
    for command in {*commands(PAGE)} - {*refused}:
        options = accepted(command, monkeypatch)
        if options.command in ("tune", "replay") and not getattr(options, "dry_run", False):
            name = Path(getattr(options, "model", None) or options.source).stem
            folder = options.out or Path("build/tune") / name
            folders.setdefault(folder, []).append(command)
    assert len(folders) >= 8
    assert [shared for shared in folders.values() if len(shared) > 1] == []


@pytest.mark.parametrize("command", ["tune", "replay", "race", "serve", "profile"])
def test_the_examples_of_the_help_are_accepted(command, monkeypatch, capsys):
    found = examples(command, capsys)
    assert found
    for example in found:
        accepted(example, monkeypatch)


def test_every_option_that_the_page_names_exists(capsys):
    known = ""
    for command in ("tune", "replay", "race", "serve", "profile"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        known += capsys.readouterr().out
    named = set(re.findall(r"`(--[a-z][a-z-]*)", PAGE))
    assert len(named) > 15
    assert [option for option in sorted(named) if f"{option} " not in known + " "] == []
