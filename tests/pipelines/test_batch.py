"""Many books: what is asked for, the run on either engine, and going on where it stopped."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.batch.engines import Engine, LocalEngine
from pipelines.batch.jobs import Job, read_jobs
from pipelines.batch.run import BatchProgress, BookDone, BookFailed, PageNote, run
from pipelines.batch.shelf import Shelf
from pipelines.batch.work import Models, Worker, Write
from pipelines.book import Book, picture_name
from pipelines.errors import InvalidInput, ModelUnavailable
from pipelines.presets import PictureConfig
from tests.tiny_batch import QUICK, TinyModels

DEFAULTS = PictureConfig.from_settings(QUICK)


def jobs_of(folder: Path, *lines: object) -> list[Job]:
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(s if isinstance(s, str) else json.dumps(s) for s in lines))
    jobs, refused = read_jobs(path, DEFAULTS)
    assert refused == []
    return jobs


def pictures(shelf: Shelf, jobs: list[Job]) -> list[list[bytes | None]]:
    found = [shelf.find(job) for job in jobs]
    return [[page.picture for page in book.pages] for book in found if book is not None]


def make(jobs: list[Job], shelf: Shelf, engine: Engine, together: int = 1) -> list[object]:
    return list(run(jobs, shelf, engine, together=together))


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


# What is asked for


def test_a_line_is_words_or_json(tmp_path: Path) -> None:
    plain, full = jobs_of(
        tmp_path,
        "a fox",
        "# not this one",
        {"words": "an owl", "pages": 5, "style": "pencil", "seed": 3, "ban": ["the"], "steps": 2,
         "pull": 1, "enlarge": True, "augment": ["flip"]},
    )  # fmt: skip
    assert (plain.number, plain.story.words, plain.picture.steps) == (1, "a fox", 1)
    assert (full.number, full.story.sentences, full.story.ban) == (3, 5, ("the",))
    assert (full.picture.style, full.picture.steps, full.picture.seed) == ("pencil", 2, 3)
    assert plain.folder == "0001-a-fox"


def test_the_seed_follows_from_the_line_and_its_number(tmp_path: Path) -> None:
    first, second = jobs_of(tmp_path, "a fox", "a fox")
    again, _ = jobs_of(tmp_path, "a fox", "a fox")
    assert first == again
    assert first.story.seed != second.story.seed
    assert first.digest != second.digest


@pytest.mark.parametrize(
    "line, reason",
    [
        ("{", "no JSON"),
        ('{"words": "a fox", "colour": 1}', "no setting “colour”"),
        ('{"words": 7}', "is to be text"),
        ('{"words": "a fox", "pages": 99}', "Sentences must be from 4 to 12"),
        ('{"words": "a fox", "pages": "many"}', '“pages” is to be a whole number, not "many"'),
        ('{"words": "a fox", "pages": 4.5}', "“pages” is to be a whole number, not 4.5"),
        ('{"words": "a fox", "cutouts": 2.5}', "“cutouts” is to be a whole number"),
        ('{"words": "a fox", "steps": true}', "“steps” is to be a whole number, not true"),
        ('{"words": "a fox", "seed": 1.5}', "“seed” is to be a whole number"),
        ('{"words": "a fox", "width": "256"}', "“width” is to be a whole number"),
        ('{"words": "a fox", "pull": "0.5"}', "“pull” is to be a number"),
        ('{"words": "a fox", "pull": NaN}', "Pull must be from"),
        ('{"words": "a fox", "enlarge": "no"}', "“enlarge” is to be true or false"),
        ('{"words": "a fox", "augment": "flip"}', "“augment” is to be a list of texts"),
        ('{"words": "a fox", "ban": ["a", 7]}', "“ban” is to be a list of texts"),
        ('{"words": "a fox", "style": "oil"}', "no style"),
        ('{"words": "a fox", "start": "picture"}', "cannot begin from a picture"),
        ('{"words": "a fox", "start": "noise", "pull": 1}', "no picture to pull towards"),
        ('{"words": "a fox", "seed": -1}', "Seed must be"),
        (r'{"words": "a fox", "author": "\ud83d"}', "half of a character"),
        (json.dumps({"text": "A" + "h" * 600}), "Sentence 1 has 601 characters; 600 fit on a page"),
        ("{}", "words"),
    ],
)
def test_a_line_that_is_no_request_is_refused_and_the_others_are_read(
    tmp_path: Path, line: str, reason: str
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(f"a fox\n{line}\nan owl\n", encoding="utf-8")
    jobs, (refused,) = read_jobs(path, DEFAULTS)
    assert [job.number for job in jobs] == [1, 3]
    assert refused.number == 2
    assert reason in refused.reason


@pytest.mark.parametrize("data", [b"", b"\n# nothing\n", b"\xff\xfe"])
def test_a_file_without_requests_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match=r"prompts\.jsonl"):
        read_jobs(path, DEFAULTS)


def test_other_models_are_another_book_with_the_same_seed(tmp_path: Path) -> None:
    (plain,) = jobs_of(tmp_path, "a fox")
    path, found = tmp_path / "prompts.jsonl", list[Job]()
    changed = [{"preset": "full"}, {"vqgan": "a"}, {"clip": "a"}, {"story": "a"}]
    for models in (Models(), *(Models(**change) for change in changed)):
        found += read_jobs(path, DEFAULTS, models.named())[0]
    assert found[0] == plain  # what earlier versions began goes on
    assert len({job.digest for job in found}) == 5
    assert {job.story.seed for job in found} == {plain.story.seed}


def test_a_line_may_ask_for_drafts(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, {"words": "a fox", "pages": 4}, {"words": "an owl", "drafts": 3})
    books = [Worker(TinyModels()).do(Write(job)).book for job in jobs]
    assert [b.recipe.settings["drafts"] for b in books if b and b.recipe] == [1, 3]


# The run


def test_pages_of_different_books_are_painted_together(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, {"words": "a fox", "pages": 4}, {"words": "an owl", "pages": 5})
    events = make(jobs, Shelf(tmp_path / "a"), LocalEngine(TinyModels()), together=3)
    done = [e for e in events if isinstance(e, BookDone)]
    assert [e.job.number for e in done] == [1, 2]
    assert [len(e.book.pages) for e in done] == [4, 5]
    shares = [e.done / e.of for e in events if isinstance(e, BatchProgress)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert (tmp_path / "a" / "0002-an-owl" / picture_name(4)).is_file()
    assert (tmp_path / "a" / "0002-an-owl" / "index.html").is_file()


def test_what_went_otherwise_is_told_and_threads_are_those_asked_for(
    tmp_path: Path, two_threads: None
) -> None:
    jobs = jobs_of(tmp_path, {"text": "A fox ran. An owl flew.", "patience": 1, "steps": 400})
    events = make(jobs, Shelf(tmp_path / "shelf"), LocalEngine(TinyModels(), threads=1), together=2)
    notes = {e.index: e.note for e in events if isinstance(e, PageNote)}
    assert set(notes) == {0, 1}
    assert all("finished after" in note for note in notes.values())
    assert torch.get_num_threads() == 1


def test_a_book_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    wrong = {"text": "A fox ran. " * 4, "width": 128, "height": 1024, "steps": 0, "title": "big"}
    jobs = jobs_of(tmp_path, "ghost", {"words": "a fox", "pages": 4}, wrong)
    models = TinyModels()
    shelf = Shelf(tmp_path / "shelf")
    home = tmp_path / "shelf" / "0003-big"
    home.mkdir()
    (home / "book.json").write_text("{}")  # another's
    events = make(jobs, shelf, LocalEngine(models))
    failed = {e.job.number: e.reason for e in events if isinstance(e, BookFailed)}
    assert set(failed) == {1, 3}
    assert "no ghosts" in failed[1]
    assert "was made from other words" in failed[3]
    assert [e.job.number for e in events if isinstance(e, BookDone)] == [2]


def test_a_model_that_is_missing_ends_the_run_before_a_story_is_written(tmp_path: Path) -> None:
    class Missing(TinyModels):
        def painter(self) -> Any:
            raise ModelUnavailable("nothing.ckpt cannot be read.")

    jobs = jobs_of(tmp_path, "a fox", "an owl")
    shelf = Shelf(tmp_path / "shelf")
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        make(jobs, shelf, LocalEngine(Missing()))
    assert not [*shelf.folder.iterdir()]


def test_a_run_goes_on_where_another_was_stopped(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, {"words": "a fox", "pages": 4}, {"words": "an owl", "pages": 4})
    whole = Shelf(tmp_path / "whole")
    make(jobs, whole, LocalEngine(TinyModels()))

    shelf = Shelf(tmp_path / "shelf")
    stream = run(jobs, shelf, LocalEngine(TinyModels()))
    for event in stream:
        if isinstance(event, BatchProgress) and event.done >= 2:
            break
    stream.close()  # type: ignore[attr-defined]
    kept = pictures(shelf, jobs)
    assert 1 <= sum(p is not None for book in kept for p in book) < 8
    (tmp_path / "shelf" / jobs[0].folder / picture_name(0)).unlink()  # lost since

    events = make(jobs, shelf, LocalEngine(TinyModels()))
    assert len([e for e in events if isinstance(e, BookDone)]) == 2
    assert pictures(shelf, jobs) == pictures(whole, jobs)
    again = make(jobs, shelf, LocalEngine(TinyModels()))
    assert [e.before for e in again if isinstance(e, BookDone)] == [True, True]


@pytest.mark.parametrize("kept", [0, 100, -20])
def test_a_damaged_picture_is_painted_again(tmp_path: Path, kept: int) -> None:
    jobs = jobs_of(tmp_path, {"text": "A fox ran. An owl flew."})
    shelf = Shelf(tmp_path / "shelf")
    make(jobs, shelf, LocalEngine(TinyModels()))
    path = shelf.home(jobs[0]) / picture_name(1)
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    assert [p is None for p in pictures(shelf, jobs)[0]] == [False, True]
    make(jobs, shelf, LocalEngine(TinyModels()))
    assert path.read_bytes() == whole


def test_a_folder_that_was_made_and_no_more_is_begun(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, {"text": "A fox ran."})
    shelf = Shelf(tmp_path / "shelf")
    shelf.home(jobs[0]).mkdir()  # killed before anything was written
    assert [type(e) for e in make(jobs, shelf, LocalEngine(TinyModels()))][-1] is BatchProgress
    picture, book = (shelf.home(jobs[0]) / name for name in (picture_name(0), "book.json"))
    data = json.loads(book.read_text("utf-8"))
    picture.unlink()
    data["pages"][0]["recipe"]["settings"] |= {"sentence": "", "prompts": ":2"}
    book.write_text(json.dumps(data), "utf-8")
    failed, *_ = make(jobs, shelf, LocalEngine(TinyModels()))  # one that was damaged ends no run
    assert isinstance(failed, BookFailed)


def test_other_settings_do_not_touch_a_book(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    jobs = jobs_of(tmp_path, {"words": "a fox", "pages": 4, "seed": 1})
    make(jobs, shelf, LocalEngine(TinyModels()))
    before = pictures(shelf, jobs)
    others = jobs_of(tmp_path, {"words": "a fox", "pages": 4, "seed": 2})
    (event,) = make(others, shelf, LocalEngine(TinyModels()))
    assert isinstance(event, BookFailed)
    assert pictures(shelf, jobs) == before


# Ray


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves files to its processes
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_two_workers_of_ray_make_the_same_books_although_one_is_killed(
    tmp_path: Path, two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    from pipelines.batch import ray_engine
    from pipelines.batch.ray_engine import RayEngine

    monkeypatch.setattr(ray_engine, "POLL", 0.05)
    jobs = jobs_of(
        tmp_path, {"words": "a fox", "pages": 4}, {"words": "an owl", "pages": 4}, "ghost"
    )
    here, there = Shelf(tmp_path / "here"), Shelf(tmp_path / "there")
    make(jobs, here, LocalEngine(TinyModels(), threads=1))
    deadly = tmp_path / "killed"
    engine = RayEngine(TinyModels(deadly=str(deadly)), workers=2, threads=1)
    events = make(jobs, there, engine)
    told = [e for e in events if isinstance(e, BatchProgress)]
    assert len(told) > 3 + 8  # not only when something ends
    assert deadly.exists()
    assert sorted(e.job.number for e in events if isinstance(e, BookDone)) == [1, 2]
    (failed,) = [e for e in events if isinstance(e, BookFailed)]
    assert "no ghosts" in failed.reason
    assert pictures(there, jobs[:2]) == pictures(here, jobs[:2])


@pytest.mark.slow  # a second cluster, of two machines
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_machine_that_is_lost_leaves_its_work_to_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    from ray.cluster_utils import Cluster

    from pipelines.batch import ray_engine

    monkeypatch.setattr(ray_engine, "POLL", 0.05)
    monkeypatch.setenv("PYTHONPATH", str(ray_engine.ROOT))  # the cluster's processes inherit it
    monkeypatch.setattr(ray_engine, "ROOT", tmp_path)  # little to send
    jobs = jobs_of(tmp_path, *({"words": word, "pages": 4} for word in ("a fox", "an owl")))
    size: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    try:
        other = cluster.add_node(**size)
        engine = ray_engine.RayEngine(TinyModels(), address=str(cluster.address))
        assert engine.free == 2
        done: list[Job] = []
        for event in run(jobs, Shelf(tmp_path / "shelf"), engine):
            if isinstance(event, BatchProgress) and event.done >= 1 and other is not None:
                cluster.remove_node(other, allow_graceful=False)
                other = None
            elif isinstance(event, BookDone):
                done.append(event.job)
        assert sorted(job.number for job in done) == [1, 2]
    finally:
        cluster.shutdown()


def test_without_ray_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.batch.ray_engine import RayEngine
    from pipelines.errors import ModelUnavailable

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModelUnavailable, match="pip install ray"):
        RayEngine(TinyModels())


# The command


def test_the_command_makes_a_shelf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.batch import command

    monkeypatch.setattr(command, "Models", lambda *names: TinyModels())
    (tmp_path / "p.jsonl").write_text('{"words": "a <b>fox</b>", "pages": 4}\nghost\n{\n')
    options = ["--size", "128", "--steps", "1", "--cutouts", "1", "--candidates", "1"]
    given = [str(tmp_path / "p.jsonl"), "--out", str(tmp_path / "shelf"), *options]
    assert command.main(given) == 1
    told = capsys.readouterr()
    assert "1 of 3 books" in told.out
    assert "no ghosts" in told.out
    failed = (tmp_path / "shelf" / "failed.jsonl").read_text()
    assert [s for s in failed.splitlines() if not s.startswith("#")] == ["{", "ghost"]
    page = (tmp_path / "shelf" / "index.html").read_text()
    assert "0001-a-b-fox-b/index.html" in page
    assert "<b>" not in page
    book = json.loads((tmp_path / "shelf" / "0001-a-b-fox-b" / "book.json").read_text())
    assert len(Book.from_json(book, _pngs(tmp_path / "shelf" / "0001-a-b-fox-b")).pages) == 4


def _pngs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}
