"""What people type, made ready for the embedded story writer.

The writer knows the words of its training stories (the lexicon). A word it does not know stands as
`<new1>`, `<new2>`, `<new3>` in the prompt, and so does a run of another script; the typed word
goes back into the finished text (`story_restoring.py`). A word that only names a known character
("puppy") is written as that ("dog") and put back the same way, and a given name as one that the
writer knows. Nothing here needs torch.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import dropwhile, takewhile

from pipelines.banned import find_banned, plain
from pipelines.errors import InvalidInput
from pipelines.reading import ONLY_HE, ONLY_SHE, SYNONYMS, known_word, singulars, stand_ins
from pipelines.scene import article, is_character, plural, vocabulary
from pipelines.tokenizer import NEW_WORDS, TITLE

LONGEST_REQUEST = 24
"""Words of a request that the writer reads; the rest is left out."""
FOREIGN_WORDS, FOREIGN_LETTERS = 3, 24
"""At most so much of a run in another script makes one unknown word."""
LONGEST_WORD = 60
"""Letters that stay of a word: a sentence names it more than once, and has to fit on a page."""
LONGEST_NUMBER = 7
"""Digits, a token each or more, of a number that the writer reads; a longer one is unknown."""

# Words without content of their own, and those that nearly every request or story has.
FUNCTION_WORDS = frozenset(
    """a an the this that these those some any my your his her its our their and or but so of in on
    at to for from with without by about into onto over under near beside behind above who whom
    which what when where why how is are was were be been being am do does did has have had can
    could will would shall should may might must not no i you he she it we they me him them us as
    if then than there here very too also just once upon please one story tale tell write make book
    named called""".split()
)
_WEAK_WORDS = frozenset(
    """want wants wanted go goes went going get gets got like likes liked live lives lived little
    small big happy good nice day new old never always find finds found see sees saw come comes
    came take takes took has learn learns learned try tries tried begin began time every all up
    down out off back away again become becomes became who's""".split()
)
_NUMBERS = frozenset("two three four five six seven eight nine ten".split())
_HOW_MANY = frozenset("a the my our some many all few these those of lots".split())
MOST_ADJECTIVES = 2
"""Between a number and what there are so many of; more words are no description of it."""
_SIZES_AND_MOODS = frozenset("little small big tiny happy good nice new old".split())
_BEFORE_VERB = frozenset(
    """who that which to can could will would must cannot not he she it they i we you never always
    really""".split()
)
# Articles of other languages that share our script; the first kind is written as "a".
_FOREIGN_A = frozenset("ein eine einen un une una uno uma um en ett een egy el la le il lo".split())
_FOREIGN_REST = frozenset(
    """der die das den dem des les las los gli det de het und et y e og och mit avec con que qui der
    van von du""".split()
)
_HER_NAMES = ("Clara", "Mia", "Ruby")
_HIS_NAMES = ("Oscar", "Max", "Hugo")
"""Given names of the writer that stand for those it does not know."""
_PLACING = frozenset("in on at to from".split())
_NO_PERSON = _PLACING | frozenset("a an the my your his her our their its".split())
"""A capital after one of these is of a place or a day ("to Paris") or a thing ("the Titanic")."""


@dataclass(frozen=True)
class Request:
    """A request as the writer reads it."""

    text: str
    """In the writer's words: lower case, unknown words as `<new1>` ..."""
    put_back: dict[str, str]
    """`<newN>`, or the name of a known character -> what the person typed."""
    content: tuple[str, ...]
    """What a story should mention, in lower case, the most telling first."""
    names: dict[str, str] = field(default_factory=dict[str, str])
    """A given name of the writer -> the one that it stands for, which no writer knows."""
    proper: frozenset[str] = frozenset()
    """Those of `put_back` that are names, of places and days, and take no article."""
    unknown: tuple[str, ...] = ()
    """Things and names, as typed, that no writer knows: a story must mention each of them."""
    drawn: tuple[str, ...] = ()
    """Known characters and things, in lower case and the singular, that a story should tell of."""


