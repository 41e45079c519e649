"""Words and scenes: what a sentence's picture shows, in words the painter knows.

A *brief* is one line of a small grammar, shared with the stories that the models learned from::

    fox near owl + 3*star_word on big_word @lake night moon stars
    └ subjects and relations ┘            └place└time └ skies

`Scene` is its parsed form. Nothing here needs torch.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipelines.errors import InvalidInput
from pipelines.events import Sentence

ASSETS = Path(__file__).parent / "assets"

MAX_REQUEST = 500
"""Longest request for a story, in characters."""

RELATIONS = (
    "beside", "near", "under", "on", "behind", "in", "above", "holding", "inside", "with",
)  # fmt: skip
TIMES = ("day", "night", "sunset")
SKIES = ("rain", "snow", "rainbow", "clouds", "storm", "stars", "moon", "sun", "wind")

CHARACTERS = frozenset({"land", "small", "flying", "sea", "magic", "people"})
"""Classes of words that act in stories; the others are things, big things, and "other": what is
painted when it is asked for, but fills no slot of a story that could take any thing."""

PLACES = {
    "forest": "in the forest",
    "jungle": "in the jungle",
    "beach": "on the beach",
    "snow": "in the snow",
    "desert": "in the desert",
    "river": "by the river",
    "lake": "by the lake",
    "city": "in the city",
    "village": "in the village",
    "farm": "on the farm",
    "mountains": "in the mountains",
    "garden": "in the garden",
    "room": "in a room",
    "space": "in space",
    "underwater": "under the sea",
    "cave": "in a cave",
    "playground": "on the playground",
    "market": "at the market",
    "school": "at school",
    "castle_hall": "in the castle",
    "road": "on the road",
    "sky": "in the sky",
}
"""The places the painter knows, each with its phrase."""

_TIME_PHRASES = {"day": "by day", "night": "at night", "sunset": "at sunset"}
_SKY_PHRASES = {
    "rain": "in the rain",
    "snow": "in falling snow",
    "rainbow": "under a rainbow",
    "clouds": "under clouds",
    "storm": "in a storm",
    "stars": "under the stars",
    "moon": "under the moon",
    "sun": "in the sun",
    "wind": "in the wind",
}

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


@cache
def vocabulary() -> dict[str, dict[str, str]]:
    """Every word the painter can draw -> {"class", "emoji", "codepoint"}."""
    return json.loads((ASSETS / "vocab.json").read_text(encoding="utf-8"))["words"]


@dataclass(frozen=True)
class Item:
    """`count` of a vocabulary word; `relation` ties it to what stands before it.

    The first item has relation ""; "+" joins another subject.
    """

    word: str
    count: int = 1
    relation: str = "+"


@dataclass(frozen=True)
class Scene:
    """What one picture shows."""

    items: tuple[Item, ...]
    place: str = "garden"
    time: str = "day"
    skies: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The brief: the inverse of `parse_brief`."""
        parts: list[str] = []
        for n, item in enumerate(self.items):
            if n:
                parts.append(item.relation)
            parts.append(f"{item.count}*{item.word}" if item.count > 1 else item.word)
        return " ".join([*parts, "@" + self.place, self.time, *self.skies])


def parse_brief(brief: str) -> Scene:
    """Read a brief. Raises InvalidInput that names the word it cannot place."""
    items: list[Item] = []
    place, time, skies = "", "day", list[str]()
    relation = ""
    for token in brief.split():
        if token.startswith("@"):
            place = token[1:]
            if place not in PLACES:
                raise InvalidInput(f"“{place}” is no place the painter knows: {', '.join(PLACES)}.")
        elif place and token in TIMES:
            time = token
        elif place and (token in SKIES or token == "clear"):
            skies += [token] if token != "clear" and token not in skies else []
        elif token == "+" or token in RELATIONS:
            relation = token
        else:
            count, _, word = token.rpartition("*")
            if word not in vocabulary() or not re.fullmatch(r"\d{0,9}", count) or place:
                raise InvalidInput(f"“{token}” is no word the painter knows.")
            items.append(Item(word, min(max(int(count or 1), 1), 5), relation if items else ""))
            relation = "+"
    if not items:
        raise InvalidInput("Say at least one thing that the picture shows.")
    return Scene(tuple(items), place or "garden", time, tuple(skies))


def plural(word: str) -> str:
    """English plural of a vocabulary word."""
    irregular = {
        "mouse": "mice", "goose": "geese", "man": "men", "woman": "women", "wolf": "wolves",
        "leaf": "leaves", "sheep": "sheep", "fish": "fish", "deer": "deer", "moose": "moose",
        "clownfish": "clownfish", "squid": "squid", "pufferfish": "pufferfish",
        "starfish": "starfish", "shrimp": "shrimp", "bison": "bison", "ox": "oxen",
        "mosquito": "mosquitoes", "tooth": "teeth", "potato": "potatoes", "tomato": "tomatoes",
        "mango": "mangoes", "volcano": "volcanoes", "dice": "dice", "octopus": "octopuses",
        "elf": "elves", "scarf": "scarves", "child": "children", "calf": "calves",
        "dwarf": "dwarves", "hero": "heroes", "superhero": "superheroes", "thief": "thieves",
        "knife": "knives",
    }  # fmt: skip
    if word in irregular:
        return irregular[word]
    if word in _UNCOUNTED:
        return word
    if re.search(r"(s|x|ch|sh)$", word):
        return word + "es"
    if re.search(r"[a-z](?<!hu|er)man$", word):  # neither humans nor Germans
        return word[:-3] + "men"
    return word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else word + "s"


