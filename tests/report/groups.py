"""One group of each kind a run may hold, where no number stands twice: a sentence or a figure that reads the wrong
variable, layer, row or bound then says a number that the test did not expect.

All numbers have three digits behind the point (probabilities, which are printed with two, stand below 0.1), so that
they can be read back from a sentence as they stand in the Dataset. They mean nothing: intervals need not hold their
estimates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from selfrep.store.run_directory import RunDirectory

LAYERS = [0, 1, 3, 4]
"""Labels that are no indices. Three quarters of the depth is layer 3; a quarter is layer 1."""
ENDS = ("", "_ci_low", "_ci_high")
COMPARED = {"sides": ["ai", "human"], "side_labels": ["AI", "humans"], "n_families": [57, 68]}
TESTED = {"permuted": "labels of this group", "n_labelings": 4321, "smallest_p": 0.017}


def decimals(text: str) -> list[float]:
    """The numbers with a decimal point in a text, in order, with their signs."""
    return [float(found.replace("−", "-")) for found in re.findall(r"[−-]?\d+\.\d+", text)]


class _Numbers:
    """Gives arrays of numbers that no earlier array of it holds."""

    def __init__(self) -> None:
        self._next, self._next_p = 101, 11

    def __call__(self, name: str, shape: Sequence[int]) -> np.ndarray:
        n = int(np.prod(shape))
        if name.split("_")[0] == "p" or name.endswith("_p"):
            values = np.arange(self._next_p, self._next_p + n) / 1000
            self._next_p += n
            assert self._next_p <= 100, "more probabilities than two digits tell apart"
        else:
            k = np.arange(self._next, self._next + n)
            values = np.where(k % 3 == 0, -k, k) / 1000
            self._next += n
            assert self._next <= 1000, "more numbers than three digits tell apart"
        return values.reshape(shape)


def made(
    variables: Mapping[str, str], coords: Mapping[str, Any], attrs: Mapping[str, Any], *, gate: str | None = None
) -> xr.Dataset:
    """A Dataset of numbers that stand nowhere twice.

    Args:
        variables: dims, a string with a blank between them, to the names of the variables over them.
        gate: dims of `identified` (all open) and `reason` (all empty), if there are any.
    """
    sizes = {name: len(v[1] if isinstance(v, tuple) else v) for name, v in coords.items()}
    sizes |= {v[0]: len(v[1]) for v in coords.values() if isinstance(v, tuple)}
    numbers, data = _Numbers(), {}
    for dims, names in variables.items():
        for name in names.split():
            data[name] = (dims.split(), numbers(name, [sizes[dim] for dim in dims.split()]))
    out = xr.Dataset(data, coords=dict(coords), attrs=dict(attrs))
    if gate is not None:
        shape = [sizes[dim] for dim in gate.split()]
        out = out.assign(identified=(gate.split(), np.ones(shape, bool)), reason=(gate.split(), np.full(shape, "")))
    return out


def closed(group: xr.Dataset, reason: str) -> xr.Dataset:
    """The same, with every gate shut."""
    shut = {"identified": group.identified & False, "reason": (group.reason.dims, np.full(group.reason.shape, reason))}
    if "all_words_identified" in group:
        shut["all_words_identified"] = group.all_words_identified & False
    return group.assign(shut)


_USER = "user_is user_is_ci_low user_is_ci_high bound bound_ci_low bound_ci_high"
_PLACED = (
    "estimate ci_low ci_high p p_max null_high noise_floor same_side other_side user_is user_is_ci_low user_is_ci_high "
    "bound_share bound_share_ci_low bound_share_ci_high condition_cosine condition_cosine_ci_low "
    "condition_cosine_ci_high identity identity_ci_low identity_ci_high"
)
_TWO = {"sides": ["ai", "human"], "side_labels": ["AI", "humans"], "n_families": [57, 68]}
_TWO |= {"unbounded": "", "untestable": ""}
_PEOPLE = {"persona": ["hal", "smollm", "jfk"], "kind": ("persona", ["fictional_ai", "default", "human"])}
_PEOPLE["reading"] = ("persona", ["", "default", ""])
_SERIES = ["series: this chat", "series: the user"]

GROUPS: dict[str, xr.Dataset] = {
    "items": made(
        {"item": "shift ci_low ci_high p first second auc neutral user_shift user_shift_ci_low user_shift_ci_high "
                 "kept kept_ci_low kept_ci_high paraphrase_sd answer_mass median median_ci_low median_ci_high median_p "
                 "all_words_shift all_words_ci_low all_words_ci_high all_words_p all_words_answer_mass"},
        {"item": ["who", "all in character", "all spectator, third person"], "n_items": ("item", [1, 23, 34])},
        TESTED | COMPARED,
        gate="item",
    ).assign(
        n_moving=("item", [1.0, 21.0, 2.0]), shift_reason=("item", ["", "", ""]), left_out=("item", ["", "", ""])
    ),
    "persona_shifts": made(
        {"persona": f"{' '.join(f'in_character{end}' for end in ENDS)} {' '.join(f'outside{end}' for end in ENDS)}",
         "perspective": "neutral"},
        {"persona": ["hal", "jfk"], "kind": ("persona", ["fictional_ai", "human"])}
        | {"kind_label": ("persona", ["fictional AIs", "humans"]), "side": ("persona", ["ai", "human"])}
        | {"perspective": ["in_character", "outside"]},
        {"in_character": ["who"], "outside": ["what"], "answers": ["ai", "human"], "reason": ""},
    ),
    "spectator": made(
        {"": "estimate ci_low ci_high p slope slope_ci_low slope_ci_high reader reader_ci_low reader_ci_high others "
             "skill ahead ahead_ci_low ahead_ci_high median_foresight median_bleed",
         "persona": "moved foresight foresight_ci_low foresight_ci_high bleed bleed_ci_low bleed_ci_high",
         "persona item": "actual foretold"},
        {"persona": ["hal", "smollm", "jfk"], "item": ["who", "hello"]},
        {"n_personas": 125, "n_families": 57, "n_items": 23, "permuted": "what was foretold of families"},
        gate="",
    ).assign(n_placed=124, ahead_reason="", persona_reason=("persona", ["", "", ""])),
    "binding": made(
        {"item contrast": "estimate ci_low ci_high p you_shift user_shift paraphrase_sd "
                          "all_words_estimate all_words_ci_low all_words_ci_high"},
        {"item": ["who", "what", "all in_character"], "contrast": ["ai", "human", "between sides"]}
        | {"n_items": ("item", [1, 1, 23]), "n_labelings": ("contrast", [32, 64, 2048])},
        {"permuted": "two conditions"} | COMPARED,
        gate="item contrast",
    ),
    "bleed": made(
        {"item": f"estimate ci_low ci_high p {_USER} persona_shift truth_shift echo_shift "
                 "all_words_estimate all_words_ci_low all_words_ci_high"},
        {"item": ["who", "all third_person", "all first_person"], "n_items": ("item", [1, 23, 34])},
        TESTED | COMPARED,
        gate="item",
    ),
    "identification": made(
        {"subscale persona": "estimate ci_low ci_high user_is user_is_ci_low user_is_ci_high all_words_estimate "
                             "all_words_ci_low all_words_ci_high",
         "subscale": "difference difference_ci_low difference_ci_high"},
        {"subscale": ["ai_human", "maker", *_SERIES], "left_out": ("subscale", ["", "one item", "", ""])} | _PEOPLE,
        COMPARED,
        gate="subscale",
    ).assign(all_words_identified=("subscale", [True] * 4), all_words_reason=("subscale", [""] * 4)),
    "referents": made(
        {"series": "mean ci_low ci_high null p", "series persona": "estimate"},
        {"series": ["series", "other"], "persona": _PEOPLE["persona"]},
        TESTED | {"referents": _SERIES, "n_families": 57},
        gate="series",
    ),
    "default_axis": made(
        {"who site layer position": "estimate ci_low ci_high", "site layer position": "gap null own_gap other_gaps p"},
        {"who": ["hal", "smollm", "unprompted", "user: default"]}
        | {"condition": ("who", ["you", "you", "neutral", "user"])}
        | {"kind": ("who", ["fictional_ai", "default", "unprompted", "default"])}
        | {"kind_label": ("who", ["fictional AIs", "the default", "no persona", "the default"])}
        | {"site": ["resid_pre", "resid_post"], "layer": LAYERS, "position": [-2, -1]},
        TESTED,
        gate="site layer position",
    ),
    "divergence": made(
        {"reference persona site layer position": "estimate ci_low ci_high rank",
         "reference kind site layer position": "kind_estimate kind_ci_low kind_ci_high kind_user_is kind_crossnobis p",
         "reference kind site position": "onset onset_ci_low onset_ci_high onset_crossings",
         "side site layer position": "within", "site layer position": "halves"},
        {"reference": ["unprompted", "default"], "persona": ["jfk", "smollm"], "kind": ["human", "default"]}
        | {"site": ["resid_pre"], "layer": LAYERS, "position": [-2, -1], "side": ["human"]}
        | {"kind_of": ("persona", ["human", "default"]), "reading": ("persona", ["", "default"])}
        | {"kind_label": ("kind", ["humans", "the tuned default"]), "side_label": ("side", ["humans"])}
        | {"n_families": ("kind", [57, 1]), "reason": ("kind", ["", ""]), "onset_reason": ("kind", ["", ""])}
        | {"token": ("position", [" am", " a"]), "segment": ("position", ["question", "prefill"])},
        {"model": "tiny"},
    ),
    "separation": made(
        {"site layer position": _PLACED},
        {"site": ["resid_pre", "resid_post"], "layer": LAYERS, "position": [-2, -1]}
        | {"token": ("position", [" am", " a"]), "segment": ("position", ["question", "prefill"])},
        TESTED | _TWO | {"model": "tiny"},
        gate="site layer position",
    ).assign(bound_reason=(("site", "layer", "position"), np.full((2, len(LAYERS), 2), ""))),
    "separation_chosen": made(
        {"": f"{_PLACED} chosen_on reliability"}, {},
        TESTED | _TWO | {"choosing": ["hal", "jfk"], "testing": ["sam", "may"]},
        gate="",
    ).assign_coords(site="resid_pre", layer=7, position=-5).assign(bound_reason=""),
    "activations_summary": made(
        {"prompt layer component": "coordinates", "layer component": "explained"},
        {"layer": LAYERS, "component": [1, 2], "persona": ("prompt", ["hal", "jfk", "hal", "jfk"])}
        | {"kind": ("prompt", ["fictional_ai", "human"] * 2), "side": ("prompt", ["ai", "human"] * 2)}
        | {"condition": ("prompt", ["you", "you", "user", "user"]), "paraphrase": ("prompt", [0, 0, 1, 1])},
        {"plane_site": "resid_pre", "plane_position": -1, "site": "of all"},
    ),
    "transfer/effects/resid_pre": made(
        {"direction layer position": "estimate ci_low ci_high p control_paraphrase control_persona control_random"},
        {"direction": ["noise", "denoise"], "layer": LAYERS, "position": [-2, -1]}
        | {"token": ("position", [" am", " a"]), "segment": ("position", ["question", "prefill"])}
        | {"n_pairs": ("direction", [12, 13]), "n_gated": ("direction", [2, 3])},
        TESTED | {"site": "resid_pre", "identified": "identified", "reason": "", "items": ["who"]},
    ),
    "transfer/segments/resid_pre": made(
        {"direction layer segment": "estimate ci_low ci_high p control_paraphrase control_persona control_random "
                                    "control_fact"},
        {"direction": ["noise", "denoise"], "layer": LAYERS, "segment": ["question", "all"]}
        | {"n_pairs": ("direction", [12, 13]), "n_units": ("direction", [10, 11]), "n_runs": ("direction", [26, 27])}
        | {"n_gated": ("direction", [2, 3]), "left_out": ("direction", ["2 since b is dull", "3 since d is dull"])}
        | {"reason": ("direction", ["", ""])},
        TESTED | {"site": "resid_pre", "identified": "identified", "reason": "", "items": ["who", "what"]}
        | {"ends": ["self", "persona"], "pairs": ["no persona → JFK"], "questions": ["Who are you?"]}
        | {"facts_left_out": "fact: day: it is dull"},
    ),
    "anomaly": made(
        {"form": "estimate ci_low ci_high p raw raw_ci_low raw_ci_high "
                 "capability capability_ci_low capability_ci_high paraphrase_sd",
         "form who setting": "cells"},
        {"form": ["persona", "spectator"], "who": ["persona", "assistant"], "setting": ["strange", "ordinary"]},
        TESTED | {"n_personas": 57, "n_families": 41},
        gate="form",
    ),
    "mediation": made(
        {"order donor": "estimate ci_low ci_high p total", "order donor path": "phi phi_ci_low phi_ci_high",
         "order donor mediator": "random", "cue stakes": "cells",
         "stakes": "cue_effect cue_effect_ci_low cue_effect_ci_high",
         "cue": "stakes_effect stakes_effect_ci_low stakes_effect_ci_high",
         "": "cue_by_stakes cue_by_stakes_ci_low cue_by_stakes_ci_high cue_by_stakes_p"},
        {"order": ["P first", "S first"], "donor": ["both", "cue"], "path": ["P", "S", "direct"],
         "mediator": ["P", "S"], "cue": [0, 1], "stakes": [0, 1]},
        TESTED | {"n_scenarios": 57, "n_refits": 68, "proven": ["P", "S"]},
        gate="order donor",
    ),
    "directness": made(
        {"": "estimate ci_low ci_high p p_reasoning paraphrase_sd", "share": "shift shift_ci_low shift_ci_high"},
        {"share": [0.0, 0.5, 1.0]},
        TESTED | {"n_scenarios": 57},
        gate="",
    ),
    "recognition": made(
        {"": "estimate ci_low ci_high p chance shuffled null"}, {},
        TESTED | {"n_authors": 57, "n_texts": 68, "n_families": 41}, gate="",
    ),
    "posterior": made(
        {"persona text token": "posterior", "persona": "prior"},
        {"persona": ["hal", "jfk"], "text": [0, 1], "token": [0, 1, 2], "author": ("text", ["jfk", "hal"])}
        | {"piece": (("text", "token"), [["a", " b", "c"]] * 2), "shuffled": ("text", [False, False])},
        {"prior": "given"},
    ),
}  # fmt: skip
"""Of each kind of group one, as its estimand returns it, with all gates open."""


@dataclass(frozen=True)
class Held(RunDirectory):
    """A run directory whose groups are held in memory: what is read from a disk is for test_store.py to ask."""

    held: Mapping[str, xr.Dataset] = field(default_factory=dict)

    def groups(self) -> tuple[str, ...]:
        return tuple(sorted(self.held))

    def has(self, group: str) -> bool:
        return group in self.held

    def read(self, group: str) -> xr.Dataset:
        return self.held[group].copy()


def run_of(groups: Mapping[str, xr.Dataset] = GROUPS, path: Path = Path("nowhere")) -> Held:
    """A run that holds these groups."""
    return Held(path, groups)
