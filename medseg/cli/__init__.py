"""Where does the command line start?  Stays light: neither torch nor monai is loaded here."""

from __future__ import annotations

from medseg.cli.environment import restart_tuned


def main() -> None:
    """Run ``medseg``; heavy verbs first restart once in the tuned environment."""
    restart_tuned()
    from medseg.cli.app import app

    app(prog_name="medseg")


def run(*words: object) -> int:
    """Run one verb in this process, as a script would on the command line.

    Returns:
        The exit code: 0 done, 1 some cases were refused, 2 the call is wrong.
    """
    import click

    from medseg.cli.app import app

    try:
        code = app([str(word) for word in words], prog_name="medseg", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return int(code or 0)
