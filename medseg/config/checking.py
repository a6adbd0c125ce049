"""Plain values become options, checked once; an unknown key is an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medseg.config.yaml_text import parse_yaml
from medseg.errors import BadConfig

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Options(BaseModel):
    """Base of every options model: frozen, unknown keys are errors, numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Choice(Options):
    """One entry of a table with the options it validates itself."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


OptionsModel = TypeVar("OptionsModel", bound=BaseModel)


def validate(
    model: type[OptionsModel], values: Mapping[str, Any], *, path: str | None = None
) -> OptionsModel:
    """Build an options model from plain values.

    Raises:
        BadConfig: the first thing that is wrong, with the key's dotted name and what it may be.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _refusal(model, error.errors(), path) from None


def _refusal(model: type[BaseModel], faults: Sequence[ErrorDetails], path: str | None) -> BadConfig:
    """One line about one fault; a misspelt key comes before the one that it leaves missing."""
    first = min(faults, key=lambda fault: fault["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return BadConfig(
            f"unknown key {key!r}",
            path=path,
            expected=f"one of {', '.join(_keys_beside(model, first['loc']))}",
            remedy="Check the spelling; nothing is ignored silently.",
        )
    if first["type"].startswith("union_tag"):
        context = first.get("ctx", {})
        return BadConfig(
            f"{key} needs {context['discriminator']}",
            path=path,
            found=repr(first["input"])[:120],
            expected=context.get("expected_tags", ", ".join(_kinds(model, first["loc"]))),
        )
    shown = first["input"]
    return BadConfig(
        f"{key or 'the config'}: {first['msg'].removeprefix('Value error, ')}",
        path=path,
        found=None if isinstance(shown, Mapping) else repr(shown)[:120],
        remedy="Correct the value.",
    )


def _keys_beside(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Keys that would have been known where an unknown one stands."""
    return sorted({key for here in _models_at(model, location[:-1]) for key in here.model_fields})


def _kinds(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """What ``kind`` may be there."""
    return [repr(here.model_fields["kind"].default) for here in _models_at(model, location)]


def _models_at(model: type[BaseModel], location: Sequence[int | str]) -> list[type[BaseModel]]:
    """The options models that a location may hold; a union names the one meant by its kind."""
    here = [model]
    for part in location:
        fields = [
            m.model_fields[part] for m in here if isinstance(part, str) and part in m.model_fields
        ]
        if fields:
            here = [inner for field in fields for inner in _models_in(field.annotation)]
        elif isinstance(part, str):
            here = [
                m
                for m in here
                if "kind" in m.model_fields and m.model_fields["kind"].default == part
            ]
    return here


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The options models in an annotation, through tuples, unions and ``Annotated``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def override(values: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply ``key.sub=value`` assignments (values are YAML) to a copy of nested plain values.

    Raises:
        BadConfig: an assignment has no ``=`` or goes through a key that is not a mapping.
    """
    result: dict[str, Any] = _copy(values)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise BadConfig(
                "not an assignment",
                found=repr(assignment),
                expected="key=value, for example training.minutes=30",
            )
        *parents, last = key.split(".")
        target = result
        for parent in parents:
            inner = target.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise BadConfig(f"{parent!r} in {key!r} has no keys of its own", found=repr(inner))
            target = inner
        try:
            target[last] = parse_yaml(text)
        except BadConfig as error:
            raise BadConfig(
                f"the value of {key!r}: {error.problem}", found=repr(text)[:120]
            ) from None
    return result


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, list) else value