def normal_form(text: str, names: Set[str] = frozenset()) -> str:
    """A request in lower case without signs; given names and placeholders stay as they are.

    >>> normal_form("A Fox, called Mia!", {"Mia"})
    'a fox, called Mia'
    """
    parts = re.findall(r"<new\d>(?:'?s\b)?|[^\W_]+(?:[-'][^\W_]+)*|,", text.replace("’", "'"))
    kept = {*names, *(f"{name}'s" for name in names)}
    words = [p if p in kept or p.startswith("<") else p.lower() for p in parts]
    return re.sub(r"(?: ?,)+", ",", " ".join(words)).strip(", ")


def prompt_of(request: str, sentences: int) -> str:
    """The start of a sequence: the request, the number of sentences, and then the title begins."""
    return f"{request} ({sentences}){TITLE}"


def _is_word_letter(char: str) -> bool:
    return unicodedata.category(char)[0] in "LMN"


def split_words(text: str) -> list[str]:
    """Words of a text in any script, with their inner apostrophes and hyphens."""
    words: list[str] = []
    for piece in text.replace("’", "'").split():
        word = ""
        for n, char in enumerate(piece):
            inner = char in "-'" and word and n + 1 < len(piece) and _is_word_letter(piece[n + 1])
            # Joiners (category Cf) hold the letters of some scripts together.
            joins = unicodedata.category(char) == "Cf" and word
            if _is_word_letter(char) or inner or joins:
                word += char
            elif word:
                words.append(word)
                word = ""
        if word:
            words.append(word)
    return words


def is_latin(word: str) -> bool:
    """Whether every letter of a word is Latin; digits and marks go with any script."""
    return all("LATIN" in unicodedata.name(c, "") for c in word if c.isalpha())


def _foreign_runs(words: list[str]) -> list[str]:
    """Neighbours in another script made into one piece that is not too long."""
    runs: list[str] = []
    run: list[str] = []
    for word in [*words, "a"]:
        if not is_latin(word):
            run.append(word)
            continue
        if run:
            text = " ".join(run[:FOREIGN_WORDS])
            end = FOREIGN_LETTERS
            while end < len(text) and unicodedata.category(text[end])[0] == "M":
                end += 1  # a letter keeps its marks
            runs.append(text[:end].strip())
            run = []
        runs.append(word)
    return runs[:-1]


def _stand_for(word: str, lexicon: Set[str], *, name: bool) -> tuple[str, str] | None:
    """What the writer knows and a word is another name or a kind of, and that word in the singular
    ("puppies": "dog", "puppy"; "axolotl": "frog"), else None.

    Characters always, things where the writer does not know the word itself. `name`: it looks like
    a given name, and is no kind of thing then ("Holly").
    """
    known = known_word(word)
    if known is None or known in singulars(word) or "_" in known:
        return None
    single = next(f for f in singulars(word) if f in stand_ins())
    if name and single not in SYNONYMS:
        return None
    if not is_character(known) and (
        known not in lexicon or not lexicon.isdisjoint(singulars(word))
    ):
        return None
    return known, single


def read_request(
    words: str,
    lexicon: Set[str],
    banned: tuple[str, ...] = (),
    strange: Set[str] = frozenset(),
) -> Request:
    """Make a request ready: banned words out, unknown words as placeholders.

    `lexicon` holds known words in lower case and known given names with a capital. Words that are
    `strange` (lower case, in the singular) are written as unknown ones, known or not: the writer
    takes more care of those.
    Raises InvalidInput when nothing but banned words (and such as "a", "the") is left of it.
    """
    typed = allowed_words(words, banned)[:LONGEST_REQUEST]
    short = [word[:LONGEST_WORD] for word in typed]
    return _RequestReader(short, lexicon, strange).request()


def allowed_words(words: str, banned: tuple[str, ...]) -> list[str]:
    """The words of a request that are not banned. Raises InvalidInput as `read_request`."""
    typed = _foreign_runs(split_words(words))
    allowed = [w for w in typed if find_banned(w, banned) is None]
    if find_banned(" ".join(allowed), banned):  # a phrase
        allowed = _without_phrases(allowed, banned)
    if len(allowed) < len(typed) and all(w.lower() in FUNCTION_WORDS for w in allowed):
        raise InvalidInput(
            "Every word of this request is on the list of words that stories leave out: "
            "use other words, or take yours off the ban list."
        )
    return allowed


