"""Models of one's own: what is handed in, the one training there is, and the models it leaves."""

from __future__ import annotations

import io
import json
import shutil
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import app
from pipelines.errors import InvalidInput, NotFound
from storage.memory import MemoryLibrary
from tests.ui.blocks import built
from ui import model_order, model_work, page
from ui.model_markup import curve, shelf, work
from ui.model_order import Order, Places, command, fitting_steps, missing, take_in
from ui.model_shelf import CARD, ModelShelf, check_name, slug_of
from ui.model_work import Moment, Record, Training
from ui.models import order_of
from ui.workshop import Workshop


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def model_at(folder: Path, kind: str = "writer", name: str = "Old tales") -> None:
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"123")
    (folder / CARD).write_text(json.dumps({"name": name, "kind": kind, "created": "2026-11-27"}))


# Names and settings


@pytest.mark.parametrize(
    "odd", ["", "  ", "../up", ".work", "a/b", "a\\b", "x" * 41, "-rf", "in-use.json", "a\0b"]
)
def test_a_name_is_never_a_path(odd: str) -> None:
    with pytest.raises(InvalidInput):
        check_name(odd)


def test_a_name_makes_one_folder_whatever_its_capitals() -> None:
    assert slug_of(check_name(" Grandmother's  tales ")) == "grandmothers-tales"
    assert slug_of(check_name("Märchen 2")) == slug_of("MÄRCHEN 2") == "märchen-2"


def test_settings_are_read_from_the_widgets() -> None:
    rest: Any = ("all", "en", True)
    found = order_of("writer", "Foxes", "", "old", 5, "", " 1e-3 ", "4", *rest)
    assert found == Order("writer", "Foxes", minutes=5, rate=1e-3, batch=4)
    assert Order.from_json(json.loads(json.dumps(found.to_json()))) == found
    for steps, rate in (("many", ""), ("-1", ""), ("", "7"), ("nan", "")):
        with pytest.raises(InvalidInput):
            order_of("writer", "Foxes", "", "", 5, steps, rate, "", *rest)
    with pytest.raises(InvalidInput, match="Choose what"):
        Order("dancer", "Foxes")


def test_a_writer_takes_the_steps_that_fit(tmp_path: Path) -> None:
    assert fitting_steps(10_000, 1.0, 10) == 510  # of 600 seconds some are for its stories
    assert fitting_steps(30, 1.0, 10) == 60  # no text is read more than twice as often as usual
    assert fitting_steps(100, 500.0, 1) == 4
    order, places = Order("writer", "Foxes", learns="lora"), Places(tmp_path)
    line = " ".join(command(order, places, ModelShelf(tmp_path), steps=51))
    assert "finetune.gpt2" in line
    assert "--steps 51" in line
    assert "--lora 8" in line
    with pytest.raises(NotFound):
        command(Order("painter", "Foxes", base="gone"), places, ModelShelf(tmp_path))


def test_a_model_of_any_folder_can_be_gone_on_from(tmp_path: Path) -> None:
    places, shelf = Places(tmp_path / ".work"), ModelShelf(tmp_path / "models")
    folder = tmp_path / "else where"
    with pytest.raises(InvalidInput, match="There is no folder"):
        command(Order("writer", "Foxes", base=str(folder)), places, shelf)
    folder.mkdir()
    line = command(order_of("writer", "Foxes", f" {folder} ", "", 5, "", "", "", "all", "en", True),
                   places, shelf)  # fmt: skip
    assert line[line.index("--base") + 1] == str(folder)
    with pytest.raises(NotFound):
        command(Order("writer", "Foxes", base="~nobody-here/models"), places, shelf)
    with pytest.raises(NotFound):  # where others get in, too
        Training(shelf).check(Order("writer", "Foxes", base=str(folder)), [])


# What is handed in


