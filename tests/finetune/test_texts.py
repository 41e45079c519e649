"""Texts of all kinds, read, cleaned, split and packed."""

import json
import random
import zipfile
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data.cleaning import CleaningReport, clean, tidy, without_boilerplate, word_count
from finetune.data.documents import Columns, Document, decode, read_file, read_source
from finetune.data.packing import pack
from finetune.data.recipes import gather, shares_of, sources
from finetune.data.retelling import RUN, encode, plain, runs, short_sentences, widened_lexicon
from finetune.data.splitting import COMMON, groups, split_documents, split_sources
from pipelines.errors import InvalidInput
from pipelines.scene import parse_brief
from pipelines.story_decoding import LONGEST_SENTENCE
from pipelines.tokenizer import END, load_tokenizer

WORDS = (
    "the small fox ran over a hill and saw an owl that sat in an old tree near the river while "
    "rain fell softly upon green fields where sheep and cows slept until morning came again with "
    "golden light on every leaf of the forest and children laughed as they played with a red ball"
).split()


def prose(seed: int, words: int = 60) -> str:
    """Sentences of English words that no other seed gives."""
    rng = random.Random(seed)
    sentences = list[str]()
    while sum(len(s.split()) for s in sentences) < words:
        said = " ".join(rng.choices(WORDS, k=10))
        sentences.append(said[:1].upper() + said[1:] + ".")
    return " ".join(sentences)


def documents(count: int, words: int = 60) -> list[Document]:
    return [Document(prose(n, words), f"Story {n}", f"{n}.txt") for n in range(count)]


def read(path: Path, columns: Columns | None = None) -> tuple[list[Document], dict[str, str]]:
    refused = dict[str, str]()
    found = list(read_source(str(path), lambda w, y: refused.update({w: y}), columns))
    return found, refused


# Readers


def epub(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as book:
        book.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        )
        book.writestr(
            "OPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf"><manifest>'
            '<item id="n" href="nav.xhtml" properties="nav"/><item id="b" href="two.xhtml"/>'
            '<item id="a" href="one.xhtml"/></manifest>'
            '<spine><itemref idref="n"/><itemref idref="a"/><itemref idref="b"/></spine></package>',
        )
        book.writestr("OPS/nav.xhtml", "<html><body><p>Contents</p></body></html>")
        book.writestr("OPS/one.xhtml", "<html><head><title>x</title></head><body><h1>The Fox</h1>"
                      "<p>A fox\n ran &amp; hid.</p><p>It rained.</p></body></html>")  # fmt: skip
        book.writestr("OPS/two.xhtml", "<html><body><h2>The Owl</h2><p>An owl.</p></body></html>")
    return path


