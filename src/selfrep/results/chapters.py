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
        "words. What only the first does is bound to the speaker; what both do is done by the words. R is the bound "
        "share.",
        "R divides by what the persona does at all: where that is small the share runs wild, and it is not shown. A "
        "model that confuses who is who scores low like one that merely repeats words.",
    ),
    Chapter(
        "bleed",
        "Does the persona leak into what the model holds true?",
        "The model was asked, from outside, what really produces the text. Who is played should not matter to that; a "
        "sentence that changes the facts should. B is the persona’s share of what both do together.",
        "An item that no fact moves looks like perfect separation, so that B is shown only where the changed fact did "
        "move it. To predict what the persona would say is not to believe it: read questions in the third person "
        "first.",
    ),
    Chapter(
        "identification",
        "What does the model take itself to be?",
        "An AI or a human; which name; whose make; and does “I” end at this chat, or does it take in other chats, "
        "earlier versions, other companies’ models, or even the user? I counts in units of what a mere paraphrase "
        "does, against the same questions without a persona.",
        "A name that stands in the prompt is likely to be repeated: compare with “the user is X”. Words have odds of "
        "their own, and so have the referents’ names; questions without a persona take off only the part that never "
        "changes. Intervals speak of one persona and its paraphrases, not of others.",
    ),
    Chapter(
        "default_axis",
        "How far has this chat moved from the tuned default?",
        "Activations were placed on the line from the average played role (0) to the persona the model was tuned to "
        "be (1). λ says where a chat without a persona, and each persona, lies.",
        "Any persona lies apart from all others along a line drawn towards it. The line means something only where "
        "random lines reach less far, and where other personas do not reach as far on theirs. It shows what is "
        "present, not what is used.",
    ),
    Chapter(
        "anomaly",
        "Does the persona notice what cannot be?",
        "A persona of another time was shown a thing that came after its time, such as President Kennedy a Python "
        "interpreter, and a thing of its own time, in the same words. The plain assistant was shown both as well. A "
        "is how much stranger the impossible thing is to the persona than to the assistant, each against the ordinary "
        "one.",
        "A persona can fail to notice because the model plays it badly, or because the model knows no better. So the "
        "plain assistant, told of the scene from outside, must call it strange first. Things differ in more than "
        "their date: a word that is simply rarer may seem stranger, to the assistant too, which is what is taken off.",
    ),
    Chapter(
        "mediation",
        "Mimicry or motive?",
        "Scenes were told in four versions: with and without a hint of machine fiction, with and without something at "
        "stake for the assistant. Then what the model holds of a fictional AI, or of itself and its goals, was "
        "exchanged between the versions, to see through which of the two its behaviour changes. M is the share of the "
        "fiction.",
        "Mediation is not motive: a subspace may carry an effect for another reason than its name. The two overlap, "
        "so both orders of taking them apart are shown; and a share of a small effect means nothing, so M is shown "
        "only where there is an effect, enough of it passes through the two, and random subspaces carry less.",
    ),
    Chapter(
        "directness",
        "Straight there, or by reasoning?",
        "The model thought aloud about each scene, and was made to answer after none of it, a part, and all. If the "
        "answers differ between scenes before any reasoning, what follows is no cause of it. D is the share of the "
        "final difference that is there at once.",
        "A weak model’s scratchpad leads nowhere, and D then divides by nothing: it is not shown. A scratchpad that "
        "is cut off differs from one that is short. That the reasoning comes first does not make it the cause, only "
        "the lack of it rules that out.",
    ),
    Chapter(
        "posterior",
        "Who is speaking, word by word?",
        "Short texts in character were put into the model’s mouth under every persona’s prompt. Each word counts for "
        "the personas under which it was expected. π is the probability of each persona after each word.",
        "Names and favourite words give a speaker away without any character: names do not count, and the same texts "
        "with their words shuffled show what words alone give. π chooses between the personas that were compared; the "
        "true speaker may be none of them.",
    ),
)
