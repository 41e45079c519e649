"""What one visitor works on: stories, their books, the job that runs. It outlives a page.

A page that is loaded again finds its desk by the browser's secret and the tab's own name; nobody
else has them. What a page shows is drawn from its desk (`ui/running.py`).
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.book import Book, Page
from pipelines.errors import InvalidInput
from pipelines.events import Draft, Sentence
from pipelines.presets import StoryConfig
from ui.jobs import COLOURING, GIVES_WAY, ONE_AT_A_TIME, Job, Jobs, Work
from ui.manuscript import Manuscript

if TYPE_CHECKING:
    from ui.easel import Easel

GRACE = 30.0
"""Seconds after which a visitor who closed the page counts as gone; their job ends then."""

KEEP_DESKS = 3600.0
"""Seconds that the desk of somebody who has gone is kept."""

LATE = 5.0
"""Seconds after which one who watches a job, and has not looked at it, is held for gone."""

FIRST_TAB = "story"

STARTED_AGAIN = (
    "Storybrush was started again in the meantime. Load this page again: your words and your "
    "drawing are kept, and finished pages are in the gallery."
)


@dataclass(frozen=True)
class Origin:
    """Where a story came from, unless its visitor wrote it."""

    draft: Draft
    config: StoryConfig


@dataclass(frozen=True)
class Tale:
    """One story: its words as they are now, and the book that is painted from them."""

    manuscript: Manuscript
    origin: Origin | None = None
    book: Book | None = None
    prompts: frozenset[str] = frozenset()
    """Those of its lines that are prompts with weights or phases, not plain text."""
    key: str = field(default_factory=lambda: secrets.token_hex(8))
    """What the editor calls it: of two stories one after another, a page may still send the first
    when the second lies there already."""

    @property
    def touched(self) -> bool:
        """Whether a person has put work into it: such a story is never replaced."""
        if self.origin is None or self.book is not None:
            return any(s.text for s in self.manuscript.sentences)
        return self.manuscript != Manuscript.from_draft(self.origin.draft)

    def to_value(self) -> dict[str, Any]:
        """What the editor shows of it."""
        return {**self.manuscript.to_value(), "of": self.key}


@dataclass(frozen=True)
class Reading:
    """The book that is open in the gallery."""

    book: Book
    waits: bool = False
    """Whether it waits for the administrator as it is."""
    to_delete: bool = False
    """Whether its visitor is being asked if it is to be deleted."""


@dataclass(frozen=True)
class Retry:
    """Page `index` (from 0) is being painted again; `new` is the other picture, if any."""

    index: int
    new: Page | None = None
    given: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the dialog's widgets said when it was asked for."""