def zip_of(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/"), data)
    return path


def test_files_and_zips_are_taken_in_and_never_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "fox.txt").write_text("A fox.")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "fox.txt").write_text("Another fox.")
    archive = tmp_path / "more.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for name in ("../../owl.txt", "/etc/hen.txt", "deep/er/cat.txt", "__MACOSX/cat.txt",
                     ".hidden/x.txt", "empty/"):  # fmt: skip
            out.writestr(name, "words")
    given = [tmp_path / "fox.txt", tmp_path / "sub" / "fox.txt", archive]
    data = tmp_path / "work" / "data"
    assert take_in(given, data) == 4
    found = sorted(p.relative_to(data).as_posix() for p in data.rglob("*") if p.is_file())
    assert found == ["2/fox.txt", "cat.txt", "fox.txt", "hen.txt"]
    assert not any(p.exists() for p in given)  # nothing is left where they were uploaded


@pytest.mark.parametrize("data, why", [(b"no zip", "is no ZIP"), (b"", "nothing in it")])
def test_a_zip_that_is_none_or_empty_is_told(tmp_path: Path, data: bytes, why: str) -> None:
    if not data:
        empty = io.BytesIO()
        zipfile.ZipFile(empty, "w").close()
        data = empty.getvalue()
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(InvalidInput, match=why):
        take_in([tmp_path / "x.zip"], tmp_path / "data")
    with pytest.raises(InvalidInput, match="hand them in again"):
        take_in([tmp_path / "gone.txt"], tmp_path / "other")


def test_a_damaged_zip_is_told_and_long_names_are_cut(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fox.txt", "A fox ran over the hill. " * 99)
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[37:60] = b"\xff" * 23  # behind the header of 30 bytes and the name
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(InvalidInput, match="cannot be unpacked"):
        take_in([tmp_path / "x.zip"], tmp_path / "damaged")
    with zipfile.ZipFile(tmp_path / "long.zip", "w") as archive:
        for name in (300 * "狐" + ".png", 300 * "狐" + ".txt", 300 * "狐" + "a.txt"):
            archive.writestr(f"sub/{name}", "A fox.")
    assert take_in([tmp_path / "long.zip"], tmp_path / "data") == 3
    found = sorted(p for p in (tmp_path / "data").rglob("*") if p.is_file())
    assert {p.stem for p in found} == {66 * "狐"}
    assert sorted(p.suffix for p in found) == [".png", ".txt", ".txt"]


def test_too_much_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_order, "MOST_BYTES", 2**30)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as out:
        info = zipfile.ZipInfo("bomb.txt")
        out.writestr(info, b"0" * 1000)
        out.getinfo("bomb.txt").file_size = 2**31
    with pytest.raises(InvalidInput, match="1 GB"):
        take_in([tmp_path / "bomb.zip"], tmp_path / "data")


def test_missing_packages_are_named_with_their_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_order.importlib.util, "find_spec", lambda name: None)
    assert [p.split("==")[0] for p in missing("writer")] == ["accelerate", "psutil", "py3langid"]
    assert all("==" in p for p in missing("painter"))
    assert any(p.startswith("peft==") for p in missing("writer", "lora"))
    assert not any(p.startswith("py3langid") for p in missing("writer", "all", "any"))


# The shelf


def test_what_is_in_use_is_remembered_until_it_is_deleted(tmp_path: Path) -> None:
    found = ModelShelf(tmp_path / "models")
    assert found.models == ()
    assert found.in_use("writer") is None
    model_at(tmp_path / "built")
    card = {"created": "2026-11-27T10:00:00+00:00", "figures": {"perplexity": 9.0}}
    model = found.add("Old tales", "writer", tmp_path / "built", card)
    with pytest.raises(InvalidInput, match="already"):
        found.refuse_taken("OLD tales")
    found.use("", model.slug)
    again = ModelShelf(tmp_path / "models")
    assert again.used("writer") == "old-tales"
    assert ModelShelf(tmp_path / "models", ["writer"]).used("writer") == ""
    names = zipfile.ZipFile(io.BytesIO(again.zipped("old-tales"))).namelist()
    assert names == [f"old-tales/{CARD}", "old-tales/weights"]
    assert "In use" in shelf(again)
    assert "9 now" in shelf(again)
    again.delete("old-tales")
    assert again.used("writer") == ""
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["in-use.json"]
    for slug in ("old-tales", "..", "in-use.json"):
        with pytest.raises(NotFound):
            again.delete(slug)


