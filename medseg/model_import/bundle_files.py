"""The files of a MONAI bundle, from a folder or a zip, with its configuration as data.

MONAI's configurations hold Python after ``$``, which MONAI runs. Nothing of it is run here: a few
expressions that stand for plain values are known by their form, every other is refused where its
value is needed.
"""

from __future__ import annotations

import ast
import lzma
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from medseg.config import load_yaml, parse_json
from medseg.errors import BadModel, BadScan, MedsegError
from medseg.readers.limits import refuse_expansion

METADATA = "configs/metadata.json"
CONFIGURATIONS = tuple(f"configs/inference.{ending}" for ending in ("json", "yaml", "yml"))
WEIGHTS = "models/model.pt"
TORCHSCRIPT = "models/model.ts"

_NUMBER_TYPE = re.compile(r"(?:torch|np|numpy)\.(float16|float32|float64|int\d+|uint8)")
_REFERENCE = re.compile(r"@\w+(?:(?:#|::)\w+)*")


#: References followed in one configuration; those that double at each step have no end.
_MOST_REFERENCES = 10_000


@dataclass(frozen=True)
class Configuration:
    """A configuration of MONAI: nested mappings and lists, with references and expressions.

    Attributes:
        path: where it was read, for refusals.
        values: as written.
        followed: references so far.
    """

    path: Path
    values: Mapping[str, Any]
    followed: list[str] = field(default_factory=list)

    def plain(self, value: Any, of: str, below: tuple[str, ...] = ()) -> Any:
        """A value with its references resolved.

        Args:
            value: as written.
            of: whose value it is, for refusals.
            below: references that led here.

        Raises:
            BadModel: an expression that is not known, or a reference to nothing or in a circle.
        """
        if isinstance(value, Mapping):
            if "_target_" in value:
                raise self.refused(f"{of} is an object, not a value", found=value["_target_"])
            return {key: self.plain(inner, f"{of}.{key}", below) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.plain(inner, of, below) for inner in value]
        if not isinstance(value, str) or not value.startswith(("$", "@", "%")):
            return value
        text = value.removeprefix("$").strip()
        if _REFERENCE.fullmatch(text):
            if text in below:
                raise self.refused(f"{of} refers to itself", found=value)
            self.followed.append(text)
            if len(self.followed) > _MOST_REFERENCES:
                raise self.refused(
                    f"{of} needs more references than any configuration has",
                    expected=f"at most {_MOST_REFERENCES}",
                )
            return self.plain(self.at(text[1:], of), of, (*below, text))
        if value.startswith("$") and (known := _known(text)) is not _UNKNOWN:
            return known
        raise self.refused(
            f"{of} is an expression, and none are run", found=value,
            remedy="Write its value into a copy of the configuration.",
        )  # fmt: skip

    def at(self, identifier: str, of: str) -> Any:
        """What stands at an identifier such as ``preprocessing#transforms#0``, as written.

        Raises:
            BadModel: nothing.
        """
        value: Any = self.values
        for part in re.split("#|::", identifier):
            if isinstance(value, list) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            elif isinstance(value, Mapping) and part in value:
                value = value[part]
            else:
                raise self.refused(f"{of} refers to what is not there", found=f"@{identifier}")
        return value

    def component(self, value: Any, of: str) -> dict[str, Any]:
        """A mapping with a ``_target_``, by its own words or through references.

        Raises:
            BadModel: it is something else, or not always switched on.
        """
        seen: set[str] = set()
        while isinstance(value, str) and _REFERENCE.fullmatch(value.removeprefix("$").strip()):
            text = value.removeprefix("$").strip()
            if text in seen:
                raise self.refused(f"{of} refers to itself", found=value)
            seen.add(text)
            value = self.at(text[1:], of)
        if not isinstance(value, Mapping) or not isinstance(value.get("_target_"), str):
            raise self.refused(f"{of} is no component that is known here", found=repr(value)[:120],
                               expected="a mapping with _target_")  # fmt: skip
        if value.get("_mode_", "default") != "default":
            raise self.refused(f"{of} has a _mode_ of its own", found=value["_mode_"])
        return {key: inner for key, inner in value.items() if key not in ("_desc_", "_mode_")}

    def refused(
        self, problem: str, *, found: object = None, expected: object = None, remedy: str = ""
    ) -> BadModel:
        """A refusal that names the file."""
        return BadModel(problem, path=self.path, found=found, expected=expected,
                        remedy=remedy or None)  # fmt: skip


