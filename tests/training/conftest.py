"""What the tests of training share."""

import pytest


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures of validated scans, which take more time than the steps."""
    monkeypatch.setattr("medseg.training.watch.picture_of", lambda *_: b"\x89PNG")
