"""Books and recipes go out and come back; what is damaged is refused in words."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any
from unicodedata import category
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipelines.book import (
    FORMAT_VERSION,
    GENERATED_NOTE,
    Book,
    Page,
    Recipe,
    encode_png,
    new_id,
    now,
    picture_name,
    read_recipe,
)
from pipelines.errors import InvalidInput
from tests.storage.books import make_book, weird_books

RECIPE = Recipe("a fox", 7, {"pictures": "tiny"}, {"steps": 3, "start": "noise", "seed": 7})

settings_values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
recipes = st.builds(
    Recipe,
    prompt=st.text(max_size=60),
    seed=st.integers(0, 2**31 - 1),
    models=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    settings=st.dictionaries(st.text(max_size=5), settings_values | st.text(max_size=5)),
)


def pictures_of(book: Book) -> dict[str, bytes]:
    return {picture_name(n): p.picture for n, p in enumerate(book.pages) if p.picture is not None}


# book.json


@given(weird_books)
@settings(deadline=None)
def test_a_book_comes_back_from_json(book: Book) -> None:
    text = json.dumps(book.to_json())
    assert Book.from_json(json.loads(text), pictures_of(book)) == book


def test_json_holds_names_of_pictures_not_pictures() -> None:
    book = make_book(pages=2)
    book = book.with_page(0, Page("Not painted."))
    data = book.to_json()
    assert [p["picture"] for p in data["pages"]] == [None, "page-02.png"]
    assert data["version"] == FORMAT_VERSION


def test_a_newer_book_is_refused() -> None:
    data = make_book().to_json() | {"version": FORMAT_VERSION + 1}
    with pytest.raises(InvalidInput, match=f"format {FORMAT_VERSION + 1}.*newer.*update"):
        Book.from_json(data, pictures_of(make_book()))


@pytest.mark.parametrize("field", ["version", "title", "pages", "id", "created"])
def test_a_missing_field_is_named(field: str) -> None:
    data = make_book().to_json()
    del data[field]
    with pytest.raises(InvalidInput, match=field):
        Book.from_json(data, pictures_of(make_book()))


@pytest.mark.parametrize(
    "damage",
    [
        {"version": "soon"},
        {"version": float("inf")},
        {"pages": None},
        {"pages": 5},
        {"pages": ["text"]},
        {"pages": [{}]},
        {"pages": [{"text": "A fox.", "score": "high"}]},
        {"pages": [{"text": "A fox.", "picture": "page-77.png"}]},
        {"pages": [{"text": "A fox.", "picture": ["page-01.png"]}]},
        {"pages": [{"text": "A fox.", "recipe": {"prompt": "a fox"}}]},
        {"recipe": "burn after reading"},
    ],
)
def test_a_damaged_book_is_refused(damage: dict[str, Any]) -> None:
    book = make_book()
    with pytest.raises(InvalidInput, match="cannot be read"):
        Book.from_json(book.to_json() | damage, pictures_of(book))


@pytest.mark.parametrize("data", [[], "book", None, 7])
def test_json_of_something_else_is_refused(data: Any) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        Book.from_json(data, {})
    with pytest.raises(InvalidInput, match="cannot be read"):
        Recipe.from_json(data)


# pages


def test_with_page_replaces_one_page() -> None:
    book, page = make_book(pages=3), Page("New words.")
    for n in range(3):
        changed = book.with_page(n, page)
        assert changed.pages == (*book.pages[:n], page, *book.pages[n + 1 :])
        assert (changed.id, changed.title, changed.owner) == (book.id, book.title, book.owner)
    assert page not in book.pages


@pytest.mark.parametrize("index", [-1, 3])
def test_with_page_knows_its_pages(index: int) -> None:
    with pytest.raises(IndexError):
        make_book(pages=3).with_page(index, Page("Beyond."))


def test_the_cover_is_the_first_painted_page() -> None:
    book = make_book(pages=3)
    assert book.cover is book.pages[0]
    assert book.with_page(0, Page("Not painted.")).cover is book.pages[1]
    assert Book("Empty", (Page("Not painted."),)).cover is None


def test_an_unpainted_page_has_no_image() -> None:
    with pytest.raises(InvalidInput, match="paint it first"):
        Page("Not painted.").image()
    assert make_book().pages[0].image().size == (16, 16)


def test_ids_differ_and_text_order_of_times_is_time_order() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000
    times = [now() for _ in range(100)]
    assert times == sorted(times)


# PNG


@given(recipes, st.text(max_size=80), st.binary(min_size=12, max_size=12))
@example(RECIPE, "می\u200cخواهم \u2028\x00\ufffe", bytes(12))
@settings(deadline=None)
def test_a_picture_keeps_pixels_caption_and_recipe(
    recipe: Recipe, caption: str, pixels: bytes
) -> None:
    picture = Image.frombytes("RGB", (2, 2), pixels)
    png = encode_png(picture, recipe, caption)
    assert read_recipe(png) == recipe
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert image.tobytes() == pixels
        text: dict[str, str] = image.text  # type: ignore[attr-defined]
    assert text["Description"] == caption
    assert text["Comment"] == GENERATED_NOTE
    assert text["DigitalSourceType"].endswith("trainedAlgorithmicMedia")
    xmp = ElementTree.fromstring(text["XML:com.adobe.xmp"].partition("?>")[2])
    told = {e.tag.rpartition("}")[2]: e.text or "" for e in xmp.iter()}
    assert told["DigitalSourceType"] == text["DigitalSourceType"]
    gone = ("Cc", "Cs", "Cn")
    assert told["li"] == "".join(" " if category(c) in gone else c for c in caption)


def test_a_picture_without_recipe_does_not_claim_one() -> None:
    png = encode_png(Image.new("RGB", (2, 2)))
    assert read_recipe(png) is None
    assert GENERATED_NOTE.encode() not in png


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a PNG"):
        read_recipe(data)


def test_a_picture_cut_short_is_refused() -> None:
    png = encode_png(Image.effect_noise((64, 64), 50).convert("RGB"), RECIPE, "A fox.")
    for end in range(0, len(png) - 200, 97):
        with pytest.raises(InvalidInput):
            read_recipe(png[:end])


@given(st.data())
@settings(deadline=None)
def test_a_damaged_picture_never_fails_in_another_way(data: st.DataObject) -> None:
    """It gives a recipe, none, or InvalidInput."""
    png = bytearray(encode_png(Image.new("RGB", (8, 8)), RECIPE, "A fox."))
    for _ in range(data.draw(st.integers(1, 4))):
        png[data.draw(st.integers(0, len(png) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(InvalidInput):  # any other exception fails the test
        read_recipe(bytes(png))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        '{"prompt": "a fox"}',
        '{"prompt": "a fox", "seed": "many", "models": {}, "settings": {}}',
        '{"prompt": "a fox", "seed": 1e999, "models": {}, "settings": {}}',
        '{"prompt": "a fox", "seed": 1, "models": "tiny", "settings": {}}',
        '{"prompt": "a fox", "seed": 1, "models": {}, "settings": 5}',
        pytest.param("[" * 100_000, id="nested"),
    ],
)
def test_a_damaged_recipe_is_refused(text: str) -> None:
    info = PngInfo()
    info.add_itxt("storybrush", text)
    out = io.BytesIO()
    Image.new("RGB", (2, 2)).save(out, "PNG", pnginfo=info)
    with pytest.raises(InvalidInput, match="recipe"):
        read_recipe(out.getvalue())


def test_a_picture_too_large_to_open_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    png = encode_png(Image.new("RGB", (64, 64)), RECIPE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # above twice this Pillow refuses
    with pytest.raises(InvalidInput, match="too large"):
        read_recipe(png)