@dataclass(eq=False)
class Desk:
    """Everything of one visitor in one browser tab. The lock guards what jobs change, too."""

    owner: str
    tab: str
    tales: tuple[Tale, ...] = ()
    chosen: int | None = None
    handed: dict[str, Any] = field(default_factory=lambda: Manuscript().to_value())
    """What the server last put into the editor; a person may have changed it there since."""
    lines: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """The last word on a tab by its name: (text, kind of `markup.status`)."""
    shown: str = FIRST_TAB
    """The tab that is open."""
    led_by: object | None = field(default=None, repr=False)
    """The visit whose person has opened that tab: others, of a tab that was duplicated, stay where
    they are. None where a job has opened it, or it was open when a page came."""
    reading: Reading | None = None
    book_film: tuple[Book, Path] | None = None
    """The last film of a whole book, and of which."""
    style: str | None = None
    """The one chosen for pages that are painted next; None: as it was when the page came."""
    keeps_films: bool = False
    """Whether the painting of pages is filmed."""
    films: dict[str, Path] = field(default_factory=dict[str, Path])
    """How pictures were painted, by `film.key_of`."""
    retry: Retry | None = None
    easel: Easel | None = None
    """The drawing that is coloured."""
    easel_before: Easel | None = None
    """The one that it has replaced."""
    asks_for_drawing: bool = False
    """Whether the browser is asked for the one that it may have kept: none is known here."""
    browsing: tuple[str, int] | None = None
    """Style and offset of the books on the shelf; None while others are looked up."""
    admin: bool = False
    """Whether this visitor has shown to be the administrator."""
    sessions: set[str] = field(default_factory=set[str])
    left: float = field(default_factory=time.monotonic)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _job: Job | None = None
    _earlier: tuple[Job, ...] = ()
    """Jobs before that one which have failed, and nobody was told, or may still fail."""

    @property
    def job(self) -> Job | None:
        """The job that waits or runs."""
        return None if self._job is None or self._job.done else self._job

    def job_of(self, *kinds: str) -> Job | None:
        """The job, if it is one of these kinds."""
        job = self.job
        return job if job is not None and job.kind in kinds else None

    @property
    def tale(self) -> Tale | None:
        """The story in the editor."""
        with self.lock:
            return None if self.chosen is None else self.tales[self.chosen]

    @property
    def book(self) -> Book | None:
        """The book of the story in the editor, with words and pages as they are there now: its
        pages have the numbers that the page shows."""
        tale = self.tale
        return tale.manuscript.revise(tale.book) if tale and tale.book else None

    def gone(self, grace: float) -> bool:
        """Whether no page has shown this desk for so many seconds."""
        return not self.sessions and time.monotonic() - self.left > grace

    def shows_no_secrets(self) -> None:
        """Another tab, perhaps of somebody else at this browser, takes the desk over: whoever was
        the administrator there has to show it again."""
        if self.admin and self.reading is not None and self.reading.waits:
            self.reading = None
        self.admin = False

    def show_story(self) -> None:
        """A button where there is nothing yet leads to where stories are begun."""
        self.shown = FIRST_TAB

    def leads_to(self, tab: str) -> None:
        """A job goes on in another tab, and its pages follow it."""
        self.shown, self.led_by = tab, None

    def begin(self, jobs: Jobs, kind: str, work: Work, grace: float = GRACE) -> Job:
        """A job at the end of the line.

        Raises: InvalidInput while there is one already that gives no way, or when the line is full.
        """
        with self.lock:
            self.refuse_while_busy()
            job, before = Job(kind, work, lambda: self.gone(grace), self.owner), self._job
            jobs.add(job)
            if before is not None:
                # In the same line, it colours the last strokes first, which the new one may need.
                if not (before.done or kind in COLOURING):
                    jobs.stop(before)
                kept = (j for j in (*self._earlier, before) if not j.done or j.error is not None)
                self._earlier = tuple(kept)
            self._job = job
        return job

    def refuse_while_busy(self) -> None:
        """Raises InvalidInput while a job runs or waits that gives no way to others."""
        job = self.job
        if job is not None and job.kind != GIVES_WAY:
            raise InvalidInput(ONE_AT_A_TIME)

    def bad_news(self) -> Exception | None:
        """Why a job has failed, the earliest first; told once."""
        with self.lock:
            jobs = (*self._earlier, *([] if self._job is None else [self._job]))
            job = next((job for job in jobs if job.done and job.error is not None), None)
            if job is None:
                return None
            self._earlier = tuple(j for j in self._earlier if j is not job)
            self._job = None if self._job is job else self._job
            return job.error

    def remember(self, value: object) -> None:
        """Take over the words as they stand in an editor, into the story that stood there, which
        need not be the chosen one any more; what cannot be read changes nothing."""
        key = value.get("of") if isinstance(value, Mapping) else None
        with self.lock:
            keys = [tale.key for tale in self.tales]
            at = keys.index(key) if key in keys else self.chosen if key is None else None
            if at is None:
                return
            with suppress(InvalidInput):
                self._put(replace(self.tales[at], manuscript=Manuscript.from_value(value)), at)

    def put_back(self, value: object) -> None:
        """Words that were changed in an editor until another story came into it: those of a story
        that lies here are taken over, of one that was given up it becomes a story of its own."""
        key = value.get("of") if isinstance(value, Mapping) else None
        with self.lock:
            if any(tale.key == key for tale in self.tales):
                self.remember(value)
                return
            with suppress(InvalidInput):
                self.tales = (*self.tales, Tale(Manuscript.from_value(value)))

    def shows_instead(self, sentence: Sentence, brief: str) -> None:
        """What the picture of a sentence shows was said in other words: the editor says so, too.

        Otherwise the sentence would seem to want another picture than it has.
        """
        with self.lock:
            tale = self.tale
            if tale is None or brief == sentence.brief:
                return
            told = tale.manuscript
            fresh = [replace(s, brief=brief) if s == sentence else s for s in told.sentences]
            tale = replace(tale, manuscript=replace(told, sentences=tuple(fresh)))
            self._put(tale, self.chosen)
            self.handed = tale.to_value()

    def keep_book(self, book: Book) -> None:
        """The story in the editor has become this book."""
        with self.lock:
            tale = self.tale
            if tale is not None:
                self._put(replace(tale, book=book), self.chosen)

    def add(self, tales: tuple[Tale, ...], choose: bool) -> None:
        """Put new stories first; of the others those stay that a person has worked on.

        With `choose` the first one goes into the editor; otherwise the story there stays.
        """
        with self.lock:
            chosen = self.tale
            self.tales = (*tales, *(t for t in self.tales if t.touched))
            self.chosen = None
            if choose and tales:
                self.choose(0)
            elif chosen is not None and chosen.touched:
                self.chosen = self.tales.index(chosen)
            else:
                self.handed = Manuscript().to_value()

    def choose(self, index: int) -> None:
        """Put a story into the editor, as it was when it was last there."""
        with self.lock:
            self.chosen = index
            self.handed = self.tales[index].to_value()

    def _put(self, tale: Tale, at: int | None) -> None:
        assert at is not None
        self.tales = (*self.tales[:at], tale, *self.tales[at + 1 :])


