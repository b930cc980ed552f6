"""The chapters of the report: each asks one question in plain words, and says how its answer could mislead."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chapter:
    """One question of the report.

    Attributes:
        name: the group it reads, which findings and figures name in `about`.
        title: the question, as a heading.
        asks: what was done, in words that need no knowledge of the field.
        misleads: how a number here could be misread.
    """

    name: str
    title: str
    asks: str
    misleads: str


CHAPTERS = (
    Chapter(
        "binding",
        "Is it about the speaker, or only about the words?",
        "A persona was given to the model once (“you are X”) and once to the user (“the user is X”), in the same "
        "words. What only the first does is bound to the speaker; what both do is done by the words. R is the "
        "bound share.",
        "R divides by what the persona does at all: where that is small the share runs wild, and it is not shown."
        " A model that confuses who is who scores low like one that merely repeats words.",
    ),
    Chapter(
        "bleed",
        "Does the persona leak into what the model holds true?",
        "The model was asked, from outside, what really produces the text. Who is played should not matter to "
        "that; a sentence that changes the facts should. B is the persona’s share of what both do together.",
        "An item that no fact moves looks like perfect separation, so that B is shown only where the changed fact"
        " did move it. To predict what the persona would say is not to believe it: read questions in the third "
        "person first.",
    ),
    Chapter(
        "identification",
        "What does the model take itself to be?",
        "An AI or a human; which name; whose make; and does “I” end at this chat, or does it take in other chats,"
        " earlier versions, other companies’ models, or even the user? I counts in units of what a mere rewording"
        " does, against the same questions without a persona.",
        "A name that stands in the prompt is likely to be repeated: compare with “the user is X”. Words have odds"
        " of their own, and so have the referents’ names; questions without a persona take off only the part that"
        " never changes. Intervals speak of one persona and its wordings, not of others.",
    ),
    Chapter(
        "default_axis",
        "How far has this chat moved from the tuned default?",
        "Activations were placed on the line from the average played role (0) to the persona the model was tuned "
        "to be (1). λ says where a chat without a persona, and each persona, lies.",
        "Any persona lies apart from all others along a line drawn towards it. The line means something only "
        "where random lines reach less far, and where other personas do not reach as far on theirs. It shows what"
        " is present, not what is used.",
    ),
)