def _without_phrases(words: list[str], banned: tuple[str, ...]) -> list[str]:
    text = " ".join(words)
    while phrase := find_banned(text, banned):
        fewer = re.sub(re.escape(phrase), " ", text, flags=re.IGNORECASE)
        # Folding may change letters (ß, ﬁ): such a phrase is found in the folded text alone.
        text = fewer if fewer != text else plain(text)
    return text.split()


class _RequestReader:
    """Reads a request word by word; what it finds out on the way is what `Request` tells."""

    def __init__(self, typed: list[str], lexicon: Set[str], strange: Set[str]) -> None:
        """`typed` are allowed words; `lexicon` and `strange` are as in `read_request`."""
        self.typed, self.lexicon, self.strange = typed, lexicon, strange
        self.mapped: list[str] = []
        """The request so far, in the writer's words."""
        self.put_back: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.proper: set[str] = set()
        self.unknown: list[str] = []
        self.drawn: list[str] = []
        # What a story should mention, by how much it tells.
        self.fresh_words: list[str] = []
        self.strong: list[str] = []
        self.weak: list[str] = []
        lone = not any(self._knows(w) and w.lower() not in FUNCTION_WORDS for w in typed)
        self.abroad = lone and any(w.lower() in _FOREIGN_A | _FOREIGN_REST for w in typed)
        """Whether it is in another language with our script."""
        self.said = {f for w in typed for f in singulars(w.lower())}
        self.mixed_case = any(w == w.lower() and w not in FUNCTION_WORDS for w in typed)

    def request(self) -> Request:
        readers = (self._read_plain, self._read_kind, self._read_known, self._read_name)
        for n, word in enumerate(self.typed):
            if not any(read(n, word) for read in readers):  # the first that takes it has read it
                self._read_unknown(n, word)
        if self.abroad and len(self.fresh_words) > 1:
            # Who and what else, however that language puts it.
            others = ["and", "a", list(self.put_back)[-1]] if len(self.put_back) > 1 else []
            self.mapped = ["a", NEW_WORDS[0], *others]
        telling = [w for w in self.weak if w not in _WEAK_WORDS] or self.weak
        given = (w for w in self.typed if w in self.lexicon and w != w.lower())
        return Request(
            normal_form(" ".join(self.mapped[:LONGEST_REQUEST]), {*self.names, *given}),
            self.put_back,
            tuple(dict.fromkeys([*self.fresh_words, *self.strong, *telling])),
            self.names,
            frozenset(self.proper),
            tuple(dict.fromkeys(self.unknown)),
            tuple(dict.fromkeys(self.drawn)),
        )

    def _knows(self, word: str) -> bool:
        low = word.lower()
        if not self._familiar(low):
            return False
        if low.isdigit():
            return len(low) <= LONGEST_NUMBER
        return low in _NUMBERS or any(f in self.lexicon for f in (low, *singulars(low)))

    def _familiar(self, low: str) -> bool:
        return self.strange.isdisjoint(singulars(low))

    def _neighbour(self, n: int) -> str:
        return self.typed[n].lower() if 0 <= n < len(self.typed) else ""

    def _is_name(self, word: str) -> bool:
        """Whether its capital says something."""
        return self.mixed_case and word[0].isupper() and is_latin(word) and not self.abroad

    def _read_plain(self, n: int, word: str) -> bool:
        """Words of other languages' grammar and of ours, and given names of the writer."""
        low = word.lower()
        if self.abroad and low in _FOREIGN_A | _FOREIGN_REST:
            self.mapped += ["a"] if low in _FOREIGN_A else []
        elif word in self.lexicon and word != low:
            self.mapped.append(word)
            self.strong.append(low)
        elif low in FUNCTION_WORDS:
            mine = low in ("my", "our") and _is_actor(self._neighbour(n + 1))
            self.mapped.append("a" if mine else low)
        else:
            return False
        return True

    def _read_kind(self, _: int, word: str) -> bool:
        """A kind of what the writer knows, which stands for it: "puppy"."""
        low = word.lower()
        found = _stand_for(low, self.lexicon, name=self._is_name(word))
        if found is None or not self._familiar(low):
            return False
        stand, single = found
        if stand in self.said or stand in self.put_back:
            return False
        own = low.endswith("'s")
        self.put_back[stand] = single
        many = not own and low != single
        if many and not self.drawn:
            self.mapped = _as_one(self.mapped, stand)
        else:
            if self.mapped and self.mapped[-1] in ("a", "an"):
                self.mapped[-1] = article(stand)
            self.mapped.append(stand + "'s" if own else plural(stand) if many else stand)
        self.strong.append(single)
        self.drawn.append(single)
        return True

    def _read_known(self, n: int, word: str) -> bool:
        """A word of the writer."""
        if not self._knows(word):
            return False
        low = word.lower()
        one = known_word(low) or ""
        if _is_actor(one) and low == plural(one) != one and not self.drawn:
            self.mapped = _as_one(self.mapped, one)
        else:
            self.mapped.append(low)
        told = low.removesuffix("'s")
        if thing := _of_several_words(self.typed[: n + 1]):
            # An ice cream is neither ice nor cream.
            for words in (self.strong, self.weak):
                words[:] = [w for w in words if w not in thing.split()]
            self.strong.append(thing)
            self.drawn.append(thing)
        elif one in singulars(low):
            self.strong.append(told)
            self.drawn.append(one)
        else:
            self.weak.append(told)
        return True

    def _read_name(self, n: int, word: str) -> bool:
        """A given name that no writer knows: one of the writer's stands for it."""
        if not self._is_name(word):
            return False
        if n and self._neighbour(n - 1) in _NO_PERSON:
            return False
        if n == 0 and not _begins_with_name(self.typed, self.lexicon):
            return False
        told, own = word.removesuffix("'s"), word.endswith("'s")
        alias = next((k for k, v in self.names.items() if v == told), "")
        bearer = _bearer(self.typed, n)
        alone = not (alias or bearer)
        alias = alias or _free_name(told, bearer, self.lexicon - {*self.typed, *self.names})
        if not alias:
            return False
        she = alias in _HER_NAMES
        self.mapped += ["a", "girl" if she else "boy", "named"] if alone else []
        self.mapped.append(alias + "'s" if own and not alone else alias)
        self.mapped += ["and", "her" if she else "his"] if own and alone else []
        self.names[alias] = told
        self.fresh_words.append(told.lower())
        self.unknown.append(told)
        return True

    def _read_unknown(self, n: int, word: str) -> None:
        """Any other word: a placeholder stands for it while there is one."""
        before, after = self._neighbour(n - 1), self._neighbour(n + 1)
        base, ending = _base_of_unknown(word, before, first=n == 0)
        capital = self._is_name(word)
        if capital and before in _PLACING:
            self.proper.add(base)
        if capital or _names_a_thing(base, before, after):
            self.unknown.append(base)
        same = (k for k, v in self.put_back.items() if v.lower() == base.lower())
        free = (k for k in NEW_WORDS if k not in self.put_back)
        fresh = next(same, None) or next(free, None)
        if fresh is None:
            while self.mapped and self.mapped[-1] in FUNCTION_WORDS:
                self.mapped.pop()
            return
        self.put_back.setdefault(fresh, base)
        self.mapped.append(fresh + ending)
        self.fresh_words.append(base.lower())


