"""Forms of an English word: what it is inflected to, and what it may be inflected from."""

from __future__ import annotations

import re
from functools import lru_cache

from pipelines.reading import singulars
from pipelines.scene import plural

_IRREGULAR = """
be was were been; become became; begin began begun; bite bit bitten; blow blew blown;
break broke broken; bring brought; build built; buy bought; catch caught; choose chose chosen;
come came; dig dug; draw drew drawn; dream dreamt; drink drank drunk; drive drove driven;
eat ate eaten; fall fell fallen; feed fed; feel felt; fight fought; find found; fly flew flown;
forget forgot forgotten; forgive forgave forgiven; freeze froze frozen; get got; give gave given;
go went gone; grow grew grown; hang hung; have had; hear heard; hide hid hidden; hold held;
keep kept; know knew known; lead led; learn learnt; leave left; lend lent; lie lay lain;
lose lost; make made; meet met; pay paid; read; ride rode ridden; ring rang rung; rise rose risen;
run ran; say said; see saw seen; seek sought; sell sold; send sent; sew sewn; shake shook shaken;
shine shone; sing sang sung; sink sank sunk; sit sat; sleep slept; slide slid; speak spoke spoken;
spend spent; spin spun; stand stood; steal stole stolen; stick stuck; sting stung; strike struck;
sweep swept; swim swam swum; swing swung; take took taken; teach taught; tear tore torn;
tell told; think thought; throw threw thrown; understand understood; wake woke woken;
wear wore worn; weave wove woven; weep wept; win won; wind wound; write wrote written
"""
_TENSES = tuple(tuple(entry.split()) for entry in _IRREGULAR.split(";"))


@lru_cache(maxsize=4096)
def forms_of(word: str) -> frozenset[str]:
    """A word in lower case -> itself and its other forms: "fly" has "flies", "flying" and "flew",
    and "flew" has "fly". Some that do not exist are among them."""
    bases = {*singulars(word), word}
    for ending, instead in (("ing", ""), ("ing", "e"), ("ed", ""), ("ed", "e"), ("ied", "y")):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) > 2 and re.search("[aeiouy]", stem):
            bases.add(stem + instead)
            bases.add(re.sub(r"(.)\1$", r"\1", stem) + instead)
    bases |= {tenses[0] for tenses in _TENSES if word in tenses}
    forms = {w for tenses in _TENSES if tenses[0] in bases for w in tenses}
    for base in bases:
        forms |= {base, plural(base), base + "s", *_past_and_gerund(base)}
    return frozenset(forms)


def _past_and_gerund(base: str) -> set[str]:
    """Regular ones; where it depends on the stress whether a letter is doubled, both."""
    if re.search(r"[^aeiou]y$", base):
        return {base[:-1] + "ied", base + "ing"}
    if base.endswith("ie"):
        return {base + "d", base[:-2] + "ying"}
    if base.endswith("e"):
        silent = not base.endswith(("ee", "oe", "ye"))
        return {base + "d", (base[:-1] if silent else base) + "ing"}
    last = base[-1] if re.search(r"[^aeiou][aeiou][^aeiouwxy]$", base) else ""
    short = len(re.findall(r"[aeiouy]+", base)) == 1  # "hop" always doubles it, "open" does not
    stems = {base + last} if short else {base, base + last}
    return {stem + ending for stem in stems for ending in ("ed", "ing")}
