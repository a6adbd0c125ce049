"""The command line stays light and speaks as the contract says."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
import typer
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from medseg.cli import app as application
from medseg.cli import console, device, environment, exits
from medseg.config import SegmentConfig
from medseg.errors import BadConfig, BadScan

VERBS = sorted(application.app.registered_commands, key=lambda command: str(command.name))
NAMES = sorted(get_command(application.app).commands)


def a_verb_that_raises(error):
    small = typer.Typer(cls=application.Verbs, pretty_exceptions_enable=False)

    @small.command()
    def fail() -> None:
        raise error

    @small.command()
    def other() -> None: ...

    return CliRunner().invoke(small, ["fail"])


def test_help_and_import_load_neither_torch_nor_monai():
    program = (
        "import sys, medseg, medseg.cli, medseg.cli.app\n"
        "try: medseg.cli.app.app(['--help'])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "heavy = {'torch', 'monai', 'lightning', 'pandas', 'matplotlib', 'SimpleITK'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stderr.strip() == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_every_verb_shows_an_example(name):
    command = get_command(application.app).commands[name]
    if isinstance(command, TyperGroup):
        pages = [
            CliRunner().invoke(application.app, [name, inner, "--help"]).output
            for inner in command.commands
        ]
    else:
        pages = [CliRunner().invoke(application.app, [name, "--help"]).output]
    for page in pages:
        assert f"medseg {name}" in page.split("Example", 1)[1]


def test_every_setting_of_segment_is_on_its_help_page_with_its_default():
    page = CliRunner().invoke(application.app, ["segment", "--help"]).output
    everyday = page.split("Options:")[1].split("\n\n")[0]
    assert everyday.count("--") - everyday.count("e.g. ") <= 15
    settings = page.split("Settings, as key=value:")[1]
    for name, field in SegmentConfig.model_fields.items():
        default = "" if field.default is None else str(field.default).lower()
        assert f"  {name}={default}" in settings


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_verbs_and_options(shell):
    asked = {"COMP_WORDS": "medseg segm", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "medseg segm"}
    asked |= {"_MEDSEG_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    command = [sys.executable, "-c", "from medseg.cli import main; main()"]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | asked)
    assert "segment" in ended.stdout
    assert "convert" not in ended.stdout


def test_a_refusal_is_one_line_on_standard_error_and_exit_code_1():
    ended = a_verb_that_raises(BadScan("the file is cut short", path="a.nii", found="3 bytes"))
    assert ended.exit_code == 1
    assert ended.stderr == "medseg: error: a.nii: the file is cut short; found 3 bytes\n"
    assert ended.stdout == ""


def test_a_wrong_configuration_is_exit_code_2():
    assert a_verb_that_raises(BadConfig("unknown key 'pach'")).exit_code == 2


def test_an_unknown_verb_or_option_is_exit_code_2():
    for call in (["sgment"], ["doctor", "--loud"]):
        assert CliRunner().invoke(application.app, call).exit_code == 2


def test_ctrl_c_is_exit_code_130_and_says_how_to_go_on():
    ended = a_verb_that_raises(KeyboardInterrupt())
    assert ended.exit_code == 130
    assert "run the same command again" in ended.stderr
    ended = a_verb_that_raises(exits.Interrupted("Go on with --resume."))
    assert ended.stderr == "medseg: interrupted. Go on with --resume.\n"


def test_a_bug_keeps_its_traceback():
    ended = a_verb_that_raises(ZeroDivisionError("bug"))
    assert isinstance(ended.exception, ZeroDivisionError)


def test_json_progress_is_one_object_a_line(capsys):
    with console.open_console(quiet=False, json=True) as talk:
        show = talk.progress("segmenting")
        show(1, 2, case="a")
        talk.say("done", cases=2)
        talk.warn("one is odd")
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["progress", "message", "warning"]
    assert events[0] == {
        "event": "progress",
        "task": "segmenting",
        "done": 1,
        "total": 2,
        "case": "a",
    }


def test_plain_progress_shows_the_first_and_the_last_line_but_not_every_step(capsys):
    show = console.LineConsole().progress("segmenting")
    for step in range(101):
        show(step, 100)
    assert capsys.readouterr().out.splitlines() == ["segmenting 0/100", "segmenting 100/100"]


def test_the_time_left_counts_from_where_a_task_begins_anew(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    show = console.LineConsole().progress("training")
    for done, seconds in ((1, 0), (100, 1000), (1, 1001), (51, 1101)):
        clock[0] = seconds
        show(done, 100)
    assert capsys.readouterr().out.splitlines()[-1] == "training 51/100 · 2 min left"


def test_quiet_says_nothing_but_warnings(capsys):
    with console.open_console(quiet=True, json=False) as talk:
        talk.progress("segmenting")(1, 1)
        talk.say("done")
        talk.warn("one is odd")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "warning: one is odd\n")


def test_an_unknown_device_is_a_wrong_call():
    with pytest.raises(BadConfig, match="auto, cpu"):
        device.pick_device("tpu")
    assert device.pick_device("cpu").type == device.device_name("cpu") == "cpu"
    expected = "cuda:0" if torch.cuda.is_available() else "cpu"
    assert device.device_name("auto") == expected


def test_variables_set_by_the_user_are_left_alone():
    tuned = environment.tuned_environment({"OMP_WAIT_POLICY": "active"})
    assert tuned["OMP_WAIT_POLICY"] == "active"


def test_a_heavy_verb_restarts_exactly_once_and_can_be_kept_from_it(monkeypatch):
    calls = []
    monkeypatch.setattr(environment.os, "execve", lambda *call: calls.append(call))
    monkeypatch.setattr(environment.sys, "platform", "linux")
    monkeypatch.delenv(environment.MARKER, raising=False)
    monkeypatch.delenv(environment.SWITCH_OFF, raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    environment.restart_tuned(["doctor"])
    assert calls == []
    environment.restart_tuned(["train", "plan.yaml"])
    assert calls[0][2][environment.MARKER] == "1"
    monkeypatch.setenv(environment.MARKER, "1")
    environment.restart_tuned(["train", "plan.yaml"])
    monkeypatch.delenv(environment.MARKER)
    monkeypatch.setenv(environment.SWITCH_OFF, "1")
    environment.restart_tuned(["train", "plan.yaml"])
    assert len(calls) == 1


def test_python_m_medseg_works():
    ended = subprocess.run(
        [sys.executable, "-m", "medseg", "--version"], capture_output=True, text=True
    )
    assert ended.returncode == 0
    assert ended.stdout.startswith("medseg ")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_verb_as_ctrl_c_does(name):
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # whatever this run inherited
        "from medseg.cli import app\n"
        "def wait():\n"
        f"    try: os.kill(os.getpid(), signal.{name}); signal.pause()\n"
        "    finally: print('cleaned up')\n"
        "app.app.command()(wait)\n"
        "app.app(['wait'])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 130, ended.stderr
    assert ended.stdout == "cleaned up\n"
    assert "Traceback" not in ended.stderr


def test_a_hangup_that_nohup_has_ignored_ends_nothing():
    code = (
        "import os, signal\nfrom medseg.cli import app\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "def work():\n    os.kill(os.getpid(), signal.SIGHUP); print('done')\n"
        "app.app.command()(work)\n"
        "app.app(['work'])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr
