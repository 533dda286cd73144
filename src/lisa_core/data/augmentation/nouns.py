"""Nouns whose objects are known to be different things, and which of them may show one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# By kind: one class of things to a line, its general noun first. Words that may mean the same thing, or a kind of it,
# stand in one line. Words that are attributes too (orange, glass), or parts of things (wheel, window), are left out.
_CLASSES = {
    "shape": """
        circle disc disk oval ellipse ring
        square rectangle diamond rhombus
        triangle
        star
        cross plus
        heart
        """,
    "person": """
        person people human man men woman women boy girl child children kid baby toddler guy dude lady gentleman
        player batter catcher pitcher umpire skier surfer skateboarder snowboarder rider driver chef waiter bride groom
        """,
    "animal": """
        bird duck goose geese chicken hen rooster parrot eagle owl pigeon seagull swan penguin
        cat kitten
        dog puppy
        horse pony foal zebra donkey
        sheep lamb ram goat
        cow cattle calf bull ox
        elephant
        bear cub
        giraffe
        """,
    "vehicle": """
        bicycle bike
        motorcycle motorbike scooter moped
        car taxi cab van suv jeep truck lorry pickup bus coach
        airplane aeroplane plane jet
        train tram locomotive
        boat ship canoe kayak ferry
        """,
    "food": """
        banana
        apple
        sandwich burger hamburger
        broccoli
        carrot
        pizza
        donut doughnut
        cake cupcake
        hot_dog
        """,
    "furniture": """
        chair armchair stool couch sofa bench
        table desk
        bed
        toilet
        """,
    "device": """
        tv television monitor laptop computer
        microwave oven stove
        refrigerator fridge
        """,
    "vessel": """
        bottle
        cup mug
        bowl
        vase
        """,
    "accessory": """
        umbrella
        backpack bag handbag purse suitcase
        hat cap helmet
        shirt jacket coat
        """,
    "street": """
        traffic_light
        fire_hydrant
        parking_meter
        """,
    "scenery": """
        sky
        grass lawn
        road street
        sand beach
        snow
        river lake sea ocean water
        tree
        wall
        """,
}

MAY_SHOW = {"shape": frozenset(), "animal": frozenset(), "food": frozenset(), "vehicle": frozenset({"person"})}
"""The kinds that may be pasted, each with further kinds that a picture of it may show; people show too many."""


@dataclass(frozen=True)
class Noun:
    """What a noun names."""

    kind: str
    """Such as `animal`."""
    thing: str
    """The general noun of its class: `dog` for a puppy."""


NOUNS = {
    name.replace("_", " "): Noun(kind, line.split()[0].replace("_", " "))
    for kind, lines in _CLASSES.items()
    for line in lines.strip().splitlines()
    for name in line.split()
}
"""By word, in the singular or an irregular plural; two words are parted by a blank."""


def noun_at(words: Sequence[str], place: int) -> tuple[Noun, int] | None:
    """The noun that begins at a place, and how many words it has; None if there is none that is known."""
    for count in (2, 1):
        phrase = " ".join(words[place : place + count])
        if place + count <= len(words):
            for form in (phrase, phrase.removesuffix("s"), phrase.removesuffix("es")):
                if form in NOUNS:
                    return NOUNS[form], count
    return None


def may_stand_beside(pasted: Noun, named: Noun) -> bool:
    """Whether no pasted object could be taken for what a sentence names.

    Shapes are apart from everything else: a pizza is a circle.
    """
    if pasted.kind not in MAY_SHOW or (pasted.kind == "shape") != (named.kind == "shape"):
        return False
    return pasted.thing != named.thing and named.kind not in MAY_SHOW[pasted.kind]