def test_a_model_that_was_removed_by_hand_is_said_to_be_gone(tmp_path: Path) -> None:
    model_at(tmp_path / "old-tales")
    found = ModelShelf(tmp_path)
    found.use("", "old-tales")
    (tmp_path / "old-tales" / CARD).unlink()
    with pytest.raises(NotFound, match="choose another"):
        found.in_use("writer")
    (tmp_path / "old-tales" / CARD).write_text("{ damaged")
    assert ModelShelf(tmp_path).models == ()


def test_the_whole_app_writes_with_the_model_in_use(tmp_path: Path) -> None:
    from pipelines.weights import EMBEDDED

    home = tmp_path / "books" / "models" / "foxes"
    model_at(home, name="Foxes")
    for file in (EMBEDDED / "story").iterdir():
        (home / file.name).symlink_to(file)
    shop = app.workshop(app.parser().parse_args(["--library", str(tmp_path / "books")]))
    assert shop.training is not None
    assert shop.writer().name == "embedded"
    shop.training.shelf.use("", "foxes")
    assert shop.writer().name == "Foxes"  # and no folder of this machine, as recipes travel
    assert shop.writer() is shop.writer()
    shop.training.shelf.use("writer", "")
    assert shop.writer().name == "embedded"
    shop.close()


# The training


CHILD = """
import json, pathlib, signal, sys, time
home, mode = pathlib.Path(sys.argv[1]), sys.argv[2]
note = lambda **e: (home / "events.jsonl").open("a").write(json.dumps(e) + "\\n")
out = home / "out"
def write():
    out.mkdir(exist_ok=True)
    (out / "training.json").write_text(json.dumps(
        {"perplexity": 9.5, "before": {"perplexity": 20.0}}))
if mode == "dry":
    texts = [p.read_text() for p in (home / "texts").iterdir()]
    if any("bad" in t for t in texts):
        sys.exit(f"That is too little text: not 2 sequences.\\n{home}/texts/x.txt: (--language "
                 "any takes all)")
    note(event="plan", steps=50, seconds=0.1)
    note(event="data", lines=["texts: 1 of 1 texts kept"])
    sys.exit()
def stop(*_):
    write()
    sys.exit()
signal.signal(signal.SIGTERM, stop)
note(event="step", step=1, of=4, metrics={"loss": 3.0}, eta=5.0)
note(event="story", step=1, words="a <fox>", text="The <fox>")
while not (home.parent / "go").exists():
    time.sleep(0.02)
write()
note(event="done", folder=str(out), figures={})
"""


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Training]:
    """One whose command trains until the file `go` is there."""

    def line(order: Order, places: Places, shelf: ModelShelf, **more: Any) -> list[str]:
        mode = "dry" if more.get("dry") else "train"
        return [sys.executable, "-c", CHILD, str(places.home), mode]

    monkeypatch.setattr(model_work, "command", line)
    monkeypatch.setattr(model_work, "LOOK_EVERY", 0.02)
    found = Training(ModelShelf(tmp_path / "models"))
    yield found
    found.close()


def checked(training: Training, tmp_path: Path, text: str = "A fox.", name: str = "Foxes") -> None:
    (tmp_path / "x.txt").write_text(text)
    training.check(Order("writer", name), [tmp_path / "x.txt"])
    until(lambda: training.moment().stage not in ("checking",))


def running(training: Training, tmp_path: Path) -> None:
    checked(training, tmp_path)
    training.start()
    until(lambda: "asked for" in work(training.moment()))


