"""Where does the command line start?  Stays light: neither torch nor monai is loaded here."""

from __future__ import annotations

from medseg.cli.environment import restart_tuned


def main() -> None:
    """Run ``medseg``; heavy verbs first restart once in the tuned environment."""
    restart_tuned()
    from medseg.cli.app import app

    app(prog_name="medseg")
