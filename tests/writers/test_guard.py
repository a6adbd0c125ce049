"""What medseg did not write, or what was edited since, stays; an input always."""

import os
from pathlib import Path

import pytest

from medseg.errors import BadOutput
from medseg.writers.atomic import atomic_file, atomic_path
from medseg.writers.guard import RECORD, FileRecord, guard_outputs


def by_path(path, text):
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def by_file(path, text):
    with atomic_file(path) as file:
        file.write(text.encode())


@pytest.fixture(params=[by_path, by_file], ids=["by path", "by file"])
def write(request):
    return request.param


def run(folder, write, text, *, verb="plan", name="plan.yaml", **options):
    """One run of a verb that writes one file."""
    with guard_outputs(folder, verb, claims=[name], **options):
        write(folder / name, text)


def test_a_verb_replaces_what_it_wrote(tmp_path, write):
    for text in ("one", "two", "three"):
        run(tmp_path, write, text)
        assert (tmp_path / "plan.yaml").read_text() == text


def foreign(path):
    path.write_text("mine")


def edited(path):
    run(path.parent, by_path, "medseg's")
    path.write_text("mine")


def of_another_verb(path):
    run(path.parent, by_path, "mine", verb="evaluate")


def linked(path):
    path.with_name("elsewhere").write_text("mine")
    path.symlink_to("elsewhere")


def older(path):
    for text in ("mine", "two", "three"):
        run(path.parent, by_path, text)
    path.write_text("mine")


@pytest.mark.parametrize("stand", [foreign, edited, of_another_verb, linked, older])
def test_what_is_not_its_own_is_refused_before_the_work_and_stays(tmp_path, write, stand):
    path = tmp_path / "plan.yaml"
    stand(path)
    with (
        pytest.raises(BadOutput, match="--overwrite"),
        guard_outputs(tmp_path, "plan", claims=["plan.yaml"]),
    ):
        pytest.fail("the work had begun")
    with pytest.raises(BadOutput), guard_outputs(tmp_path, "plan"):
        write(path, "medseg's")
    assert path.read_text() == "mine"
    run(tmp_path, write, "asked for", overwrite=True)
    assert path.read_text() == "asked for"
    run(tmp_path, write, "its own again")


def test_an_input_is_never_replaced(tmp_path, write):
    path = tmp_path / "plan.yaml"
    run(tmp_path, write, "its own")
    for name in (path, tmp_path / "." / "plan.yaml"):
        with pytest.raises(BadOutput, match="input"):
            run(tmp_path, write, "other", inputs=[name], overwrite=True)
    hard = tmp_path / "second name"
    os.link(path, hard)
    with pytest.raises(BadOutput, match="input"):
        run(tmp_path, write, "other", inputs=[hard], overwrite=True)
    assert path.read_text() == "its own"


def test_a_folder_in_the_way_is_refused_before_the_work(tmp_path):
    (tmp_path / "plan.yaml").mkdir()
    with (
        pytest.raises(BadOutput, match="a folder stands"),
        guard_outputs(tmp_path, "plan", claims=["plan.yaml"], overwrite=True),
    ):
        pass


@pytest.mark.parametrize("name", ["n" * 300, "file/below/it"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadOutput, match="cannot be written"), guard_outputs(tmp_path / name, "x"):
        pass


def test_a_file_edited_in_place_is_no_more_medsegs_than_before(tmp_path, write):
    path = tmp_path / "plan.yaml"
    path.write_text("mine")
    run(tmp_path, write, "mine, divided", in_place=["plan.yaml"], inputs=[path])
    with pytest.raises(BadOutput):
        run(tmp_path, write, "medseg's")
    run(tmp_path, write, "medseg's", overwrite=True)
    run(tmp_path, write, "divided", in_place=["plan.yaml"])
    run(tmp_path, write, "medseg's again")


def test_a_run_may_write_a_file_as_often_as_it_likes(tmp_path, write):
    with guard_outputs(tmp_path, "train"):
        for text in ("one", "two"):
            write(tmp_path / "deep" / "curves.csv", text)
    assert (tmp_path / "deep" / "curves.csv").read_text() == "two"
    run(tmp_path, write, "three", verb="train", name="deep/curves.csv")


def test_a_crash_between_record_and_rename_loses_nothing(tmp_path, write, monkeypatch):
    run(tmp_path, write, "whole")

    def crash(self, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", crash)
        run(tmp_path, write, "lost")
    assert (tmp_path / "plan.yaml").read_text() == "whole"
    run(tmp_path, write, "again")


def test_a_record_cut_off_by_a_crash_is_read_as_far_as_it_goes(tmp_path, write):
    run(tmp_path, write, "one")
    record = tmp_path / RECORD
    record.write_bytes(record.read_bytes() + b'["plan", "plan.ya')
    run(tmp_path, write, "two")
    run(tmp_path, write, "three")


def test_runs_that_end_between_record_and_rename_leave_their_file_their_own(tmp_path, write):
    run(tmp_path, write, "one")
    for never_in_place in "234":
        FileRecord(tmp_path, "plan").add("plan.yaml", never_in_place * 64)
    run(tmp_path, write, "five")


def test_a_folder_that_moves_takes_its_record_along(tmp_path, write):
    run(tmp_path / "here", write, "one")
    (tmp_path / "here").rename(tmp_path / "there")
    run(tmp_path / "there", write, "two")


def test_what_is_not_watched_is_left_alone(tmp_path, write):
    other = tmp_path / "other"
    other.write_text("old")
    with guard_outputs(tmp_path, "plan", patterns=["plan.yaml"]):
        write(other, "new")
    assert other.read_text() == "new"
    assert not (tmp_path / RECORD).exists()
