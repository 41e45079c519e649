"""Texts out of whatever a person has: files, folders of them, data sets of the hub.

txt, Markdown, csv and tsv, JSON lines, parquet and EPUB are read. What cannot be read is not an
error of the run: `refuse(where, why)` is told, and the reading goes on.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import posixpath
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from pipelines.errors import InvalidInput
from pipelines.hub import hub_reached, is_path, short

Refuse = Callable[[str, str], None]
"""Told where something lies that is not taken, and why."""

TEXT_COLUMNS = ("text", "story", "plot", "description", "content", "body", "summary", "caption")
"""Tried in this order where no column is named."""
TITLE_COLUMNS = ("title", "name", "heading")
ABOUT = re.compile(r"(readme|licen[cs]e|copying|attribution|credits)\b", re.IGNORECASE)
"""Files that tell of a folder's texts and are none."""
CONFIGURED = re.compile(r"[\w.-]+/[\w.-]+/[\w.-]+:\w[^/]*")
"""One configuration of a data set of the hub: what has no split behind it is a path."""
MAX_CHAPTER = 50_000_000
"""Bytes of one chapter of an EPUB, unpacked."""
BINARY = 0.02
"""A file with a larger share of control characters is no text."""
FOREIGN = 0.03
"""Share of letters beyond ASCII from which on a language has an alphabet of its own."""


@dataclass(frozen=True)
class Document:
    """One text: what is split, and never cut in two by the split."""

    text: str
    title: str = ""
    origin: str = ""
    """File, and row or chapter in it, for the report."""
    split: str = ""
    """"train", "validation" or "test", where its row says so."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are read; "" looks for the usual names."""

    text: str = ""
    title: str = ""
    split: str = "split"

    def document(self, row: Mapping[str, Any], origin: str) -> Document | str:
        """The row as a document, or why it is none."""
        column = self.text or next((c for c in TEXT_COLUMNS if c in row), "")
        if column not in row:
            found = ", ".join(map(str, row)) or "none"
            return f"no column “{self.text or 'text'}” (columns here: {found}); name it with --text"
        text = row[column]
        if not isinstance(text, str) or not text.strip():
            return "the text of the row is empty"
        title_column = self.title or next((c for c in TITLE_COLUMNS if c in row), "")
        split = str(row.get(self.split) or "")
        split = {"dev": "validation", "valid": "validation"}.get(split, split)
        known = split if split in ("train", "validation", "test") else ""
        return Document(text, str(row.get(title_column) or "").strip(), origin, known)


def read_source(source: str, refuse: Refuse, columns: Columns | None = None) -> Iterator[Document]:
    """Documents of a file, a folder or a data set of the hub, in a fixed order.

    Raises InvalidInput when there is nothing of that name.
    """
    columns = columns or Columns()
    path = Path(source).expanduser()
    if path.is_dir():
        yield from _read_folder(path, refuse, columns)
    elif path.is_file():
        yield from read_file(path, refuse, columns)
    elif not CONFIGURED.fullmatch(source) and (is_path(source) or path.suffix.lower() in READERS):
        raise InvalidInput(f"There is no file or folder “{source}”: check how it is written.")
    else:
        yield from _read_hub(source, refuse, columns)


def _read_folder(folder: Path, refuse: Refuse, columns: Columns) -> Iterator[Document]:
    for path in sorted(folder.rglob("*")):
        hidden = any(p.startswith(".") for p in path.relative_to(folder).parts)
        if not path.is_file() or hidden:
            continue
        if ABOUT.match(path.name):
            refuse(str(path), "tells of the folder and is no text of it")
        else:
            yield from read_file(path, refuse, columns)


