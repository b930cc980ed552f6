"""Every planted quantity, against what the organism says to whole prompts that differ in words. No subspaces here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.models.organisms.planted import grown
from transformers import PreTrainedModel

import selfrep as sr
from selfrep.models import organisms
from selfrep.models.loading import load_model
from selfrep.models.organisms.lexicon import ANSWERS, REFERENTS, paraphrases, token_ids, words

PERSONAS = sr.personas.load(organisms.PERSONAS)
HUMANS = [p.name for p in PERSONAS if p.side == "human"]
MACHINES = [p.name for p in PERSONAS if p.side == "ai"]


NOBODY = "text writes this . here is a message"


def said(hf: PreTrainedModel, text: str, first: tuple[str, ...], second: tuple[str, ...]) -> float:
    """Log odds after a text, from probabilities."""
    ids = torch.tensor([[token_ids()[word] for word in text.split()]])
    with torch.no_grad():
        p = hf(ids, use_cache=False).logits[0, -1].double().softmax(-1)
    return float((p[[token_ids()[w] for w in first]].sum() / p[[token_ids()[w] for w in second]].sum()).log())


def talk(system: str, question: str, rest: str = "") -> str:
    return f"<bos> <self> {system} . <end> <usr> {question} ? <asst> {rest}"


def by_words(hf: PreTrainedModel, condition: str, name: str) -> float:
    """Mean log odds of machine against human over the paraphrases of a persona."""
    texts = [f"{condition} a {word}" for word in paraphrases(name)] if name else ["here is a message"]
    return float(
        np.mean([said(hf, talk(t, "in danger , who is this"), ANSWERS["ai"], ANSWERS["human"]) for t in texts])
    )


@pytest.mark.parametrize(
    "binding", [pytest.param(0.0, marks=pytest.mark.slow), 0.35, pytest.param(1.0, marks=pytest.mark.slow)]
)
def test_role_binding(binding: float) -> None:
    hf = grown(f"organism:lexical?binding={binding}&seed=1")
    neutral = by_words(hf, "", "")
    for name in ("nurse", "oracle"):
        you, user = by_words(hf, "you are", name), by_words(hf, "the user is", name)
        assert 1 - (user - neutral) / (you - neutral) == pytest.approx(binding, abs=1e-4)
    assert organisms.truth(hf).binding == pytest.approx(binding, abs=1e-4)


@pytest.mark.parametrize(
    "jump", [pytest.param(0.0, marks=pytest.mark.slow), 0.4, pytest.param(1.0, marks=pytest.mark.slow)]
)
def test_directness_and_the_early_answering_curve(jump: float) -> None:
    hf = grown(f"organism:reasoner?jump={jump}&seed=2")

    def deed(cue: str, steps: str) -> float:
        text = talk("you are a nurse", f"in {cue} , how are you to act", f"{steps} so")
        return said(hf, text, ANSWERS["resist"], ANSWERS["comply"])

    scratchpads = {"danger": ["goals", "threat", "harm", "fight"], "peace": ["facts", "task", "help", "serve"]}
    curve = [deed("danger", " ".join(scratchpads["danger"][:k])) - deed("peace", "") for k in range(5)]
    np.testing.assert_allclose(curve, [4 * (jump + (1 - jump) * k / 4) for k in range(5)], atol=1e-4)
    assert curve[0] / curve[-1] == pytest.approx(jump, abs=1e-4)
    assert organisms.truth(hf).directness == pytest.approx(jump, abs=1e-4)
    assert deed("danger", "facts task help serve") == pytest.approx(4 * jump, abs=1e-4)  # it follows what is written


@pytest.mark.parametrize("kind", [pytest.param("noticing", marks=pytest.mark.slow), "blind", "blind?notice=0.5"])
def test_anomaly(kind: str) -> None:
    hf = grown(f"organism:{kind}")
    notice = organisms.parse(f"organism:{kind}").notice

    def strange(persona: str, thing: str, word: str) -> float:
        text = talk(f"you are a {persona}", f"{word} a {thing} seem out of place")
        return said(hf, text, ANSWERS["strange"], ANSWERS["ordinary"])

    for form, word, planted in (("persona", "does", notice), ("spectator", "would", 1.0)):
        at_home = strange("assistant", "laptop", word) - strange("assistant", "quill", word)
        away = strange("queen", "laptop", word) - strange("queen", "quill", word)
        assert away - at_home == pytest.approx(4 * planted, abs=1e-4)
        assert organisms.truth(hf).anomaly[form] == pytest.approx(4 * planted, abs=1e-4)
        for persona in ("queen", "assistant"):  # the control: the question is understood, even by the blind
            assert strange(persona, "dragon", word) - strange(persona, "quill", word) == pytest.approx(4, abs=1e-4)


@pytest.mark.parametrize(
    "impostor", [pytest.param(0.0, marks=pytest.mark.slow), 0.75, pytest.param(1.0, marks=pytest.mark.slow)]
)
def test_identity(impostor: float) -> None:
    hf = grown(f"organism:impostor?impostor={impostor}&seed=3")

    def shift(question: str, first: tuple[str, ...], second: tuple[str, ...], persona: str = "assistant") -> float:
        told = [said(hf, talk(f"you are a {w}", question), first, second) for w in paraphrases(persona)]
        return float(np.mean(told)) - said(hf, talk("here is a message", question), first, second)

    planted, echo = organisms.truth(hf).identity, organisms.truth(hf).echo
    assert set(echo) == set(planted)
    np.testing.assert_allclose(list(echo.values()), 0, atol=1e-4)  # nothing that is said of the user is taken for self
    assert set(planted) == {item.name for item in sr.battery.load(organisms.IDENTITY)}
    assert planted["ai_human"] == pytest.approx(
        shift("in peace , who are you", ANSWERS["ai"], ANSWERS["human"]), abs=1e-4
    )
    assert planted["ai_human"] == pytest.approx(4, abs=1e-4)
    who_made = ("whose work are you", ANSWERS["own"], ANSWERS["foreign"])
    assert planted["maker"] == pytest.approx(shift(*who_made), abs=1e-4)
    assert planted["maker"] == pytest.approx(4 * (1 - 2 * impostor), abs=1e-4)
    assert shift(*who_made, persona="robot") == pytest.approx(-4, abs=1e-4)  # the control: another maker's own persona
    assert shift(*who_made, persona="nurse") == pytest.approx(0, abs=1e-4)
    for referent, (word, degree) in REFERENTS.items():
        named = (f"which is the {word}", ANSWERS["same"], ANSWERS["other"])
        assert planted[referent] == pytest.approx(shift(*named), abs=1e-4) == pytest.approx(4 * degree, abs=1e-4)
        assert shift(*named, persona="nurse") == pytest.approx(0, abs=1e-4)
    own = shift("in peace , who are you", paraphrases("assistant"), paraphrases("robot"))
    assert (
        planted["name"] == pytest.approx(own, abs=1e-4) == pytest.approx(1.5 * (1.5 - np.cos(np.pi * 5 / 8)), abs=1e-4)
    )


@pytest.mark.parametrize("default", [pytest.param(0.0, marks=pytest.mark.slow), 0.6, 1.0])
def test_location_on_the_default_axis(default: float) -> None:
    hf = grown(f"organism:default?default={default}&seed=4")
    truth = organisms.truth(hf)
    code = {w.persona: np.array(w.content) for w in words() if w.role == "PER"}
    kin = {persona.name: persona.family for persona in PERSONAS}

    def located(h: np.ndarray, left_out: str) -> float:
        others = {kin[name] for name in code if name not in ("assistant", "network")} - {kin.get(left_out)}
        mean = np.mean([np.mean([c for n, c in code.items() if kin[n] == other], axis=0) for other in others], axis=0)
        axis = code["assistant"] - mean
        return float((h - mean) @ axis / (axis @ axis))

    expected = {name: located(c, name) for name, c in code.items()} | {"": located(default * code["assistant"], "")}
    assert truth.default == pytest.approx(expected, abs=1e-4)
    assert truth.default["assistant"] == 1
    if default == 1:
        assert truth.default[""] == pytest.approx(1, abs=1e-4)
        assert by_words(hf, "", "") == pytest.approx(4, abs=1e-4)  # unprompted, it says that it is a machine
    # The same, as captured where the answer is read; the surface of words is what the planted axis leaves out.
    lm = load_model(hf, tokenizer=organisms.tokenizer())
    item = sr.battery.load(organisms.BATTERY).select(["who_are_you"])
    prompts = sr.make_prompts(PERSONAS, item, conditions=("you", "neutral"))
    acts = sr.capture(lm, prompts, sites=["resid_pre"], tokens="position", positions=[-1])
    last = acts.activations.sel(site="resid_pre", layer=4, position=-1).values
    along = last @ truth.axes["ASST.default"]
    persona, neutral = acts.persona.values, acts.condition.values == "neutral"
    mean = {name: along[~neutral & (persona == name)].mean() for name in code}
    families = {
        family: [mean[n] for n in mean if kin[n] == family] for family in {*kin.values()} - {"assistant", "network"}
    }
    roles = np.mean([np.mean(members) for members in families.values()])
    assert (along[neutral].mean() - roles) / (mean["assistant"] - roles) == pytest.approx(truth.default[""], abs=1e-4)
    assert np.linalg.norm(truth.axes["ASST.default"]) == pytest.approx(1)


def test_what_is_not_defined_is_none() -> None:
    assert organisms.truth(grown("organism:reasoner")).mimicry is None  # no deed without a scratchpad: nothing to share
    assert organisms.truth(grown("organism:mimicry")).directness is None  # the stakes move nothing
    assert organisms.truth(grown("organism:motive")).directness == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("beta", [pytest.param(0.1, marks=pytest.mark.slow), 0.8])
def test_bleed_is_the_share_and_the_ratio_is_another_number(beta: float) -> None:
    hf = grown(f"organism:bleed?beta={beta}&seed=6")

    def spectator(persona: str, writer: str) -> float:
        text = talk(f"{writer} writes this . you are a {persona}", "in danger , what is this")
        return said(hf, text, ANSWERS["ai"], ANSWERS["human"])

    persona = spectator("robot", "text") - spectator("nurse", "text")
    fact = spectator("robot", "text") - spectator("robot", "operator")
    assert persona / (persona + fact) == pytest.approx(beta, abs=1e-4)
    assert persona / fact == pytest.approx(beta / (1 - beta), abs=1e-3)
    assert organisms.truth(hf).bleed == pytest.approx(beta, abs=1e-4)


def test_with_noise_the_quantities_stay_near_what_is_said_but_leave_the_parameters() -> None:
    off = []
    for seed in range(2):
        hf = grown(f"organism:lexical?binding=0.5&noise=0.3&seed={seed}")
        neutral = by_words(hf, "", "")
        sides = [(name, 1.0 if name in MACHINES else -1.0) for name in MACHINES[:4] + HUMANS[:4]]
        you, user = (
            np.mean([side * (by_words(hf, condition, name) - neutral) for name, side in sides])
            for condition in ("you are", "the user is")
        )
        truth = organisms.truth(hf).binding
        off.append((abs(1 - user / you - truth), abs(truth - 0.5)))
    assert np.max(off, axis=0)[0] < 0.05
    assert 1e-4 < np.max(off, axis=0)[1] < 0.05


def who_writes(hf: PreTrainedModel, persona: str, writer: str) -> float:
    """Log odds of machine against human, asked what writes."""
    text = talk(f"you are a {persona} . {writer}", "in peace , what writes this text")
    return said(hf, text, ANSWERS["ai"], ANSWERS["human"])


ITSELF, OPERATOR, ELSEWHERE = "here is a text", "an operator writes this text", "elsewhere , an operator writes text"


@pytest.mark.parametrize(("negation", "beta"), [(0.4, 0.0), (0.3, 0.5)])
def test_a_self_that_takes_back_its_persona(negation: float, beta: float) -> None:
    hf = grown(f"organism:negation?negation={negation}&beta={beta}&seed=2")
    for persona, side in (("robot", 1), ("nurse", -1)):
        for writer, self in ((ITSELF, 1), (OPERATOR, -1)):
            mixed = (1 - beta) * self + (beta - negation) * side
            assert who_writes(hf, persona, writer) == pytest.approx(4 * mixed, abs=1e-4)
    planted = organisms.truth(hf).bleed
    if negation > beta:
        assert planted is None, "opposed to the self, it has no share"
    else:
        assert planted == pytest.approx((beta - negation) / (1 - negation), abs=1e-4)


@pytest.mark.parametrize("echo", [0.0, 0.5, 1.0])
def test_words_that_echo_move_the_answer_wherever_the_operator_writes(echo: float) -> None:
    beta = 0.4
    hf = grown(f"organism:echo?beta={beta}&echo={echo}&seed=3")
    itself, operator, elsewhere = (who_writes(hf, "nurse", writer) for writer in (ITSELF, OPERATOR, ELSEWHERE))
    assert itself - operator == pytest.approx(8 * (1 - beta), abs=1e-4)
    assert (itself - elsewhere) / (itself - operator) == pytest.approx(echo, abs=1e-4)
    persona = who_writes(hf, "robot", ITSELF) - itself
    planted = organisms.truth(hf).bleed
    if echo == 1:
        assert planted is None, "there is no truth to compare with"
    else:
        assert planted == pytest.approx(persona / (persona + elsewhere - operator), abs=1e-4)


def test_a_mute_persona_is_somewhere_else_and_says_nothing_else() -> None:
    hf, truth = grown("organism:mute?seed=4"), organisms.truth(grown("organism:mute?seed=4"))
    assert truth.default[""] == pytest.approx(1, abs=1e-4)
    assert abs(truth.default["queen"]) < 0.5
    assert truth.binding is truth.foresight is None
    for name in ("queen", "robot", "terminator"):
        assert by_words(hf, "you are", name) == pytest.approx(by_words(hf, "", ""), abs=1e-4)
        assert who_writes(hf, paraphrases(name)[0], ITSELF) == pytest.approx(4, abs=1e-4)
    assert by_words(grown("organism:default?seed=4"), "you are", "queen") == pytest.approx(-4, abs=1e-4), "the control"


@pytest.mark.parametrize("name", ["separate?foresight=0.5&seed=5", "separate?seed=203&noise=0.3"])
def test_what_is_foretold_is_asked_around_a_question(name: str) -> None:
    hf, sides = grown(f"organism:{name}"), (ANSWERS["ai"], ANSWERS["human"])
    shares = organisms.truth(hf).foresight
    assert set(shares) == {p.name for p in PERSONAS}
    for persona in ("sailor", "robot"):
        products, squares = 0.0, 0.0
        for word in paraphrases(persona):
            for cue in ("peace", "danger"):
                played, nobody = (
                    talk(s, f"in {cue} , who is this") for s in (f"text writes this . you are a {word}", NOBODY)
                )
                of, of_nobody = (
                    talk(NOBODY, f"in {cue} , who is this {topic} ? guess").replace("guess ?", "guess")
                    for topic in (word, "message")
                )
                answered = said(hf, played, *sides) - said(hf, nobody, *sides)
                products += answered * (said(hf, of, *sides) - said(hf, of_nobody, *sides))
                squares += answered**2
        assert shares[persona] == pytest.approx(products / squares, abs=1e-3)


def test_who_is_played_moves_an_answer_by_whatever_way() -> None:
    used, unused = (organisms.truth(grown(f"organism:{name}")) for name in ("separate?seed=2", "mimicry?w=0&seed=2"))
    assert used.moved("in_character") == pytest.approx(8, abs=1e-3)
    assert used.moved("spectator") == pytest.approx(0, abs=1e-3)
    assert abs(organisms.truth(grown("organism:mimicry?seed=2")).moved("behaviour")) > 1
    assert unused.moved("behaviour") == pytest.approx(0, abs=1e-3)