def target_name(target: str) -> str:
    """A class's own name if it is one of MONAI's, else the whole path.

    >>> target_name("monai.networks.nets.UNet"), target_name("scripts.UNet")
    ('UNet', 'scripts.UNet')
    """
    return target.rpartition(".")[2] if target.startswith("monai.") else target


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The folder of a bundle; of a zip, a temporary one with the files that are read.

    Raises:
        BadModel: it is no bundle.
    """
    if path.is_dir():
        yield _root(path)
        return
    with TemporaryDirectory() as temporary:
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, path, Path(temporary))
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
                RuntimeError, NotImplementedError) as error:  # fmt: skip
            raise BadModel("neither a folder nor a zip that can be read", path=path,
                           found=error) from None  # fmt: skip
        try:
            yield Path(temporary)
        except BadModel as error:  # the user knows the zip, not its copy
            place = str(error.path).replace(temporary, str(path))
            raise BadModel(error.problem, path=place, found=error.found, expected=error.expected,
                           remedy=error.remedy) from None  # fmt: skip


def read_metadata(folder: Path) -> Mapping[str, Any]:
    """What ``configs/metadata.json`` says.

    Raises:
        BadModel: it is missing or no object.
    """
    return _read(folder / METADATA)


def read_configuration(folder: Path) -> Configuration:
    """The configuration of inference.

    Raises:
        BadModel: there is none, or it is no object.
    """
    for name in CONFIGURATIONS:
        if (folder / name).is_file():
            return Configuration(folder / name, _read(folder / name))
    raise BadModel("the bundle has no configuration of inference", path=folder,
                   expected=" or ".join(CONFIGURATIONS))  # fmt: skip


def weights_path(folder: Path) -> Path:
    """Where the state dict lies.

    Raises:
        BadModel: there is none, perhaps but TorchScript, which is a program.
    """
    if (folder / WEIGHTS).is_file():
        return folder / WEIGHTS
    if (folder / TORCHSCRIPT).is_file():
        raise BadModel(
            "the bundle has its weights only as TorchScript, which is a program, and none is run",
            path=folder / TORCHSCRIPT,
            expected=f"a state dict in {WEIGHTS}",
        )
    raise BadModel("the bundle has no weights", path=folder, expected=WEIGHTS)


_UNKNOWN = object()


def _known(expression: str) -> Any:
    """The value of an expression whose form is known: a literal or a number type."""
    if named := _NUMBER_TYPE.fullmatch(expression):
        return named.group(1)
    try:
        return ast.literal_eval(expression)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return _UNKNOWN


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix != ".json":
            return load_yaml(path)
        content = parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise BadModel("cannot be read", path=path, found=error) from None
    except MedsegError as error:
        raise BadModel(f"cannot be read: {error.problem}", path=path, found=error.found) from None
    if not isinstance(content, Mapping):
        raise BadModel("holds no object", path=path, found=type(content).__name__)
    return content


def _root(folder: Path) -> Path:
    """The folder itself, or the only one in it that is a bundle."""
    if (folder / METADATA).is_file():
        return folder
    inner = [part for part in sorted(folder.iterdir()) if (part / METADATA).is_file()]
    if len(inner) == 1:
        return inner[0]
    raise BadModel("not one MONAI bundle", path=folder,
                   found=", ".join(part.name for part in inner) or f"no {METADATA}",
                   expected=f"{METADATA}, {CONFIGURATIONS[0]} and {WEIGHTS}")  # fmt: skip


def _unpack(archive: zipfile.ZipFile, path: Path, folder: Path) -> None:
    """Copy the files that are read, whatever folder of the zip holds the bundle."""
    names = [name for name in archive.namelist() if f"/{name}".endswith(f"/{METADATA}")]
    if len(names) != 1:
        raise BadModel("the zip does not hold one MONAI bundle", path=path,
                       found=", ".join(names) or f"no {METADATA}", expected=METADATA)  # fmt: skip
    top = PurePosixPath(names[0]).parents[1]
    present = set(archive.namelist())
    for name in (METADATA, *CONFIGURATIONS, WEIGHTS, TORCHSCRIPT):
        if str(top / name) in present:
            member = archive.getinfo(str(top / name))
            try:  # what is copied ends at the size that the archive claims
                refuse_expansion(path, packed=path.stat().st_size, unpacked=member.file_size)
            except BadScan as error:
                raise BadModel("the zip is not unpacked", path=path, found=error) from None
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target)
