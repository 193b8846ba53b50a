"""The operators' page: every command in it is one that the command line accepts."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rrl import cli, parse_objective
from rrl.operating import profiling, racing, replay, tune
from rrl.operating.knob_options import each_once, setting
from rrl.tuning.slo import parse_slo

PAGE = (Path(cli.__file__).parent / "operating" / "README.md").read_text(encoding="utf-8")
HELP = re.compile(r"^ {2,4}(rrl (?:.*\\\n)*.*)$", re.MULTILINE)
CODE = re.compile(r"^(?:\$ )?(rrl \w.*)$", re.MULTILINE)
INLINE = re.compile(r"`(rrl (?:replay|race|profile|tune) [^`]+)`")


def commands(text):
    """The commands of a page or a help text: in blocks of code, and in lines of text."""
    blocks = "".join(re.findall(r"```\w+\n(.*?)```", text, re.DOTALL))
    return [*CODE.findall(blocks), *INLINE.findall(text)]


def help_text(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    return capsys.readouterr().out


def accepted(command, monkeypatch):
    """The options of a command, after the readers of its values have accepted them, too."""
    read = []
    runs = {tune: "_tune", replay: "_replay", racing: "_race", profiling: "_profile"}
    for module, name in runs.items():
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


@pytest.mark.parametrize("command", commands(PAGE))
def test_a_command_of_the_page_is_accepted(command, monkeypatch):
    accepted(command, monkeypatch)


@pytest.mark.parametrize("command", ["tune", "replay", "race", "profile"])
def test_the_examples_of_the_help_are_accepted(command, monkeypatch, capsys):
    found = HELP.findall(help_text(command, capsys))
    assert found
    for example in found:
        accepted(example, monkeypatch)


def test_every_option_that_the_page_names_exists(capsys):
    commands = ("tune", "replay", "race", "profile")
    known = "".join(help_text(command, capsys) for command in commands)
    named = set(re.findall(r"`(--[a-z][a-z-]*)", PAGE))
    assert len(named) > 15
    assert [option for option in sorted(named) if f"{option} " not in known + " "] == []