def test_every_kind_of_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "the_red_hen.txt").write_text("A hen sat.")
    (tmp_path / "m.md").write_text("---\na: b\n---\n# The *Owl*\n\nAn **owl**\nflew.\n\n- Away.\n")
    (tmp_path / "c.csv").write_text('title,text\nFox,"A fox, ""red"".\nIt ran."\n')
    (tmp_path / "l.jsonl").write_text('{"text": "One.", "split": "test"}\n\n{"text": "Two."}\n')
    rows = [{"story": "A cow.", "name": "Cow"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    epub(tmp_path / "e.epub")
    (tmp_path / "README.md").write_text("About these.")
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    found, refused = read(tmp_path)
    texts = {d.title: d.text for d in found}
    assert texts["The red hen"] == "A hen sat."
    assert texts["The Owl"] in ("An owl flew.\n\nAway.", "An owl.")
    assert {d.text for d in found} >= {"An owl flew.\n\nAway.", "An owl.", "One.", "Two.", "A cow."}
    assert texts["Fox"] == 'A fox, "red".\nIt ran.'
    assert texts["Cow"] == "A cow."
    assert texts["The Fox"] == "A fox ran & hid.\n\nIt rained."
    assert [d.split for d in found if d.text == "One."] == ["test"]
    assert "x" not in texts
    assert {Path(w).name for w in refused} == {"README.md", "x.png"}


def test_tables_of_spreadsheets_have_semicolons(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('"name, or title";title;text\n1;Fox;"A fox; red, and quick."\n')
    (found,), _ = read(path)
    assert (found.title, found.text) == ("Fox", "A fox; red, and quick.")


def test_chapters_of_a_book_are_named_by_addresses(tmp_path: Path) -> None:
    book = epub(tmp_path / "a.epub")
    with zipfile.ZipFile(book) as old:
        files = {n: old.read(n) for n in old.namelist()}
    package = files["OPS/book.opf"].replace(b"one.xhtml", b"../Text/The%20fox.xhtml")
    with zipfile.ZipFile(book, "w") as new:
        for name, data in (files | {"OPS/book.opf": package}).items():
            new.writestr(name.replace("OPS/one.xhtml", "Text/The fox.xhtml"), data)
    found, refused = read(book)
    assert [d.title for d in found] == ["The Fox", "The Owl"]
    assert refused == {}


def test_a_data_set_of_several_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = list[tuple[object, ...]]()

    def load(*args: object, split: str | None = None, **more: object) -> list[dict[str, str]]:
        asked.append((*args, split))
        return [{"text": "A fox."}]

    monkeypatch.setattr(datasets, "load_dataset", load)
    for name in ("o/n", "o/n:train", "o/n/raw-v1:train[:9]"):
        assert [d.text for d in read_source(name, lambda w, y: None)] == ["A fox."]
    assert asked == [("o/n", None, None), ("o/n", None, "train"), ("o/n", "raw-v1", "train[:9]")]
    with pytest.raises(InvalidInput, match="no file or folder"):
        list(read_source("o/n/raw-v1", lambda w, y: None))


def test_columns_go_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,body,text,head\n1,the body,the text,the head\n")
    (found,), _ = read(path, Columns("body", "head"))
    assert (found.text, found.title) == ("the body", "the head")
    found, refused = read(path, Columns("story"))
    assert found == []
    assert "no column “story” (columns here: id, body, text, head)" in str(refused)


@pytest.mark.parametrize(
    "name, data, why",
    [
        ("a.txt", b"", "empty"),
        ("a.txt", b"\x7fELF\0\0\1\2" * 40, "binary"),
        ("a.epub", b"PK\3\4 broken", "no EPUB"),
        ("a.parquet", b"PAR1 broken", "no parquet"),
        ("a.jsonl", b"{broken\n", "no JSON"),
        ("a.json", b"[" * 100_000, "no JSON"),
        ("a.jsonl", b"[" * 100_000, "no JSON"),
        ("a.json", b"[broken", "no JSON"),
        ("a.csv", b"n,m\n1,2\n", "no column"),
        ("a.docx", b"x", "of this kind"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(
    tmp_path: Path, name: str, data: bytes, why: str
) -> None:
    (tmp_path / name).write_bytes(data)
    found, refused = read(tmp_path)
    assert found == []
    assert why in " ".join(refused.values())


def test_other_encodings_are_read_and_said(tmp_path: Path) -> None:
    text = "Der Bär saß müde am Fluß und aß süße Nüsse. " * 6
    (tmp_path / "a.txt").write_bytes(text.encode("cp1252"))
    (tmp_path / "b.txt").write_bytes(text.encode("utf-16"))
    found, refused = read(tmp_path)
    assert [d.text for d in found] == [text, text]
    assert ["not UTF-8" in why for why in refused.values()] == [True]


@pytest.mark.parametrize("text, encoding", [
    ("It’s a fox’s “den”. " * 5, "cp1252"),
    ("The café by the sea was cheap — no, “quite dear”, said the fox to the owl.", "cp1252"),
    ("Příliš žluťoučký kůň úpěl ďábelské ódy. " * 6, "cp1250"),
    ("A kis róka hűvös őszi erdőben kereste a gyümölcsöt, és örült. " * 5, "cp1250"),
    ("Жила-была лиса в лесу. " * 9, "cp1251"),
])  # fmt: skip
@pytest.mark.parametrize("before", ["", "A fox ran home. " * 5000])
def test_a_letter_is_read_wherever_it_stands(text: str, encoding: str, before: str) -> None:
    assert decode((before + text).encode(encoding)) == (before + text, encoding)


def test_a_broken_byte_costs_no_other_letter() -> None:
    found, encoding = decode("Müde Bären. ".encode() * 9 + b"\xff" + "Süße Nüsse.".encode())
    assert (found, encoding) == ("Müde Bären. " * 9 + "Süße Nüsse.", "damaged UTF-8")


def test_a_name_that_is_nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="no file or folder"):
        read(tmp_path / "nothing.txt")
    for library in ("huggingface_hub.constants", "datasets.config"):  # read from the environment
        monkeypatch.setattr(f"{library}.HF_HUB_OFFLINE", True)
    with pytest.raises(InvalidInput, match="hf download --repo-type dataset nobody/stories"):
        list(read_source("nobody/stories", lambda w, y: None))


# Cleaning

GUTENBERG = """The Project Gutenberg eBook of Foxes

Title: Foxes

*** START OF THE PROJECT GUTENBERG EBOOK FOXES ***

Produced by Somebody
and others

[Illustration: a fox]

{text}

12

*** END OF THE PROJECT GUTENBERG EBOOK FOXES ***
Section 1. General Terms of Use
"""


def test_boilerplate_goes(tmp_path: Path) -> None:
    text = "A _fox_ lived here."
    assert tidy(without_boilerplate(GUTENBERG.format(text=text))) == "A fox lived here."
    (tmp_path / "pg1.txt").write_text(GUTENBERG.format(text=text))
    assert next(read_file(tmp_path / "pg1.txt", lambda w, y: None)).title == "Foxes"


@pytest.mark.parametrize(
    "text",
    [
        prose(1, 18_000).replace(".", "").lower(),
        "\n".join(prose(n, 10).rstrip(".").lower() for n in range(600)),
        "".join(
            random.Random(0).choices("从前有一只狐狸住在森林里它想学会飞于是去找猫头鹰", k=4000)
        ),
        "".join(random.Random(0).choices("从前有一只狐狸住在森林里它想学会飞。", k=4000)),
    ],
    ids=["one line", "verse", "no spaces", "Chinese sentences"],
)
def test_a_text_without_sentence_ends_is_cut_all_the_same(text: str) -> None:
    parts = split_documents([Document(text)])
    found = [*parts.train, *parts.validation, *parts.test]
    assert len(found) > 3
    assert parts.validation
    assert max(word_count(d.text) for d in found) < 900
    ordered = sorted(found, key=lambda d: int(d.origin.rpartition(" ")[2]))
    assert "".join("".join(d.text for d in ordered).split()) == "".join(text.split())


@pytest.mark.parametrize(
    "language, text",
    [
        ("zh", "从前有一只小狐狸住在森林里。它想学会飞，于是去找猫头鹰。"
               "猫头鹰说：你没有翅膀，不能飞！小狐狸很难过。"),
        ("ja", "むかしむかし、森に小さな狐が住んでいました。"
               "狐は空を飛びたいと思い、ふくろうをたずねました。"),
        ("th", "กาลครั้งหนึ่งนานมาแล้วมีสุนัขจิ้งจอกตัวเล็กอาศัยอยู่ในป่าและมันอยากบินได้เหมือนนกจึงไปหานกฮูก"),
    ],
)  # fmt: skip
def test_scripts_without_spaces_are_prose(language: str, text: str) -> None:
    for asked in (language, ""):
        report = CleaningReport("x")
        assert clean([Document(8 * text), Document(text)], report, language=asked), report.lines()
        assert report.kept == 2
    report = CleaningReport("x")
    assert not clean([Document(text), Document(text[:12])], report)
    assert any("too short" in why for why in report.refused)
    assert any(f"its language is “{language}”" in why for why in report.refused)


def test_hard_wrapped_lines_are_joined_and_verses_are_not() -> None:
    wrapped = "This line is as long as the lines of a printed page,\nand this is where it ends."
    assert tidy(wrapped) == wrapped.replace("\n", " ")
    verse = "Twinkle, twinkle, little star,\nHow I wonder what you are."
    assert tidy(verse) == verse


def test_the_report_says_what_was_refused_and_why() -> None:
    german = "Der kleine Fuchs lief über den Hügel und sah eine Eule, die auf einem Baum saß. " * 3
    mine = documents(8)
    footer = "Read more stories on our page."
    mine = [Document(f"{d.text}\n\n{footer}", d.title, d.origin) for d in mine]
    bad = [
        Document(mine[0].text.replace(" ", "  "), "", "again.txt"),
        Document("A fox.", "", "short.txt"),
        Document("x" * 100_000, "", "line.txt"),
        Document("1 2 3 4 5 6 7 8 9, " * 40, "", "digits.txt"),
        Document(german, "", "german.txt"),
    ]
    report = CleaningReport("tests")
    kept = clean([*mine, *bad], report)
    assert [d.origin for d in kept] == [d.origin for d in mine]
    assert not any(footer in d.text for d in kept)
    told = "\n".join(report.lines())
    for name, why in (("again.txt is 0.txt", "twice"), ("short.txt", "too short"),
                      ("line.txt", "without spaces"), ("digits.txt", "digits"),
                      ("german.txt", "“de”, not “en”")):  # fmt: skip
        assert any(name in line and why in line for line in told.split("\n")), (name, why, told)
    assert (report.read, report.kept) == (13, 8)
    assert clean([bad[-1]], CleaningReport("tests"), language="") != []
    json.dumps(report.values())


# The split


def test_near_duplicates_are_one_group() -> None:
    whole = prose(1, 400)
    words = whole.split()
    changed = " ".join(w if n % 40 else "elephant" for n, w in enumerate(words))
    part = " ".join(words[150:300])
    other = prose(2, 400)
    found = groups([Document(t) for t in (whole, other, changed, part)])
    assert found[0] == found[2] == found[3] != found[1]


def test_no_near_duplicate_is_learned_and_tested() -> None:
    mine = documents(150)
    again = [Document(d.text.replace("fox", "cat"), d.title, "copy of " + d.origin) for d in mine]
    split = split_documents([*mine, *again])
    side = {d.origin: d.split for d in (*split.train, *split.validation, *split.test)}
    assert len(side) == 300
    assert all(side[d.origin] == side["copy of " + d.origin] for d in mine)
    assert len(split.test) >= 4
    assert len(split.validation) >= 4
    assert split.near_duplicates == 300


def test_many_variants_of_one_text_are_one_group() -> None:
    words = prose(1, 120).split()
    many = [Document(" ".join([f"Name{n}", *words, f"End{n}"])) for n in range(COMMON + 5)]
    assert len(set(groups(many))) == 1
    formula = "Once upon a time there was a fox who lived in a wood."
    told = [Document(f"{formula} {prose(n, 80)}") for n in range(COMMON + 5)]
    assert len(set(groups(told))) == len(told)


def test_what_one_source_holds_out_no_other_teaches(tmp_path: Path) -> None:
    first, rest = documents(150), [Document(prose(n)) for n in range(200, 260)]
    again = [Document(d.text.replace("fox", "cat"), d.title) for d in first]
    one, two = split_sources([first, [*again, *rest]])
    assert [d.text for d in one.test] == [d.text for d in split_documents(first).test]
    sides = {d.title: d.split for d in (*one.train, *one.validation, *one.test)}
    copies = [d for d in (*two.train, *two.validation, *two.test) if d.title]
    assert len(copies) == 150
    assert all(d.split == sides[d.title] for d in copies)
    assert any(not d.title for d in two.test)  # its own texts are held out, too
    assert (one.near_duplicates, two.near_duplicates) == (150, 150)
    *_, few = split_sources([first, [Document(one.train[0].text + " The end.")]])
    assert [d.split for d in few.train] == ["train"]  # what is left has no side of its own
    for name, texts in (("a", first), ("b", rest[:1])):
        (tmp_path / name).mkdir()
        for n, d in enumerate(texts):
            (tmp_path / name / f"{n}.txt").write_text(d.text)
    with pytest.raises(InvalidInput, match="“b”: There is too little"):
        gather(sources([str(tmp_path / "a"), str(tmp_path / "b")]))


def test_the_sides_that_rows_ask_for_are_kept() -> None:
    mine = [Document(d.text, split="test" if n < 5 else "train")
            for n, d in enumerate(documents(60))]  # fmt: skip
    leaked = Document(mine[0].text + " The end.", split="train")
    split = split_documents([*mine, leaked])
    assert {d.text for d in split.test} == {*(d.text for d in mine[:5]), leaked.text}
    assert split.validation


def test_one_long_text_is_cut_and_nothing_lost() -> None:
    text = "\n\n".join(prose(n, 300) for n in range(12))
    split = split_documents([Document(text, origin="book.txt")])
    parts = [*split.train, *split.validation, *split.test]
    assert sorted(w for d in parts for w in d.text.split()) == sorted(text.split())
    assert split.test
    with pytest.raises(InvalidInput, match="too little text"):
        split_documents([Document(prose(1))])


# Blocks


@given(st.lists(st.lists(st.integers(1, 99), max_size=40)), st.integers(2, 30))
def test_packing_loses_no_token(texts: list[list[int]], block: int) -> None:
    stream = [0] + [t for ids in texts for t in [*ids, 0]]
    packed = pack(texts, block, 0)
    # Each token but the very first is a target once, in its order.
    assert [t for b in packed for t in b[1:]] == stream[1:]
    assert all(len(b) == block for b in packed[:-1])
    assert all(len(b) >= 2 for b in packed)
    assert all(a[-1] == b[0] for a, b in pairwise(packed))


# As the embedded writer reads it


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**16), st.integers(1, 400))
def test_every_sentence_is_told_once_in_the_grammar(seed: int, words: int) -> None:
    document = Document(prose(seed, words), "A “title”", str(seed))
    lexicon = set(WORDS) | {"a"}
    told = list(runs(document, lexicon))
    assert [s.text for r in told for s in r.sentences] == short_sentences(document.text)
    for run in told:
        assert len(run.sentences) <= RUN[1]
        for s in run.sentences:
            parse_brief(s.brief)
        for ids, skip in encode(run, 512):
            assert (
                load_tokenizer().decode(ids[:skip], skip_special_tokens=False).endswith("<title>")
            )
            assert ids[-1] == load_tokenizer().token_to_id(END)
    assert told == list(runs(document, lexicon))


def test_long_sentences_are_ended_before() -> None:
    text = "He walked, " * 60 + "and then; he was home."
    parts = short_sentences(text)
    assert [w.strip(",.;").lower() for p in parts for w in p.split()] == [
        w.strip(",.;").lower() for w in text.split()
    ]
    assert all(len(load_tokenizer().encode(p).ids) <= LONGEST_SENTENCE for p in parts)
    assert all(p.endswith(".") for p in parts)


def test_plain_signs_and_new_words() -> None:
    assert plain("“Go on…”") == '"Go on..."'
    texts = [Document(f"The gaucho rode home {n}.") for n in range(3)]
    assert widened_lexicon({"fox", "Mia"}, texts) == ["Mia", "fox", "gaucho", "home", "rode"]


# Recipes


def test_recipes_find_their_files(tmp_path: Path) -> None:
    rows = [{"title": f"T{n // 2}", "text": f"A girl waves to dog number {n}."} for n in range(60)]
    (tmp_path / "picture_captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    art = [{"title": d.title, "text": d.text, "split": "test" if n < 3 else "train"}
           for n, d in enumerate(documents(40))]  # fmt: skip
    (tmp_path / "art_descriptions.jsonl").write_text("\n".join(map(json.dumps, art)))
    (source,) = sources([str(tmp_path)], ["paintings"])
    ((split, report),) = gather([source])
    assert report.read == 70  # captions of one title are one text
    assert len(split.test) == 3
    with pytest.raises(InvalidInput, match=r"“plots” reads movie_plots.jsonl"):
        sources([str(tmp_path)], ["plots"])
    with pytest.raises(InvalidInput, match="nothing of this kind is in more/texts"):
        sources([str(tmp_path), "more/texts"], ["paintings"])


def test_sources_of_one_name_are_told_apart() -> None:
    found = sources(["a/texts", "b/texts", "c/tales.txt"])
    assert [s.kind for s in found] == ["a/texts", "b/texts", "tales.txt"]


def test_weights_of_a_mix() -> None:
    assert shares_of([30, 10], ()) == [30, 10]
    assert shares_of([30, 10], (1, 3)) == [10, 30]
    with pytest.raises(InvalidInput, match="--mix"):
        shares_of([30, 10], (1,))