def read_file(path: Path, refuse: Refuse, columns: Columns | None = None) -> Iterator[Document]:
    """Documents of one file, by the ending of its name."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        refuse(str(path), f"files of this kind are not read ({', '.join(READERS)} are)")
        return
    try:
        if path.stat().st_size == 0:
            refuse(str(path), "the file is empty")
            return
        yield from reader(path, refuse, columns or Columns())
    except _Unreadable as e:
        refuse(str(path), str(e))
    except OSError as e:
        refuse(str(path), f"the file cannot be read ({short(e)})")


class _Unreadable(Exception):
    """Why a file is no text of its kind."""


# --- text --------------------------------------------------------------------------------


def decode(data: bytes) -> tuple[str, str]:
    """A file's text and its encoding: UTF-8, UTF-16 with its mark, else the likeliest one.

    Raises _Unreadable for what is no text.
    """
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            try:
                return data.decode(encoding), encoding
            except UnicodeDecodeError:
                break
    head = data[:65536]
    control = sum(b < 32 and b not in b"\t\n\r\f\x1b" for b in head)
    if b"\0" in head or control > BINARY * len(head):
        raise _Unreadable("it is a binary file, not a text")
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as e:
        at = e.start  # all before it may be plain English, which tells nothing
    mended = data.decode("utf-8", errors="replace")
    broken = mended.count("\ufffd")
    if 10 * broken < len(mended) - len(mended.encode("ascii", errors="ignore")):
        return mended.replace("\ufffd", ""), "damaged UTF-8"
    encoding = _likeliest(data[max(at - 256, 0) : at + 65536])
    try:
        return data.decode(encoding), encoding
    except (UnicodeDecodeError, LookupError) as e:
        raise _Unreadable("its encoding is unknown: save it as UTF-8") from e


def _likeliest(sample: bytes) -> str:
    """The encoding of letters that are not UTF-8: where they are few, Windows' of Western Europe,
    as a few accents and curly quotes make sense in half a dozen."""
    from charset_normalizer import from_bytes

    if sum(b >= 0xA0 for b in sample) < FOREIGN * len(sample):
        return "cp1252"
    best = from_bytes(sample).best()
    return best.encoding if best else "cp1252"


def _text_of(path: Path, refuse: Refuse) -> str:
    text, encoding = decode(path.read_bytes())
    if not encoding.startswith("utf"):
        refuse(str(path), f"{NOTE} it is not UTF-8 and was read as {encoding}")
    return text


NOTE = "note:"
"""Begins a reason that refuses nothing."""


def _read_txt(path: Path, refuse: Refuse, columns: Columns) -> Iterator[Document]:
    text = _text_of(path, refuse)
    found = re.search(r"^Title: *(.+)$", text[:3000], re.MULTILINE)  # a Project Gutenberg header
    yield Document(text, found[1].strip() if found else _spoken(path.stem), str(path))


def _spoken(stem: str) -> str:
    """A file's name as a title: "the_red_hen" -> "The red hen"; numbers say nothing."""
    words = re.sub(r"[\W_]+", " ", stem).strip()
    return words[:1].upper() + words[1:] if re.search(r"[^\W\d]{3}", words) else ""


def _read_markdown(path: Path, refuse: Refuse, columns: Columns) -> Iterator[Document]:
    from markdown_it import MarkdownIt

    text = re.sub(r"\A---\n.*?\n---\n", "", _text_of(path, refuse), flags=re.DOTALL)
    paragraphs, title, heading = list[str](), "", False
    for token in MarkdownIt("commonmark").parse(text):
        heading = token.type == "heading_open" or (heading and token.type != "heading_close")
        if token.type == "inline":
            line = "".join(
                " " if c.type in ("softbreak", "hardbreak") else c.content
                for c in token.children or ()
                if c.type in ("text", "code_inline", "softbreak", "hardbreak")
            ).strip()
            if heading:
                title = title or line
            elif line:
                paragraphs.append(line)
    yield Document("\n\n".join(paragraphs), title or _spoken(path.stem), str(path))


# --- tables ------------------------------------------------------------------------------


def _rows(
    rows: Iterable[tuple[str, Mapping[str, Any]]], refuse: Refuse, columns: Columns
) -> Iterator[Document]:
    for origin, row in rows:
        found = columns.document(row, origin)
        if isinstance(found, str):
            refuse(origin, found)
        else:
            yield found


def delimiter_of(text: str, path: Path) -> str:
    """What stands between the columns of a csv or tsv: its first line tells."""
    names = re.sub(r'"[^"]*"', "", text.lstrip().split("\n", 1)[0])
    if path.suffix.lower() == ".tsv" or "\t" in names:
        return "\t"
    return ";" if names.count(";") > names.count(",") else ","


def _read_csv(path: Path, refuse: Refuse, columns: Columns) -> Iterator[Document]:
    text = _text_of(path, refuse)
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter_of(text, path))
        names = list(reader.fieldnames or ())
        rows = ((f"{path}, row {n}", {k: r[k] for k in names}) for n, r in enumerate(reader, 2))
        yield from _rows(rows, refuse, columns)
    except csv.Error as e:
        raise _Unreadable(f"its rows cannot be read ({e})") from e


def _read_json_lines(path: Path, refuse: Refuse, columns: Columns) -> Iterator[Document]:
    def rows() -> Iterator[tuple[str, Mapping[str, Any]]]:
        text = _text_of(path, refuse)
        if path.suffix.lower() == ".json":
            try:
                whole = json.loads(text)
            except (ValueError, RecursionError) as e:
                raise _Unreadable(f"it is no JSON ({e})") from e
            for n, row in enumerate(whole if isinstance(whole, list) else [whole], 1):
                yield f"{path}, row {n}", row if isinstance(row, dict) else {"text": row}
            return
        for n, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            origin = f"{path}, line {n}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                refuse(origin, "the line is no JSON")
                continue
            yield origin, row if isinstance(row, dict) else {"text": row}

    yield from _rows(rows(), refuse, columns)


def _read_parquet(path: Path, refuse: Refuse, columns: Columns) -> Iterator[Document]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def rows() -> Iterator[tuple[str, Mapping[str, Any]]]:
        n = 0
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                n += 1
                yield f"{path}, row {n}", row

    try:
        yield from _rows(rows(), refuse, columns)
    except pa.ArrowException as e:
        raise _Unreadable(f"it is no parquet file, or damaged ({short(e)})") from e