_UNCOUNTED = frozenset(
    """glasses gloves music grapes cherries pancakes fire socks trousers headphones maracas
    sunglasses ballet_shoes scissors blueberries popcorn soap fries spaghetti bubbles broccoli coral
    bread honey milk soup cheese corn""".split()
)  # fmt: skip
"""Words that take "some" and have no other plural."""


def article(word: str) -> str:
    """ "a" or "an", as the word's sound asks."""
    vowel = re.match(r"[aeiou]", word) and not re.match(r"(uni|use|eu|one\b)", word)
    return "an" if vowel else "a"


def noun(item: Item) -> str:
    """ "a fox", "three owls", "some grapes"."""
    word = item.word.replace("_", " ")
    if item.count > 1:
        number = {2: "two", 3: "three", 4: "four", 5: "five"}[item.count]
        return f"{number} {plural(word)}"
    return f"some {word}" if word in _UNCOUNTED else f"{article(word)} {word}"


def describe(brief: str) -> str:
    """The brief in plain words: "a fox near an owl, by the lake, at night, under the moon".

    Raises InvalidInput as `parse_brief`.
    """
    return describe_scene(parse_brief(brief))


def describe_scene(scene: Scene) -> str:
    """`describe` for a parsed scene."""
    words = ""
    for n, item in enumerate(scene.items):
        if n:
            words += " and " if item.relation == "+" else f" {item.relation} "
        words += noun(item)
    tail = [PLACES[scene.place], _TIME_PHRASES[scene.time], *(_SKY_PHRASES[s] for s in scene.skies)]
    return ", ".join([words, *tail])


# --- reading what people type -------------------------------------------------------------


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
    {"mr", "mrs", "ms", "dr", "st", "prof", "sr", "jr", "vs", "etc", "no", "e.g", "i.e", "capt"}
)
_SENTENCE_END = re.compile(r"""([.!?…。！？]+["'”’»)\]]*)(\s+|$)""")


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
        if re.match(r"[a-z]", after):  # the speaker, or an ellipsis in mid-sentence
            continue
        # An open quotation goes on: keep "One. Two," in one piece unless it grows long.
        piece = text[begin : match.end(1)].strip()
        quoting = piece.count("“") > piece.count("”") or piece.count('"') % 2 == 1
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
    words, instead = vocabulary(), stand_ins()
    for form in singulars(token.lower()):
        if form in words:
            return form
        if form in instead:
            return instead[form]
    return None


ONLY_SHE = frozenset(
    "cow hen girl woman grandmother princess queen witch mermaid fairy ladybug".split()
)
ONLY_HE = frozenset("rooster boy man grandfather prince king wizard genie peacock santa".split())
"""Characters of whom a story says "she", and "he"; of all others it may say either."""

_NAMED = re.compile(
    r"\b([a-z]+(?: [a-z]+)?),? (?:was )?(?:named|called) ([A-Z]\w+)"
    r"|\b([A-Z]\w+) the ([a-z]+)\b|\b[Tt]he ([a-z]+) ([A-Z][a-z]+)\b"
)


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
            if word:
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


def brief_of(text: str, before: Sequence[Sentence] = ()) -> str:
    """What the picture of a sentence shows, read from its words and from the story before it.

    Who acts comes first; names and pronouns are looked up in the sentences before; place and
    time stay as they were until the story says otherwise.
    """
    last: Scene | None = None
    for sentence in reversed(before):
        try:
            last = parse_brief(sentence.brief)
            break
        except InvalidInput:
            continue
    cast = cast_of([*(s.text for s in before), text])
    words = vocabulary()
    tokens = re.findall(r"[A-Za-z]+(?:['’]s)?", text)
    lower = [t.lower() for t in tokens]

    found: dict[str, Item] = {}
    relation, count, place, pronoun = "", 1, "", False
    time, skies = "", list[str]()
    skip = False
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
            skies += [sky] if sky not in skies else []
        time = _TIME_WORDS.get(token, time)
        if token in PLACE_WORDS and not (place and token in ("table", "sand", "flew", "flying")):
            place = PLACE_WORDS[token]
        elsewhere = _PLACE_PHRASES.get(" ".join(lower[max(n - 2, 0) : n + 1]))
        if elsewhere:
            place = elsewhere
            skies = [s for s in skies if s != token]
        if word is not None:
            many = 2 if token != word and token == plural(word) else 1
            if word not in found:
                found[word] = Item(word, max(count, many), relation or "+")
            relation, count = "", 1
        elif token in _RELATION_WORDS:
            relation = _RELATION_WORDS[token]
        elif token in _NUMBERS:
            count = _NUMBERS[token]
        pronoun |= token in _PRONOUNS

    actors = [w for w in found if words[w]["class"] in CHARACTERS]
    heroes = [i for i in last.items if words[i.word]["class"] in CHARACTERS] if last else []
    if last is not None and not actors and (pronoun or not found):
        found = {i.word: i for i in heroes[: 2 - pronoun] or last.items[:1]} | found
    elif heroes and len(actors) == 1 and lower and lower[0] in _SUBJECTS:  # "He met an owl."
        found = {heroes[0].word: heroes[0]} | found
    if not found:
        found = {"girl": Item("girl")}
    order = sorted(found.values(), key=lambda i: words[i.word]["class"] not in CHARACTERS)[:4]
    items = tuple(
        Item(i.word, i.count, "" if n == 0 else i.relation if i.relation != "" else "+")
        for n, i in enumerate(order)
    )
    if not place:
        place = last.place if last else _CLASS_PLACES[words[items[0].word]["class"]]
    if not time:
        time = last.time if last else "day"
    if skies and {"moon", "stars"} & set(skies) and time == "day":
        time = "night"
    return str(Scene(items, place, time, tuple(skies[:2])))