def test_texts_become_a_model_that_is_used_at_once(training: Training, tmp_path: Path) -> None:
    checked(training, tmp_path)
    now = training.moment()
    assert (now.stage, now.steps) == ("checked", 100)
    assert "1 of 1 texts kept" in work(now)
    training.start()
    until(lambda: "asked for" in work(training.moment()))
    assert "The &lt;fox&gt;" in work(training.moment())
    with pytest.raises(InvalidInput, match="One training at a time"):
        training.check(Order("writer", "Others"), [tmp_path / "x.txt"])
    (tmp_path / "models" / "go").touch()
    until(lambda: training.moment().stage == "none")
    assert "is ready" in training.moment().news
    (model,) = training.shelf.models
    assert (model.name, model.card["figures"], model.card["before"]) == (
        "Foxes", {"perplexity": 9.5}, {"perplexity": 20.0})  # fmt: skip
    assert training.shelf.used("writer") == "foxes"
    assert not training.places.home.exists()  # what was handed in is gone


def test_a_training_that_is_stopped_goes_on_or_is_kept(training: Training, tmp_path: Path) -> None:
    running(training, tmp_path)
    training.stop()
    until(lambda: training.moment().stage == "stopped")
    assert training.moment().trouble == ""
    training.start()
    until(lambda: training.moment().stage == "running")
    time.sleep(0.3)  # until its own handler of SIGTERM is there
    training.stop()
    until(lambda: training.moment().stage == "stopped")
    assert "Keep it as it is" in work(training.moment())
    training.keep()
    assert [m.name for m in training.shelf.models] == ["Foxes"]
    assert training.moment().stage == "none"


def test_what_is_of_no_use_is_said_in_words(training: Training, tmp_path: Path) -> None:
    checked(training, tmp_path, "bad")
    now = training.moment()
    assert now.stage == "none"
    assert "too little text" in now.trouble
    assert "“Any language” under Advanced" in now.trouble
    assert str(tmp_path) not in now.trouble
    assert not training.places.home.exists()
    with pytest.raises(InvalidInput, match="nothing to start"):
        training.start()


def test_a_killed_training_can_go_on(training: Training, tmp_path: Path) -> None:
    running(training, tmp_path)
    assert training._process is not None
    training._process.send_signal(signal.SIGKILL)
    until(lambda: training.moment().stage == "stopped")
    assert "memory ran out" in training.moment().trouble
    with pytest.raises(InvalidInput, match="Nothing was learned yet"):
        training.keep()
    training.discard()
    assert training.moment().stage == "none"
    assert not training.places.home.exists()


def test_a_disk_that_is_full_is_told(training: Training, tmp_path: Path) -> None:
    running(training, tmp_path)
    assert training._process is not None
    training._process.send_signal(signal.SIGBUS)
    until(lambda: training.moment().stage == "stopped")
    assert "the disk is full: free some space" in training.moment().trouble


def test_a_model_that_is_gone_on_from_is_not_deleted(training: Training, tmp_path: Path) -> None:
    for slug in ("old-tales", "others"):
        model_at(tmp_path / "models" / slug)
    training.shelf.refresh()
    (tmp_path / "x.txt").write_text("A fox.")
    training.check(Order("writer", "Foxes", base="old-tales"), [tmp_path / "x.txt"])
    until(lambda: training.moment().stage == "checked")
    training.delete("others")
    with pytest.raises(InvalidInput, match="“Foxes” goes on from this model"):
        training.delete("old-tales")
    training.start()
    until(lambda: "asked for" in work(training.moment()))
    shutil.rmtree(tmp_path / "models" / "old-tales")  # by hand, and nothing is lost
    (tmp_path / "models" / "go").touch()
    until(lambda: training.moment().stage == "none")
    (model,) = training.shelf.models
    assert (model.name, model.card["base"]) == ("Foxes", "old-tales")


def test_the_next_app_finds_the_training_again(training: Training, tmp_path: Path) -> None:
    running(training, tmp_path)
    other = Training(training.shelf)  # as after a crash of the app: the process lives on
    assert other.moment().stage == "elsewhere"
    with pytest.raises(InvalidInput, match="One training"):
        other.check(Order("writer", "Others"), [tmp_path / "x.txt"])
    training.close()
    other.look()
    now = other.moment()
    assert now.stage == "stopped"
    assert now.order == Order("writer", "Foxes")
    assert now.record is not None
    assert now.record.steps == {("", 1): {"loss": 3.0}}
    assert now.result
    other.discard()


