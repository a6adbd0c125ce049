"""The files of a MONAI bundle, in a folder or a zip."""

from __future__ import annotations

import lzma
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from medseg.config import load_yaml, parse_json
from medseg.errors import BadModel, BadScan, MedsegError
from medseg.files import read_text
from medseg.model_import.bundle_config import Configuration
from medseg.readers.limits import refuse_expansion
from medseg.scratch import scratch_folder

METADATA = "configs/metadata.json"
CONFIGURATIONS = tuple(f"configs/inference.{ending}" for ending in ("json", "yaml", "yml"))
WEIGHTS = "models/model.pt"
TORCHSCRIPT = "models/model.ts"


@contextmanager
def bundle_folder(path: Path) -> Iterator[Path]:
    """The folder of a bundle; of a zip, a temporary one with the files that are read.

    Raises:
        BadModel: it is no bundle.
    """
    if path.is_dir():
        yield _root(path)
        return
    with scratch_folder() as temporary:
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, path, temporary)
        except (
            OSError,
            EOFError,
            zipfile.BadZipFile,
            zlib.error,
            lzma.LZMAError,
            RuntimeError,
            NotImplementedError,
        ) as error:
            raise BadModel(
                "neither a folder nor a zip that can be read", path=path, found=error
            ) from None
        try:
            yield temporary
        except BadModel as error:  # the user knows the zip, not its copy
            place = str(error.path).replace(str(temporary), str(path))
            raise BadModel(
                error.problem,
                path=place,
                found=error.found,
                expected=error.expected,
                remedy=error.remedy,
            ) from None


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
    raise BadModel(
        "the bundle has no configuration of inference",
        path=folder,
        expected=" or ".join(CONFIGURATIONS),
    )


def weights_path(folder: Path, configuration: Configuration) -> Path:
    """Where the state dict lies: ``models/model.pt``, or what the configuration loads.

    Raises:
        BadModel: there is none, perhaps but TorchScript, which is a program.
    """
    if (folder / WEIGHTS).is_file():
        return folder / WEIGHTS
    if (named := _loaded(configuration)) and (folder / named).is_file():
        return folder / named
    if (folder / TORCHSCRIPT).is_file():
        raise BadModel(
            "the bundle has its weights only as TorchScript, which is a program, and none is run",
            path=folder / TORCHSCRIPT,
            expected=f"a state dict in {WEIGHTS}",
        )
    raise BadModel("the bundle has no weights", path=folder, expected=WEIGHTS)


def _loaded(configuration: Configuration) -> str:
    """The state dict that a ``CheckpointLoader`` loads, below the bundle; empty where unclear."""
    values = configuration.values
    handlers = values.get("handlers")
    loaders = [values.get("checkpointloader"), *(handlers if isinstance(handlers, list) else [])]
    root = values.get("bundle_root", ".")
    for loader in loaders:
        if isinstance(loader, Mapping) and loader.get("_target_") == "CheckpointLoader":
            try:
                path = configuration.plain(loader.get("load_path"), "load_path")
            except BadModel:
                continue
            place = PurePosixPath(str(path).removeprefix(str(root)).lstrip("/"))
            if place.suffix in (".pt", ".pth") and ".." not in place.parts:
                return str(place)
    return ""


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix != ".json":
            return load_yaml(path)
        content = parse_json(read_text(path))
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
    raise BadModel(
        "not one MONAI bundle",
        path=folder,
        found=", ".join(part.name for part in inner) or f"no {METADATA}",
        expected=f"{METADATA}, {CONFIGURATIONS[0]} and {WEIGHTS}",
    )


def _unpack(archive: zipfile.ZipFile, path: Path, folder: Path) -> None:
    """Copy the files that are read, whatever folder of the zip holds the bundle."""
    names = [name for name in archive.namelist() if f"/{name}".endswith(f"/{METADATA}")]
    if len(names) != 1:
        raise BadModel(
            "the zip does not hold one MONAI bundle",
            path=path,
            found=", ".join(names) or f"no {METADATA}",
            expected=METADATA,
        )
    top = PurePosixPath(names[0]).parents[1]
    present = set(archive.namelist())
    others = [name for name in present if PurePosixPath(name).suffix in (".pt", ".pth")]
    if str(top / WEIGHTS) in present:
        others = []
    inside = [str(PurePosixPath(n).relative_to(top)) for n in others if _is_below(n, top)]
    named = dict.fromkeys((METADATA, *CONFIGURATIONS, WEIGHTS, TORCHSCRIPT, *inside))
    members = {n: archive.getinfo(str(top / n)) for n in named if str(top / n) in present}
    unpacked = sum(member.file_size for member in members.values())
    try:  # what is copied ends at the size that the archive claims
        refuse_expansion(path, packed=path.stat().st_size, unpacked=unpacked)
    except BadScan as error:
        raise BadModel("the zip is not unpacked", path=path, found=error) from None
    for name, member in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, (folder / name).open("wb") as target:
            shutil.copyfileobj(source, target)


def _is_below(name: str, folder: PurePosixPath) -> bool:
    path = PurePosixPath(name)
    return path.is_relative_to(folder) and ".." not in path.parts and not path.is_absolute()
