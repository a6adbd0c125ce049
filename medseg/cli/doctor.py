"""``medseg doctor``: what this machine offers, what is missing, and how to get it."""

from __future__ import annotations

import typer

from medseg.cli.console import open_console
from medseg.cli.exits import DONE, SOME_FAILED
from medseg.cli.options import Json, Quiet


def doctor(*, quiet: Quiet = False, json: Json = False) -> None:
    """Show what this machine offers, what is missing, and how to get it.

    Exit code 1 where something that medseg needs is missing.

    \b
    Example:
        medseg doctor
    """
    from medseg.doctor import State, examine

    findings = examine()
    marks = {State.OK: "  ok     ", State.ADVICE: "  advice ", State.MISSING: "  MISSING"}
    with open_console(quiet=quiet, json=json) as console:
        for finding in findings:
            text = f"{marks[finding.state]} {finding.topic}: {finding.found}"
            console.say(
                f"{text}. {finding.remedy}" if finding.remedy else text,
                topic=finding.topic,
                state=finding.state.value,
                found=finding.found,
                remedy=finding.remedy,
            )
    lacking = any(finding.state is State.MISSING for finding in findings)
    raise typer.Exit(SOME_FAILED if lacking else DONE)
