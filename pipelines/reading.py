"""Reads what people type: requests, sentences, and what the picture of a sentence shows.

Nothing here needs torch.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from pipelines.errors import InvalidInput
from pipelines.events import Sentence
from pipelines.scene import ASSETS, Item, Scene, is_character, parse_brief, plural, vocabulary

MAX_REQUEST = 500
"""Longest request for a story, in characters."""

SYNONYMS = {
    "bunny": "rabbit", "hare": "rabbit", "kitten": "cat", "kitty": "cat", "tomcat": "cat",
    "puppy": "dog", "pup": "dog", "hound": "dog", "doggy": "dog", "doggie": "dog", "beagle":
    "dog", "dachshund": "dog", "labrador": "dog", "terrier": "dog", "spaniel": "dog", "calf":
    "cow", "bull": "cow", "cattle": "cow", "heifer": "cow", "lamb": "sheep", "ewe": "sheep",
    "pony": "horse", "foal": "horse", "stallion": "horse", "mare": "horse", "colt": "horse",
    "piglet": "pig", "hog": "pig", "cub": "bear", "ape": "gorilla", "chimp": "monkey",
    "chimpanzee": "monkey", "baboon": "monkey", "orang_utan": "orangutan", "alligator":
    "crocodile", "croc": "crocodile", "caiman": "crocodile", "raven": "crow", "rook": "crow",
    "blackbird": "crow", "magpie": "crow", "jackdaw": "crow", "robin": "bird", "sparrow":
    "bird", "wren": "bird", "canary": "bird", "finch": "bird", "nightingale": "bird",
    "woodpecker": "bird", "hummingbird": "bird", "starling": "bird", "cuckoo": "bird", "pigeon":
    "dove", "seagull": "dove", "gull": "dove", "duckling": "duck", "mallard": "duck", "drake":
    "duck", "gosling": "goose", "chicken": "hen", "hatchling": "chick", "hawk": "eagle",
    "falcon": "eagle", "vulture": "eagle", "buzzard": "eagle", "stork": "flamingo", "heron":
    "flamingo", "pelican": "flamingo", "parakeet": "parrot", "macaw": "parrot", "budgie":
    "parrot", "cockatoo": "parrot", "toucan": "parrot", "peahen": "peacock", "peafowl":
    "peacock", "pheasant": "turkey", "ostrich": "dodo", "emu": "dodo", "puffin": "penguin",
    "owlet": "owl", "toad": "frog", "tadpole": "frog", "froglet": "frog", "tortoise": "turtle",
    "terrapin": "turtle", "gecko": "lizard", "salamander": "lizard", "newt": "lizard",
    "chameleon": "lizard", "iguana": "lizard", "serpent": "snake", "viper": "snake", "python":
    "snake", "cobra": "snake", "mole": "mouse", "shrew": "mouse", "vole": "mouse", "dormouse":
    "mouse", "gerbil": "hamster", "guinea_pig": "hamster", "chipmunk": "squirrel", "mink":
    "otter", "ferret": "otter", "weasel": "otter", "stoat": "otter", "platypus": "beaver",
    "porcupine": "hedgehog", "polecat": "skunk", "anteater": "badger", "armadillo": "badger",
    "wombat": "badger", "scarab": "beetle", "ladybird": "ladybug", "moth": "butterfly",
    "bumblebee": "bee", "honeybee": "bee", "wasp": "bee", "hornet": "bee", "gnat": "mosquito",
    "midge": "mosquito", "dragonfly": "mosquito", "grasshopper": "cricket", "locust": "cricket",
    "termite": "ant", "tarantula": "spider", "inchworm": "caterpillar", "bug": "caterpillar",
    "earthworm": "worm", "slug": "snail", "centipede": "scorpion", "hermit_crab": "crab",
    "cheetah": "leopard", "jaguar": "leopard", "panther": "leopard", "puma": "leopard", "lynx":
    "leopard", "lioness": "lion", "tigress": "tiger", "werewolf": "wolf", "coyote": "wolf",
    "jackal": "wolf", "vixen": "fox", "fawn": "deer", "doe": "deer", "stag": "deer", "reindeer":
    "deer", "antelope": "deer", "gazelle": "deer", "elk": "moose", "caribou": "moose", "yak":
    "ox", "buffalo": "ox", "oxen": "ox", "ibex": "ram", "alpaca": "llama", "warthog": "boar",
    "wild_boar": "boar", "mule": "donkey", "red_panda": "raccoon", "jumbo": "elephant",
    "woolly_mammoth": "mammoth", "rhinoceros": "rhino", "hippopotamus": "hippo", "walrus":
    "seal", "sea_lion": "seal", "manatee": "seal", "porpoise": "dolphin", "narwhal": "dolphin",
    "orca": "whale", "goldfish": "fish", "salmon": "fish", "trout": "fish", "tuna": "fish",
    "cod": "fish", "minnow": "fish", "blowfish": "pufferfish", "prawn": "shrimp", "krill":
    "shrimp", "kraken": "squid", "ice_bear": "polar_bear", "sea_star": "starfish", "dino":
    "dinosaur", "brontosaurus": "dinosaur", "diplodocus": "dinosaur", "triceratops": "dinosaur",
    "stegosaurus": "dinosaur", "sauropod": "dinosaur", "trex": "tyrannosaurus", "t_rex":
    "tyrannosaurus", "tyrannosaur": "tyrannosaurus", "velociraptor": "tyrannosaurus", "raptor":
    "tyrannosaurus", "firebird": "phoenix", "wyvern": "dragon", "dragonling": "dragon",
    "pegasus": "unicorn", "pixie": "fairy", "sprite": "fairy", "sorcerer": "wizard", "magician":
    "wizard", "warlock": "wizard", "merlin": "wizard", "sorceress": "witch", "enchantress":
    "witch", "gnome": "elf", "dwarf": "elf", "goblin": "elf", "leprechaun": "elf", "monster":
    "troll", "giant": "troll", "ogre": "troll", "beast": "troll", "yeti": "troll", "bigfoot":
    "troll", "spook": "ghost", "phantom": "ghost", "siren": "mermaid", "djinn": "genie",
    "dracula": "vampire", "undead": "zombie", "martian": "alien", "extraterrestrial": "alien",
    "android": "robot", "cyborg": "robot", "droid": "robot", "grandma": "grandmother", "granny":
    "grandmother", "nana": "grandmother", "gran": "grandmother", "nan": "grandmother",
    "grandmum": "grandmother", "grandmom": "grandmother", "grandpa": "grandfather", "grandad":
    "grandfather", "granddad": "grandfather", "gramps": "grandfather", "mother": "woman", "mum":
    "woman", "mom": "woman", "mummy": "woman", "mommy": "woman", "mama": "woman", "aunt":
    "woman", "auntie": "woman", "lady": "woman", "wife": "woman", "neighbour": "woman",
    "neighbor": "woman", "father": "man", "dad": "man", "daddy": "man", "papa": "man", "uncle":
    "man", "husband": "man", "fisherman": "man", "sailor": "man", "captain": "man", "soldier":
    "man", "sister": "girl", "daughter": "girl", "child": "girl", "kid": "girl",
    "granddaughter": "girl", "niece": "girl", "schoolgirl": "girl", "brother": "boy", "son":
    "boy", "grandson": "boy", "nephew": "boy", "schoolboy": "boy", "lad": "boy", "toddler":
    "baby", "infant": "baby", "newborn": "baby", "emperor": "king", "empress": "queen", "duke":
    "prince", "lord": "prince", "duchess": "princess", "warrior": "knight", "buccaneer":
    "pirate", "corsair": "pirate", "jester": "clown", "cowgirl": "cowboy", "sheriff": "cowboy",
    "rancher": "cowboy", "father_christmas": "santa", "santa_claus": "santa", "saint_nicholas":
    "santa", "samurai": "ninja", "guardsman": "guard", "sentry": "guard", "watchman": "guard",
    "inventor": "scientist", "chemist": "scientist", "plumber": "mechanic", "engineer":
    "mechanic", "repairman": "mechanic", "policeman": "police_officer", "policewoman":
    "police_officer", "cop": "police_officer", "police": "police_officer", "constable":
    "police_officer", "ballerina": "dancer", "biker": "cyclist", "gymnast": "acrobat",
    "tumbler": "acrobat", "chef": "cook", "baker": "cook", "nurse": "doctor", "vet": "doctor",
    "painter": "artist", "fireman": "firefighter", "firewoman": "firefighter", "spaceman":
    "astronaut", "spacewoman": "astronaut", "cosmonaut": "astronaut", "hero": "superhero",
    "heroine": "superhero", "superman": "superhero", "carpenter": "builder", "professor":
    "teacher", "popstar": "singer", "gardener": "farmer", "shepherd": "farmer", "aviator":
    "pilot", "spy": "detective", "sleuth": "detective", "present": "gift", "parcel": "gift",
    "package": "box", "crate": "box", "carton": "box", "jewel": "gem", "diamond": "gem", "ruby":
    "gem", "emerald": "gem", "sapphire": "gem", "money": "coin", "gold": "coin", "penny":
    "coin", "treasure": "treasure_chest", "chest": "treasure_chest", "spaceship": "rocket",
    "spacecraft": "rocket", "plane": "airplane", "aeroplane": "airplane", "jet": "airplane",
    "aircraft": "airplane", "bike": "bicycle", "tricycle": "bicycle", "motorbike": "motorcycle",
    "moped": "motorcycle", "kick_scooter": "scooter", "lorry": "truck", "racecar": "race_car",
    "racing_car": "race_car", "trolley": "tram", "streetcar": "tram", "cab": "taxi", "suv":
    "jeep", "minivan": "van", "camper": "van", "campervan": "van", "steamer": "ferry",
    "cruise_ship": "ferry", "motorboat": "speedboat", "yacht": "boat", "sailboat": "boat",
    "rowboat": "canoe", "kayak": "canoe", "raft": "canoe", "dinghy": "canoe", "air_balloon":
    "hot_air_balloon", "airship": "hot_air_balloon", "zeppelin": "hot_air_balloon", "blimp":
    "hot_air_balloon", "gondola": "cable_car", "ufo": "flying_saucer", "sledge": "sled",
    "toboggan": "sled", "sleigh": "sled", "locomotive": "train", "steam_train": "train",
    "automobile": "car", "patrol_car": "police_car", "fire_truck": "fire_engine", "chopper":
    "helicopter", "home": "house", "cottage": "house", "cabin": "hut", "shack": "hut", "shed":
    "hut", "palace": "castle", "fortress": "castle", "turret": "tower", "clinic": "hospital",
    "inn": "hotel", "wigwam": "tent", "tepee": "tent", "rollercoaster": "roller_coaster",
    "merry_go": "carousel", "beacon": "lighthouse", "mill": "windmill", "monument": "statue",
    "isle": "island", "stone": "rock", "boulder": "rock", "pebble": "rock", "stick": "log",
    "branch": "log", "twig": "log", "torch": "flashlight", "buttercup": "daisy", "dandelion":
    "daisy", "cherry_blossom": "blossom", "sunflower": "flower", "lily": "tulip", "posy":
    "bouquet", "seed": "seedling", "sprout": "seedling", "plant": "seedling", "fern":
    "potted_plant", "houseplant": "potted_plant", "pot_plant": "potted_plant", "flowerpot":
    "potted_plant", "shamrock": "clover", "fir": "pine_tree", "pine": "pine_tree", "spruce":
    "pine_tree", "oak": "tree", "birch": "tree", "maple": "tree", "willow": "tree", "elm":
    "tree", "palm": "palm_tree", "toadstool": "mushroom", "tophat": "hat", "baseball_cap":
    "cap", "beanie": "cap", "sneaker": "shoe", "trainer": "shoe", "wellington": "boot", "welly":
    "boot", "sock": "socks", "stocking": "socks", "stockings": "socks", "tshirt": "shirt",
    "t_shirt": "shirt", "blouse": "shirt", "sweater": "shirt", "jumper": "shirt", "gown":
    "dress", "skirt": "dress", "frock": "dress", "jacket": "coat", "cloak": "coat", "raincoat":
    "coat", "pants": "trousers", "jeans": "trousers", "mitten": "gloves", "mittens": "gloves",
    "glove": "gloves", "spectacles": "glasses", "shawl": "scarf", "wallet": "purse", "handbag":
    "purse", "rucksack": "backpack", "knapsack": "backpack", "schoolbag": "backpack", "satchel":
    "backpack", "bag": "backpack", "luggage": "suitcase", "tiara": "crown", "biscuit": "cookie",
    "gingerbread": "cookie", "doughnut": "donut", "pancake": "pancakes", "birthday_cake":
    "cake", "muffin": "cupcake", "sweets": "candy", "toffee": "candy", "lolly": "lollipop",
    "icecream": "ice_cream", "sundae": "ice_cream", "burger": "hamburger", "cheeseburger":
    "hamburger", "hotdog": "hot_dog", "sausage": "hot_dog", "chips": "fries", "pasta":
    "spaghetti", "noodle": "spaghetti", "noodles": "spaghetti", "custard": "pudding", "loaf":
    "bread", "toast": "bread", "oranges": "tangerine", "clementine": "tangerine", "mandarin":
    "tangerine", "bell_pepper": "pepper", "pea": "pea_pod", "peas": "pea_pod", "aubergine":
    "eggplant", "grape": "grapes", "cherry": "cherries", "blueberry": "blueberries", "berries":
    "blueberries", "berry": "blueberries", "cantaloupe": "melon", "nut": "peanut", "nuts":
    "peanut", "acorn": "chestnut", "conker": "chestnut", "hazelnut": "chestnut", "maize":
    "corn", "mug": "cup", "cocoa": "cup", "coffee": "cup", "tea": "cup", "kettle": "teapot",
    "stew": "soup", "porridge": "soup", "dish": "bowl", "honeypot": "jar", "bottle":
    "baby_bottle", "honeycomb": "honey", "teddy": "teddy_bear", "doll": "teddy_bear",
    "matryoshka": "nesting_doll", "yo_yo": "yoyo", "jigsaw": "puzzle", "rollerskate":
    "roller_skate", "roller_skates": "roller_skate", "rollerskates": "roller_skate", "skate":
    "ice_skate", "skates": "ice_skate", "ice_skates": "ice_skate", "tennis_racket": "racket",
    "tennis": "racket", "flying_disc": "frisbee", "football": "ball", "prize": "medal",
    "confetti": "party_popper", "keyboard": "piano", "ukulele": "guitar", "lute": "banjo",
    "fiddle": "violin", "cello": "violin", "recorder": "flute", "whistle": "flute", "pipe":
    "flute", "drums": "drum", "tambourine": "drum", "trombone": "trumpet", "bugle": "trumpet",
    "tuba": "horn", "french_horn": "horn", "song": "music", "tune": "music", "melody": "music",
    "earphones": "headphones", "phone": "telephone", "tv": "television", "telly": "television",
    "laptop": "computer", "alarm": "alarm_clock", "bulb": "lightbulb", "light_bulb":
    "lightbulb", "o_lantern": "jack_o_lantern", "jackolantern": "jack_o_lantern", "storybook":
    "book", "diary": "book", "journal": "notebook", "envelope": "letter", "postcard": "letter",
    "painting": "picture", "photo": "picture", "photograph": "picture", "portrait": "picture",
    "quill": "pen", "brush": "paintbrush", "crayons": "crayon", "chalk": "crayon", "magnifier":
    "magnifying_glass", "signpost": "sign", "postbox": "mailbox", "letterbox": "mailbox",
    "dagger": "sword", "hatchet": "axe", "spade": "shovel", "spanner": "wrench", "lock":
    "padlock", "cauldron": "potion", "knot": "rope", "wand": "magic_wand", "broomstick":
    "broom", "pail": "bucket", "urn": "vase", "hamper": "basket", "cot": "bed", "cradle": "bed",
    "couch": "sofa", "armchair": "sofa", "settee": "sofa", "stool": "chair", "bench": "chair",
    "bath": "bathtub", "tub": "bathtub", "tooth_brush": "toothbrush", "teeth": "tooth",
    "cushion": "pillow", "bubble": "bubbles", "spider_web": "spiderweb", "cobweb": "spiderweb",
    "web": "spiderweb", "earth": "globe", "saturn": "planet", "meteor": "comet",
    "shooting_star": "comet", "beach_umbrella": "parasol", "sunshade": "parasol", "campfire":
    "fire", "flame": "fire", "bonfire": "fire", "stoplight": "traffic_light", "seashell":
    "shell", "sandglass": "hourglass", "looking_glass": "mirror", "xmas_tree": "christmas_tree",
    "rod": "fishing_rod", "big_top": "circus",
}  # fmt: skip
"""Words that people use for what the painter has under another name."""

STAND_INS = "stand_ins.txt"
"""Among the assets."""


@cache
def stand_ins() -> dict[str, str]:
    """Words that are not painted -> the nearest kind of thing that is: "axolotl" -> "frog".

    Made by `finetune.data.stand_ins` from WordNet, SYNONYMS in front.
    """
    lines = (ASSETS / STAND_INS).read_text(encoding="utf-8").splitlines()
    rows = (line.split(": ") for line in lines if not line.startswith("#"))
    return {word: painted for painted, words in rows for word in words.split()} | SYNONYMS


PLACE_WORDS = {
    "forest": "forest", "wood": "forest", "woods": "forest", "jungle": "jungle", "rainforest":
    "jungle", "beach": "beach", "shore": "beach", "sand": "beach", "island": "beach", "sea":
    "beach", "ocean": "beach", "waves": "beach", "coast": "beach", "snow": "snow", "snowy": "snow",
    "ice": "snow", "icy": "snow", "winter": "snow", "desert": "desert", "dune": "desert", "dunes":
    "desert", "river": "river", "stream": "river", "brook": "river", "bank": "river", "bridge":
    "river", "lake": "lake", "pond": "lake", "city": "city", "street": "city", "town": "city",
    "skyscraper": "city", "village": "village", "farm": "farm", "barn": "farm", "farmyard": "farm",
    "barnyard": "farm", "field": "farm", "fields": "farm", "orchard": "farm", "mountain":
    "mountains", "mountains": "mountains", "hill": "mountains", "hills": "mountains", "peak":
    "mountains", "cliff": "mountains", "garden": "garden", "meadow": "garden", "yard": "garden",
    "lawn": "garden", "park": "garden", "room": "room", "kitchen": "room", "bedroom": "room",
    "indoors": "room", "bathroom": "room", "attic": "room", "cellar": "room", "table": "room",
    "sofa": "room", "space": "space", "planet": "space", "mars": "space", "galaxy": "space",
    "orbit": "space", "underwater": "underwater", "reef": "underwater", "seabed": "underwater",
    "coral": "underwater", "seaweed": "underwater", "cave": "cave", "cavern": "cave", "den": "cave",
    "tunnel": "cave", "burrow": "cave", "playground": "playground", "swing": "playground",
    "slide": "playground", "sandpit": "playground", "seesaw": "playground", "market": "market",
    "shop": "market", "stall": "market", "store": "market", "fair": "market", "school": "school",
    "classroom": "school", "lesson": "school", "hall": "castle_hall", "throne": "castle_hall",
    "castle": "castle_hall", "palace": "castle_hall", "road": "road", "path": "road", "lane":
    "road", "track": "road", "sky": "sky", "flew": "sky", "flying": "sky", "soared": "sky",
}  # fmt: skip
_PLACE_PHRASES = {
    **{f"{under} the {water}": "underwater" for under in ("under", "beneath", "below")
       for water in ("sea", "ocean", "waves", "water")},
    "on the moon": "space",
}  # fmt: skip
"""Where three words together are somewhere else than the last of them alone."""
_HOUSES = frozenset({"castle", "palace", "school"})
"""Things to look at from outside, and places for who is in them."""
_WITHIN = re.compile(r"\b(?:in|into|inside|within|through)(?: \w+){0,3} $|\b(?:at|to|from) $")
"""What stands before a house that somebody is in: "in the old castle", "at school"."""
_CLASS_PLACES = {
    "sea": "underwater", "people": "village", "magic": "forest", "flying": "garden",
    "small": "garden", "land": "forest", "thing": "room", "big": "village", "other": "garden",
}  # fmt: skip

_TIME_WORDS = {
    "night": "night", "nights": "night", "midnight": "night", "moonlight": "night", "dark": "night",
    "starlight": "night", "bedtime": "night", "nightfall": "night", "moonlit": "night",
    "stars": "night", "moon": "night", "sunset": "sunset", "evening": "sunset", "dusk": "sunset",
    "twilight": "sunset", "morning": "day", "noon": "day", "afternoon": "day", "dawn": "day",
    "sunrise": "day", "breakfast": "day", "lunch": "day", "sunshine": "day", "sunny": "day",
}  # fmt: skip
_SKY_WORDS = {
    "rain": "rain", "rained": "rain", "raining": "rain", "rainy": "rain", "raindrops": "rain",
    "drizzle": "rain", "snowed": "snow", "snowing": "snow", "snowflake": "snow", "snowflakes":
    "snow", "rainbow": "rainbow", "cloud": "clouds", "clouds": "clouds", "cloudy": "clouds",
    "storm": "storm", "thunder": "storm", "lightning": "storm", "stars": "stars",
    "moon": "moon", "moonlight": "moon", "sun": "sun", "sunny": "sun", "sunshine": "sun",
    "wind": "wind", "windy": "wind", "breeze": "wind", "gust": "wind",
}  # fmt: skip
_RELATION_WORDS = {
    "on": "on", "onto": "on", "upon": "on", "atop": "on", "under": "under", "beneath": "under",
    "below": "under", "behind": "behind", "above": "above", "over": "above", "inside": "inside",
    "into": "in", "in": "in", "holding": "holding", "carrying": "holding", "carried": "holding",
    "held": "holding", "with": "with", "beside": "beside",
}  # fmt: skip
_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "many": 3, "some": 2, "several": 3}


def check_words(words: str) -> str:
    """The request for a story, cleaned: one line, no control characters.

    Raises InvalidInput when nothing that can be read is left, or when it is too long.
    """
    text = unicodedata.normalize("NFC", words)
    # Joiners and marks stay (scripts need them); control and unassigned characters do not.
    text = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Cn", "Co") else c for c in text)
    text = re.sub(r"\s+", " ", text).strip()
    if not text:
        raise InvalidInput("Type a few words first: who is the story about, and what happens?")
    if not any(unicodedata.category(c)[0] == "L" for c in text):
        raise InvalidInput("Please use words: emoji, digits and signs alone do not tell a story.")
    if len(text) > MAX_REQUEST:
        raise InvalidInput(
            f"A request may have {MAX_REQUEST} characters, and this one has {len(text)}: "
            "shorten it to the few words that matter."
        )
    return text


_ABBREVIATIONS = frozenset(
    {"mr", "mrs", "ms", "dr", "st", "prof", "sr", "jr", "vs", "etc", "e.g", "i.e", "capt"}
)
# Chinese and Japanese put no space after a sentence; と tells who says the quotation before it.
_SENTENCE_END = re.compile(
    r"""([.!?…]+["'”’»)\]]*(?=\s|$)|[。！？]+["'”’»)\]」』）]*(?!["'”’»)\]」』）、，と]))\s*"""
)
_QUOTES = (("“", "”"), ("「", "」"), ("『", "』"))


def split_sentences(text: str) -> list[str]:
    """Sentences of a text. Abbreviations, initials, quotes and ellipses do not end one.

    A quotation followed by its speaker ('"Stop!" cried the hen.') stays in one piece.
    """
    sentences: list[str] = []
    begin = 0
    for match in _SENTENCE_END.finditer(text):
        before = text[begin : match.start()].rsplit(None, 1)
        last = before[-1].lower().lstrip("\"'“‘(") if before else ""
        mark, after = match.group(1), text[match.end() : match.end() + 1]
        if mark == "." and (last in _ABBREVIATIONS or re.fullmatch(r"[a-z]", last) and last != "i"):
            continue
        if mark == "." and last == "no" and after.isdigit():
            continue
        if re.match(r"[a-z]", after):  # the speaker, or an ellipsis in mid-sentence
            continue
        # An open quotation goes on: keep "One. Two," in one piece unless it grows long.
        piece = text[begin : match.end(1)].strip()
        quoting = piece.count('"') % 2 == 1 or any(
            piece.count(opened) > piece.count(closed) for opened, closed in _QUOTES
        )
        if quoting and len(piece) < 160:
            continue
        sentences.append(piece)
        begin = match.end()
    tail = text[begin:].strip()
    return [s for s in [*sentences, tail] if s]


def singulars(token: str) -> list[str]:
    """What a token may be the plural (or possessive) of, itself first."""
    forms = [token]
    for ending, instead in (
        ("'s", ""),
        ("’s", ""),
        ("ies", "y"),
        ("ves", "f"),
        ("men", "man"),
        ("es", ""),
        ("s", ""),
    ):
        short = 1 if ending == "ies" else 2  # letters that a word has at least before it
        if token.endswith(ending) and len(token) > len(ending) + short:
            forms.append(token[: -len(ending)] + instead)
    irregular = {"mice": "mouse", "geese": "goose", "men": "man", "women": "woman",
                 "children": "child", "wolves": "wolf", "elves": "elf"}  # fmt: skip
    return [*forms, irregular[token]] if token in irregular else forms


def known_word(token: str) -> str | None:
    """The vocabulary word that a token of text names, None if it names none."""
    words, instead, forms = vocabulary(), stand_ins(), singulars(token.lower())
    # What is painted itself comes first: "cookies" are no cooks, though WordNet calls those cooky.
    meant = next((form for form in forms if form in words), None)
    return meant or next((instead[form] for form in forms if form in instead), None)


ONLY_SHE = frozenset(
    "cow hen girl woman grandmother princess queen witch mermaid fairy ladybug".split()
)
ONLY_HE = frozenset("rooster boy man grandfather prince king wizard genie peacock santa".split())
"""Characters of whom a story says "she", and "he"; of all others it may say either."""

_NAMED = re.compile(
    r"\b([a-z]+(?: [a-z]+)?),? (?:was )?(?:named|called) ([A-Z]\w+)"
    r"|\b([A-Z]\w+) the ([a-z]+)\b|\b[Tt]he ([a-z]+) ([A-Z][a-z]+)\b"
)


_BEGINNINGS = frozenset(
    "in on at by near under over behind above below beside inside into onto from with without "
    "when while then but and so as if because after before until where how what who why for to "
    "of off up down out through across around along between past towards against beyond beneath "
    "all only even just now there here soon once said asked cried called both like that is was "
    "did does can".split()
)
"""What a sentence begins with before "the", and nobody is called: "When the fox woke"."""


def cast_of(texts: Sequence[str]) -> dict[str, str]:
    """Names in a story -> who bears them: "A fox named Pip" gives {"Pip": "fox"}."""
    cast: dict[str, str] = {}
    for text in texts:
        for m in _NAMED.finditer(text):
            kind, name = next(
                (k, n)
                for k, n in ((m[1], m[2]), (m[4], m[3]), (m[5], m[6]))
                if k is not None and n is not None
            )
            word = known_word(kind.replace(" ", "_")) or known_word(kind.split()[-1])
            if word and name.lower() not in _BEGINNINGS:
                cast.setdefault(name, word)
    return cast


_SUBJECTS = frozenset({"he", "she", "they"})
_PRONOUNS = frozenset({"he", "she", "it", "they", "him", "her", "them", "i", "we", "his", "their"})


def _is_name(token: str, *, first: bool) -> bool:
    """Whether a word with a capital, here in lower case, is a given name and not a kind of thing
    that something stands in for: "Holly ran" tells of no tree, "Axolotls ran" of frogs."""
    forms = singulars(token)
    if any(form in vocabulary() or form in SYNONYMS for form in forms):
        return False
    return not (first and token not in stand_ins())


_TOWARDS = re.compile(
    r"\b(?:in|into|inside|at|on|onto|by|near|under|beneath|below|to|through|across|from|behind)"
    r"(?: (?:a|an|the|my|our|his|her|their))?(?: [a-z]+)? ([a-z]+)\b"
)


def places_asked(request: str) -> frozenset[str]:
    """The places that a request in lower case puts its story in: "a match in the forest".

    A place that is only spoken of ("a fox who loved the sea") is none.
    """
    found = set[str]()
    for match in _TOWARDS.finditer(request):
        for words in (match[0], match[0].rpartition(" ")[0]):
            last = words.rpartition(" ")[2]
            phrase = next((p for p in _PLACE_PHRASES if words.endswith(p)), "")
            place = _PLACE_PHRASES.get(phrase) or PLACE_WORDS.get(last)
            if place:
                found.add(place)
                break
    return frozenset(found)


@dataclass
class _Seen:
    """What a sentence tells of its picture, as far as it tells."""

    items: dict[str, Item] = field(default_factory=dict[str, Item])
    """By word, in the order of the sentence."""
    place: str = ""
    time: str = ""
    skies: list[str] = field(default_factory=list[str])
    pronoun: bool = False


def _see(text: str, cast: Mapping[str, str]) -> _Seen:
    """Read a sentence word by word; `cast` says who bears which name."""
    tokens = re.findall(r"[A-Za-z]+(?:['’]s)?", text)
    lower = [t.lower() for t in tokens]
    seen = _Seen()
    relation, count, skip = "", 1, False
    for n, token in enumerate(lower):
        if skip:
            skip = False
            continue
        pair = f"{token}_{lower[n + 1]}" if n + 1 < len(lower) else ""
        name = tokens[n].removesuffix("'s").removesuffix("’s")
        word = cast.get(name) or known_word(pair) or known_word(token)
        if word and name not in cast and name[0].isupper() and _is_name(token, first=n == 0):
            word = None
        skip = word is not None and name not in cast and known_word(pair) == word and bool(pair)
        if token == "stars":  # those of the sky; one star is a thing to hold
            word = None
        if token in _SKY_WORDS and word is None:
            sky = _SKY_WORDS[token]
            seen.skies += [sky] if sky not in seen.skies else []
        seen.time = _TIME_WORDS.get(token, seen.time)
        house = token in _HOUSES
        if house and _WITHIN.search(" ".join(lower[:n]) + " "):
            house, word, relation, count = False, None, "", 1
        if token in PLACE_WORDS and not (
            house or (seen.place and token in ("table", "sand", "flew", "flying"))
        ):
            seen.place = PLACE_WORDS[token]
        elsewhere = _PLACE_PHRASES.get(" ".join(lower[max(n - 2, 0) : n + 1]))
        if elsewhere:
            seen.place = elsewhere
            seen.skies = [s for s in seen.skies if s != token]
        if word is not None:
            many = 2 if token != word and token == plural(word) else 1
            if word not in seen.items:
                seen.items[word] = Item(word, max(count, many), relation or "+")
            relation, count = "", 1
        elif token in _RELATION_WORDS:
            relation = _RELATION_WORDS[token]
        elif token in _NUMBERS:
            count = _NUMBERS[token]
        seen.pronoun |= token in _PRONOUNS
    return seen


def _last_scene(before: Sequence[Sentence]) -> Scene | None:
    """What the last picture shows whose brief can be read."""
    for sentence in reversed(before):
        try:
            return parse_brief(sentence.brief)
        except InvalidInput:
            continue
    return None


def _with_heroes(seen: _Seen, text: str, last: Scene | None) -> list[Item]:
    """What the picture shows: what the sentence names, and whom it speaks of without a name."""
    found = list(seen.items.values())
    if last is None:
        return found
    actors = [i for i in found if is_character(i.word)]
    heroes = [i for i in last.items if is_character(i.word)]
    told: list[Item] = []
    if not actors and (seen.pronoun or not found):
        told = heroes[: 2 - seen.pronoun] or list(last.items[:1])
    elif heroes and len(actors) == 1:  # "He met an owl."
        first = re.search(r"[A-Za-z]+(?:['’]s)?", text)
        told = heroes[:1] if first and first[0].lower() in _SUBJECTS else []
    return list(({i.word: i for i in told} | {i.word: i for i in found}).values())


def brief_of(text: str, before: Sequence[Sentence] = ()) -> str:
    """What the picture of a sentence shows, read from its words and from the story before it.

    Who acts comes first; names and pronouns are looked up in the sentences before; place and
    time stay as they were until the story says otherwise.
    """
    last = _last_scene(before)
    seen = _see(text, cast_of([*(s.text for s in before), text]))
    found = _with_heroes(seen, text, last) or [Item("girl")]
    order = sorted(found, key=lambda i: not is_character(i.word))[:4]
    items = tuple(
        Item(i.word, i.count, "" if n == 0 else i.relation if i.relation != "" else "+")
        for n, i in enumerate(order)
    )
    place = seen.place or (
        last.place if last else _CLASS_PLACES[vocabulary()[items[0].word]["class"]]
    )
    time = seen.time or (last.time if last else "day")
    if {"moon", "stars"} & set(seen.skies) and time == "day":
        time = "night"
    return str(Scene(items, place, time, tuple(seen.skies[:2])))
