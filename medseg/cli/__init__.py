"""The start of the command line; neither torch nor monai is loaded here."""

from __future__ import annotations

from medseg.cli.environment import restart_in_utf8, restart_tuned, settle_user
from medseg.cli.streams import settle_streams


def main() -> None:
    """Run ``medseg``; heavy verbs first restart once in the tuned environment."""
    restart_in_utf8()
    settle_streams()
    settle_user()
    restart_tuned()
    from medseg.cli.app import app

    app(prog_name="medseg")


def run(*words: object) -> int:
    """Run one verb in this process, as a script would on the command line.

    Returns:
        The exit code: 0 done, 1 some cases were refused, 2 the call is wrong.
    """
    from medseg.cli.app import app
    from medseg.cli.calls import run_words

    return run_words(app, words)