def test_two_apps_with_the_same_models_do_not_spoil_each_other_s_training(
    training: Training, tmp_path: Path
) -> None:
    other = Training(training.shelf)
    assert other.moment().stage == "none"
    running(training, tmp_path)
    (tmp_path / "y.txt").write_text("An owl.")
    with pytest.raises(InvalidInput, match="One training"):
        other.check(Order("writer", "Others"), [tmp_path / "y.txt"])
    assert other.moment().stage == "elsewhere"
    training.stop()
    until(lambda: training.moment().stage == "stopped")
    other.look()
    assert other.moment().stage == "stopped"
    other.start()
    for button in (training.start, training.keep, training.discard):
        with pytest.raises(InvalidInput, match="One training"):
            button()
    assert training.moment().stage == "elsewhere"
    other.close()
    other.discard()
    training.look()
    assert training.moment() == Moment()
    checked(training, tmp_path)  # what waits here is no other app's to clear away either
    with pytest.raises(InvalidInput, match="waits here"):
        other.check(Order("writer", "Others"), [tmp_path / "y.txt"])


def test_a_folder_that_was_left_half_made_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".work" / "data").mkdir(parents=True)
    assert Training(ModelShelf(tmp_path)).moment() == Moment()
    assert not (tmp_path / ".work").exists()


# The page


def test_the_curve_stands_whatever_the_figures() -> None:
    record = Record(Path("nowhere"))
    assert curve(record) == ""
    record.steps = {("codes", n): {"loss": 1 / n, "psnr": 20.0} for n in range(1, 900)}
    record.steps |= {("sharpen", n): {"loss": 0.5} for n in range(2, 6, 2)}
    drawn = curve(record)
    assert "step 903" in drawn  # phases follow one another
    assert drawn.count("<circle") < 300
    record.steps = {("", 1): {"loss": float("inf")}, ("", 2): {"loss": 2.0, "validation": 2.0}}
    assert "nan" not in curve(record)


@pytest.mark.parametrize(
    "given, there",
    [
        ([], True),
        (["--host", "0.0.0.0"], False),
        (["--share"], False),
        (["--auth", "ada:secret"], False),
        (["--admin", "a long secret"], False),
        (["--review", "--admin", "a long secret"], False),
        (["--admin", "a long secret", "--models"], True),
        (["--host", "0.0.0.0", "--models"], True),
        (["--no-models"], False),
    ],
)
def test_the_page_is_there_where_only_this_computer_gets_in(
    tmp_path: Path, given: list[str], there: bool
) -> None:
    shop = app.workshop(app.parser().parse_args(["--library", str(tmp_path), *given]))
    assert (shop.training is not None) == there
    shop.close()


def test_the_environment_switches_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORYBRUSH_MODELS", "0")
    assert app.parser().parse_args([]).models is False
    monkeypatch.setenv("STORYBRUSH_MODELS", "1")
    assert app.parser().parse_args(["--share"]).models is True
    monkeypatch.delenv("STORYBRUSH_MODELS")
    monkeypatch.setenv("SPACE_ID", "ada/storybrush")
    assert not app.for_one_computer(app.parser().parse_args([]))


def test_the_tab_is_part_of_the_page_only_then(tmp_path: Path) -> None:
    def nothing() -> Any:
        raise AssertionError("no model is needed here")

    plain = Workshop(nothing, nothing, MemoryLibrary())
    assert "Your models" not in str(built(lambda: page.build(plain)).config)
    model_at(tmp_path / "models" / "foxes", name="Foxes of mine")
    own = Workshop(
        nothing, nothing, MemoryLibrary(), training=Training(ModelShelf(tmp_path / "models"))
    )
    config = str(built(lambda: page.build(own)).config)
    assert "Your models" in config
    assert "Foxes of mine" not in config  # which goes to everybody
    assert str(tmp_path / "models") in own.private_folders()