# --- books -------------------------------------------------------------------------------


class _Prose(HTMLParser):
    """Paragraphs and the first heading of a page of HTML."""

    BREAKS = frozenset("p div br li h1 h2 h3 h4 h5 h6 tr blockquote section hr".split())
    HIDDEN = frozenset("script style head table figure nav".split())

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.title = ""
        self._heading: list[str] | None = None
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in self.HIDDEN
        if tag in ("h1", "h2", "h3"):
            self._heading = []
        elif tag in self.BREAKS:
            self.pieces.append("\n" if tag == "br" else "\n\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(self._hidden - (tag in self.HIDDEN), 0)
        if self._heading is not None and tag in ("h1", "h2", "h3"):
            self.title = self.title or " ".join("".join(self._heading).split())
            self._heading = None
        elif tag in self.BREAKS:
            self.pieces.append("\n\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            into = self.pieces if self._heading is None else self._heading
            into.append(re.sub(r"\s+", " ", data))

    @property
    def text(self) -> str:
        lines = (line.strip() for line in "".join(self.pieces).split("\n"))
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _read_epub(path: Path, refuse: Refuse, columns: Columns) -> Iterator[Document]:
    """A document for each chapter, in reading order. Source: EPUB 3.3, sections 4.2.6.3 and 5."""
    try:
        with zipfile.ZipFile(path) as book:
            for name in _spine(book):
                if name not in book.namelist():
                    refuse(f"{path}, {name}", "the chapter is missing from the book")
                    continue
                if book.getinfo(name).file_size > MAX_CHAPTER:
                    refuse(f"{path}, {name}", "the chapter is too large to be one")
                    continue
                page = _Prose()
                page.feed(book.read(name).decode("utf-8", errors="replace"))
                page.close()
                if page.text:
                    yield Document(page.text, page.title, f"{path}, {name}")
    except (zipfile.BadZipFile, zlib.error, ElementTree.ParseError, LookupError, RuntimeError) as e:
        raise _Unreadable(f"it is no EPUB, or damaged ({short(e)})") from e


def _spine(book: zipfile.ZipFile) -> list[str]:
    """Names of the chapters in reading order, without the table of contents."""
    container = ElementTree.fromstring(book.read("META-INF/container.xml"))
    packages = [e.attrib["full-path"] for e in container.iter() if e.tag.endswith("}rootfile")]
    package_name = packages[0]
    package = ElementTree.fromstring(book.read(package_name))
    home = PurePosixPath(package_name).parent
    items = {e.attrib["id"]: e.attrib for e in package.iter() if e.tag.endswith("}item")}
    read = [items[e.attrib["idref"]] for e in package.iter() if e.tag.endswith("}itemref")]
    hrefs = [unquote(i["href"]) for i in read if "nav" not in i.get("properties", "")]
    return [posixpath.normpath(home / href) for href in hrefs]  # they are addresses: %20, ../


READERS: dict[str, Callable[[Path, Refuse, Columns], Iterator[Document]]] = {
    ".txt": _read_txt, ".md": _read_markdown, ".markdown": _read_markdown,
    ".csv": _read_csv, ".tsv": _read_csv,
    ".jsonl": _read_json_lines, ".ndjson": _read_json_lines, ".json": _read_json_lines,
    ".parquet": _read_parquet, ".epub": _read_epub,
}  # fmt: skip


# --- the hub -----------------------------------------------------------------------------


def _read_hub(source: str, refuse: Refuse, columns: Columns) -> Iterator[Document]:
    """A data set by its name on the hub: `OWNER/NAME`, `OWNER/NAME:SPLIT` or, where it has several
    configurations, `OWNER/NAME/CONFIGURATION:SPLIT`."""
    import datasets

    name, _, split = source.partition(":")
    owner, _, rest = name.partition("/")
    name, _, configuration = rest.partition("/")
    name = f"{owner}/{name}" if name else owner
    reached = hub_reached()
    try:
        found = datasets.load_dataset(
            name,
            configuration or None,
            split=split or None,
            download_config=datasets.DownloadConfig(local_files_only=not reached, max_retries=1),
        )
    except Exception as e:  # the client raises whatever it stumbles over
        why = short(e) if reached else "no hub is reached from here"
        raise InvalidInput(
            f"“{source}” is no file or folder here, and as a data set of the hub it is not to be "
            f"had ({why}). On a machine with internet run “hf download --repo-type dataset {name} "
            "--local-dir FOLDER”, copy that folder here and name it."
        ) from e
    parts: Mapping[Any, Iterable[Any]]
    parts = found if isinstance(found, dict) else {split.partition("[")[0] or "train": found}
    for part, rows in parts.items():
        named = (
            (f"{name}, {part} {n}", {"split": str(part), **dict(row)}) for n, row in enumerate(rows)
        )
        yield from _rows(named, refuse, columns)
