"""What all tests share: one thread a process, repeatable examples, the place of real scans."""

import os
import tempfile

# Before anything imports numpy, torch or ITK: pytest runs several processes on few cores.
for _variable in (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# The index of scans seen before belongs to the user; tests keep one of their own.
os.environ.setdefault("MEDSEG_CACHE", os.path.join(tempfile.gettempdir(), "medseg-tests"))  # noqa: PTH118

from pathlib import Path
from types import SimpleNamespace

import hypothesis
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

#: How often a property is tried; `make test-all` tries it 300 times.
EXAMPLES = int(os.environ.get("MEDSEG_EXAMPLES", "25"))
# No deadline: a busy machine is not a fault. Derandomised: the same commit gives the same answer.
hypothesis.settings.register_profile(
    "medseg", max_examples=EXAMPLES, deadline=None, derandomize=True
)
hypothesis.settings.load_profile("medseg")


def shared_data_folder() -> Path:
    """The folder of real scans: ``MEDSEG_SHARED_DATA``, else ``shared/data`` beside the repository.

    It may be absent; tests use the ``shared_data`` fixture, scripts look for themselves.
    """
    named = os.environ.get("MEDSEG_SHARED_DATA")
    return Path(named) if named else REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scans; the test is skipped where this machine has none."""
    folder = shared_data_folder()
    if not folder.is_dir():
        pytest.skip("no real scans here: set MEDSEG_SHARED_DATA to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top of the checkout."""
    return REPOSITORY


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of ``convert`` start as copies of this process, as they do for a user.

    A user's process has one thread when they start. Here a library may have left a second one
    behind, and then every worker would be a new Python that imports all over again.
    """
    from medseg.batch import process

    monkeypatch.setattr(process, "threading", SimpleNamespace(active_count=lambda: 1))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked ``gpu`` on a machine without one."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device here")
