"""A user without a name or a home, as containers have them, is given a place for caches."""

import os
import pwd

from medseg.cli.environment import settle_user


def nobody(monkeypatch, tmp_path):
    for name in ("HOME", "USER", "LOGNAME", "USERNAME", "LNAME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_a_user_that_no_table_knows_gets_a_name_and_a_home(monkeypatch, tmp_path):
    nobody(monkeypatch, tmp_path)
    settle_user()
    folder = tmp_path / f"medseg-{os.getuid()}"
    assert os.environ["USER"] == "medseg"
    assert os.environ["HOME"] == os.environ["XDG_CACHE_HOME"] == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_usual_user_keeps_everything(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "someone")
    before = dict(os.environ)
    settle_user()
    assert dict(os.environ) == before
