"""The help page of a verb: plain text, options in groups, settings with their defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    from medseg.config import Options


class Verb(TyperCommand):
    """A verb whose options are shown by their ``rich_help_panel``, in plain text."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then options group by group, those without a group first."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            kind = "Arguments" if param.param_type_name == "argument" else "Options"
            group = getattr(param, "rich_help_panel", None) or kind
            groups.setdefault(group, []).append(record)
        for name, records in groups.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def verb_with_settings(config: str) -> type[Verb]:
    """A verb that takes ``key=value``, too.

    Args:
        config: name of the model in `medseg.config` that checks them, which is loaded for the
            help page alone.
    """

    class VerbWithSettings(Verb):
        def format_options(self, ctx: Any, formatter: Any) -> None:
            from medseg import config as models

            super().format_options(ctx, formatter)
            with formatter.section("Settings, as key=value"):
                formatter.write_dl(_settings(getattr(models, config)))

    return VerbWithSettings


def _settings(model: type[Options]) -> list[tuple[str, str]]:
    """``key=default`` and what it means."""
    lines = []
    for key, field in model.model_fields.items():
        default = "" if field.default is None else field.default
        shown = str(default).lower() if isinstance(default, bool) else default
        lines.append((f"{key}={shown}", field.description or ""))
    return lines