@dataclass
class Visit:
    """One page that shows a desk; `sent` is what it was last told, by component."""

    desk: Desk
    sent: dict[int, Any] = field(default_factory=dict[int, Any])
    ready: bool = True
    """False until the page has been told how its desk looks."""
    mounted: bool = False
    """Whether the page has said that its first tab is open, as every page does by itself."""
    left: float | None = None
    """When its page was closed, or has lost its connection."""
    heard: str = ""
    """The tab that the page has last said to be open."""
    goes: str = ""
    """The tab that what a person did leads to, until the page is told: it holds, whatever tab the
    page says to be open meanwhile, which was clicked before."""
    acting: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)
    """Held while somebody's event changes which tab the desk shows."""
    drawing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    """Held while the page is drawn: what is told last must be what was looked at last."""
    teller: object | None = None
    """Who watches the desk's job for this page, and alone tells it what changes: of two answers
    that are on their way at once, the older may arrive last, and would stay."""
    _looked: float = field(default=0.0, repr=False, compare=False)
    _asks: bool = field(default=False, repr=False, compare=False)

    def gone(self, seconds: float) -> bool:
        """Whether nobody has seen its page for so long."""
        return self.left is not None and time.monotonic() - self.left > seconds

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Around what may lead to another tab."""
        with self.acting:
            before = self.desk.shown
            yield
            if self.desk.shown != before:
                self.goes, self.desk.led_by = self.desk.shown, self

    def may_tell(self, teller: object | None) -> bool:
        """Whether `teller`, who watches, or an answer to an event (None) is to tell the page what
        has changed; otherwise the one who watches is asked to. To be called while it is drawn."""
        late = time.monotonic() - self._looked > LATE
        if self.teller not in (None, teller) and not late:
            self._asks |= teller is None
            return False
        if teller is not None:
            self.teller, self._looked, self._asks = teller, time.monotonic(), False
        return True

    def asked(self, teller: object) -> bool:
        """Whether an answer to an event has left it to this one, who watches, to tell the page."""
        if self.teller is teller:
            self._looked = time.monotonic()
        return self._asks and self.teller is teller

    def tells_no_more(self, teller: object) -> None:
        with self.drawing:
            if self.teller is teller:
                self.teller = None

    def took(self, opened: Sequence[str]) -> None:
        """The page has said that these tabs are open, in this order, and nothing else so far."""
        clicked = list(opened)
        if FIRST_TAB in clicked:
            self.mounted, self.heard = True, FIRST_TAB
            clicked.remove(FIRST_TAB)
        if clicked:
            self.opened(clicked[-1])

    def opened(self, tab: str) -> None:
        """Its page has said that a person has opened this tab."""
        self.desk.shown = self.heard = tab
        self.desk.led_by = self

    @property
    def follows(self) -> bool:
        """Whether the page is to have the same tab open as its desk."""
        return self.desk.led_by is None or self.desk.led_by is self


class Desks:
    """The desks of all visitors. Safe to call from any thread."""

    def __init__(self, grace: float = GRACE) -> None:
        self.grace = grace
        self._lock = threading.Lock()
        self._desks: list[Desk] = []
        self._visits: dict[str, Visit] = {}
        self._early: dict[str, list[str]] = {}
        """Tabs that a page has said are open before it was ready, in that order, by session."""
        self._hasty: dict[str, float] = {}
        """Pages that were closed before they had arrived, by session, and when."""

    def arrive(
        self, session: str, owner: str, tab: str, last: str = "", *, ready: bool = True
    ) -> tuple[Visit, bool]:
        """A page is opened: the visit, and whether what its browser remembers belongs to its desk.

        It gets the desk that this tab had; a new tab gets one that the same browser has left.
        `last` is the tab whose work the browser remembers. Without `ready` the caller says later
        when the visit is (`Visit.ready`).
        """
        with self._lock:
            self._forget()
            mine = [d for d in self._desks if d.owner == owner]
            desk = next((d for d in mine if d.tab == tab), None)
            if desk is None:
                left = [d for d in mine if not d.sessions]
                desk = max(left, key=lambda d: d.left, default=None)
            if desk is None:
                belongs = all(d.tab != last for d in mine)
                desk = Desk(owner, tab)
                self._desks.append(desk)
            else:
                belongs = desk.tab == last
            if desk.tab != tab:
                desk.shows_no_secrets()
            desk.tab, desk.led_by = tab, None
            if self._hasty.pop(session, None) is None:
                desk.sessions.add(session)
            else:
                desk.left = time.monotonic()
            visit = self._visits[session] = Visit(desk, ready=ready)
            visit.took(self._early.get(session, ()))
            return visit, belongs

    def wait_for(self, session: str, tab: str, seconds: float = 10.0) -> tuple[Visit, bool]:
        """The visit of a page that opened a tab, and whether that was before it was ready: then its
        desk shows the tab that was opened last, in whatever order those who wait go on.

        Raises InvalidInput when it does not arrive.
        """
        with self._lock:
            visit = self._visits.get(session)
            early = visit is None or not visit.ready
            if early:
                opened = self._early.setdefault(session, [])
                opened.append(tab)
                if visit is not None:
                    visit.took(opened)
        self._wait_until(lambda visit: visit.ready, session, seconds)
        with self._lock:
            self._early.pop(session, None)
        return self.visit(session), early

    def visit(self, session: str, seconds: float = 0.0) -> Visit:
        """The visit of a page that is open, or opens within so many seconds: a quick click may be
        heard before its page has arrived. Raises InvalidInput when this server never saw it."""
        self._wait_until(lambda _: True, session, seconds)
        with self._lock:
            visit = self._visits.get(session)
            if visit is None:
                raise InvalidInput(STARTED_AGAIN)
            visit.desk.sessions.add(session)  # it may have been offline for a while
            visit.left = None
            return visit

    def _wait_until(self, so: Callable[[Visit], bool], session: str, seconds: float) -> None:
        """Wait until there is a visit, and it is `so`, but no longer than so many seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self._lock:
                visit = self._visits.get(session)
                if visit is not None and so(visit):
                    break
            time.sleep(0.05)

    def leave(self, session: str) -> None:
        """A page was closed, or its connection was lost."""
        with self._lock:
            visit = self._visits.get(session)
            if visit is None:
                self._hasty[session] = time.monotonic()
                return
            visit.desk.sessions.discard(session)
            visit.left = visit.desk.left = time.monotonic()

    def _forget(self) -> None:
        """Who has been away for long is not waited for, nor the pages that somebody had open before
        they were loaded again."""
        self._desks = [d for d in self._desks if not d.gone(KEEP_DESKS)]
        known = set(self._desks)
        visits = self._visits.items()
        self._visits = {s: v for s, v in visits if v.desk in known and not v.gone(KEEP_DESKS)}
        latest = time.monotonic() - KEEP_DESKS
        self._hasty = {s: at for s, at in self._hasty.items() if at > latest}
