"""Environment variables that must be set before Python starts; standard library only.

glibc gives big blocks back to the system when they are freed and faults them in again when the
next tensor needs them; on a CPU that alone makes training and segmenting up to 1.6 times
slower. The variables below keep the blocks. They are read once, when the C library starts, so
the heavy verbs replace their process once by the same command in the tuned environment.

Set ``MEDSEG_NO_REEXEC=1`` to switch that off; a variable that is already set is left alone.
"""

from __future__ import annotations

import getpass
import os
import platform
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

#: ``time.monotonic()`` at which a command began that starts processes to share its work.
STARTED = "MEDSEG_STARTED"

#: Verbs that run a network for minutes to days.
HEAVY_VERBS = ("train", "segment", "demo")

#: Marks a process that was already started in the tuned environment.
MARKER = "MEDSEG_ENVIRONMENT_TUNED"
#: Set by the user to keep the process as it was started.
SWITCH_OFF = "MEDSEG_NO_REEXEC"

_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(4 * 1024**3),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 1024**3),
    "MALLOC_TOP_PAD_": str(256 * 1024**2),
}
#: Idle threads sleep instead of spinning, so that two busy processes do not slow each other.
_THREADS = {"OMP_WAIT_POLICY": "passive"}


def settle_user() -> None:
    """Give a user without a name or a writable home, as containers have them, what libraries ask.

    Caches then go to a folder of the user's own in the temporary folder.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["USER"] = "medseg"
    try:
        home = Path.home()
    except RuntimeError:
        home = None
    if home is not None and os.access(home, os.W_OK):
        return
    folder = _own_folder()
    if home is None:
        os.environ["HOME"] = folder
    os.environ.setdefault("XDG_CACHE_HOME", folder)
    os.environ.setdefault("MPLCONFIGDIR", folder)


def _own_folder() -> str:
    """The same one every time, unless somebody else has taken its name."""
    try:
        path = Path(tempfile.gettempdir()) / f"medseg-{os.getuid()}"
        path.mkdir(mode=0o700, exist_ok=True)
        if path.stat().st_uid == os.getuid() and not path.is_symlink():
            return str(path)
        return tempfile.mkdtemp(prefix="medseg-")
    except OSError:
        sys.exit("medseg: error: no temporary folder can be written. Set TMPDIR to one.")


def restart_in_utf8() -> None:
    """Replace this process by the same command with names of files in UTF-8, whatever the locale.

    A locale that is neither UTF-8 nor plain C, or C where Python was told to take it by its word,
    would not let it spell a name such as ``Müller``. Returns where nothing is to do.
    """
    if sys.getfilesystemencoding().lower() in ("utf-8", "utf8") or sys.flags.ignore_environment:
        return
    if os.environ.get(SWITCH_OFF) or not sys.executable:
        return
    with suppress(OSError):  # names in ASCII work all the same
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, command, os.environ | {"PYTHONUTF8": "1"})


def tuned_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment (this process's by default) with what is missing for speed added."""
    current = dict(os.environ if environment is None else environment)
    wanted = dict(_THREADS)
    if platform.libc_ver()[0] == "glibc":
        wanted |= _ALLOCATOR
    return wanted | current


def command_started(verb: str) -> float:
    """``time.monotonic()`` when the command of this verb began, the start of Python included.

    Where the verb is a step of a longer program, that is now.
    """
    if STARTED in os.environ:
        return float(os.environ[STARTED])
    now = time.monotonic()
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    if not words or words[0] != verb or not sys.platform.startswith("linux"):
        return now
    try:
        # the 22nd field of a process's state; the second, its name, may hold anything
        state = Path("/proc/self/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        born = int(state[19]) / os.sysconf("SC_CLK_TCK")
        return now - (time.clock_gettime(time.CLOCK_BOOTTIME) - born)
    except (OSError, ValueError, IndexError):
        return now


def is_restarted() -> bool:
    """Whether this process is a command that `restart_tuned` has started, not a longer program."""
    return MARKER in os.environ


def restart_tuned(arguments: Sequence[str] | None = None) -> None:
    """Replace this process once by the same command in the tuned environment.

    Returns without doing anything outside Linux, for light verbs, when asked not to
    (``MEDSEG_NO_REEXEC``), when it was already done, and when nothing is missing.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    verb = next((word for word in words if not word.startswith("-")), "")
    if not sys.platform.startswith("linux") or verb not in HEAVY_VERBS:
        return
    if os.environ.get(SWITCH_OFF) or os.environ.get(MARKER) or not sys.executable:
        return
    environment = tuned_environment()
    if environment == dict(os.environ):
        return
    command = [sys.executable, *sys.orig_argv[1:]]
    with suppress(OSError):  # untuned is slower, not wrong
        os.execve(sys.executable, command, environment | {MARKER: "1"})