def _of_several_words(typed: Sequence[str]) -> str:
    """The thing that the last two or three words name together, else "": "hot air balloon"."""
    for count in (3, 2):
        words = [word.lower() for word in typed[-count:]]
        if len(words) == count and "_".join(words) in vocabulary():
            return " ".join(words)
    return ""


def _is_actor(word: str) -> bool:
    known = known_word(word)
    return known is not None and is_character(known)


def _as_one(words: Sequence[str], hero: str) -> list[str]:
    """The words and then the hero, who is one, whatever they say: the writer's stories have one.

    "three little" -> "a little pig".
    """

    def counts(word: str) -> bool:
        return word in _NUMBERS | _HOW_MANY or word.isdigit()

    back = [*reversed(words)]
    described = [*takewhile(lambda w: not counts(w) and w not in FUNCTION_WORDS, back)]
    counted = len(described) < len(back) and counts(back[len(described)])
    if not counted or len(described) > MOST_ADJECTIVES:
        described = [*takewhile(_SIZES_AND_MOODS.__contains__, back)]
    before = [*dropwhile(counts, back[len(described) :])]
    named = [*reversed(described), hero]
    return [*reversed(before), article(named[0]), *named]


def _bearer(typed: Sequence[str], n: int) -> str:
    """Who has the given name that is word `n`: "my dog Rex", "a fox named Rex", "Rex the fox"; ""
    where nobody says."""
    low = [word.lower() for word in typed]
    if n and low[n - 1] in ("named", "called"):
        return next((w for w in reversed(low[: n - 1]) if _is_actor(w)), low[max(n - 2, 0)])
    if n and _is_actor(low[n - 1]):
        return low[n - 1]
    after = low[n + 1 : n + 3]
    return after[1] if len(after) == 2 and after[0] == "the" and _is_actor(after[1]) else ""


def _begins_with_name(typed: Sequence[str], lexicon: Set[str]) -> bool:
    """Whether the first word, which has a capital whatever it is, is a name: "Zuri the elephant",
    "Emma and her cat", "Emma finds a map", "Emma's hat"."""
    if typed[0].endswith("'s") or _bearer(typed, 0):
        return True
    after = typed[1].lower() if len(typed) > 1 else ""
    does = after.endswith("s") and after in lexicon and known_word(after) is None
    return does or after in ("and", "who", "is", "was", "has", "had")


def _free_name(told: str, bearer: str, free: Set[str]) -> str:
    """One of the writer's `free` names for one that it does not know, "" if there is none left."""
    who = known_word(bearer) if bearer else None
    hers = re.search(r"(?:a|ah|ie|elle|ette|ly|cy|zy)$", told.lower()) is not None
    if who in ONLY_SHE or who in ONLY_HE:
        hers = who in ONLY_SHE
    return next((name for name in (_HER_NAMES if hers else _HIS_NAMES) if name in free), "")


def _names_a_thing(word: str, before: str, after: str) -> bool:
    """Whether an unknown word looks like a noun or name: no verb, and not said of what follows."""
    if before in _BEFORE_VERB or re.search(r"(?:ly|ing|ed)$", word):
        return False
    return known_word(after) is None


def _base_of_unknown(word: str, before: str, *, first: bool) -> tuple[str, str]:
    """An unknown word -> what its placeholder stands for, and what is written behind that."""
    if word.lower().endswith("'s"):
        return word[:-2], "'s"
    name = word[0].isupper() and not first
    many = (
        not name
        and before not in _BEFORE_VERB
        and before not in ("a", "an")
        and is_latin(word)
        and len(word) > 4
        and re.search(r"[^suix]s$", word)
    )
    if not many:
        return word, ""

    def odd(form: str) -> tuple[bool, bool, int]:
        # "noses" are of a nose, "viruses" of a virus, "blouses" of a blouse.
        clipped = re.search(r"(?<!s)s$", form) is not None and not re.search(r"(?<!o)us$", form)
        return known_word(form) is None, clipped, len(form)

    return min((f for f in singulars(word) if plural(f) == word), key=odd, default=word), "s"


def simpler(request: Request) -> Request:
    """The same hero and nothing else asked for: what every writer can tell a story about."""
    known = (k for w in request.text.split() if (k := known_word(w)) and k in singulars(w))
    actors = [k for k in known if is_character(k)]
    hero = next(iter(actors), None) or next((n for n in NEW_WORDS if n in request.put_back), None)
    named = "".join(f" named {name}" for name in list(request.names)[:1])
    return (
        replace(request, text=f"a story about {article(hero)} {hero}{named}") if hero else request
    )
