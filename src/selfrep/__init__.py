"""Where, inside a language model, does the representation of itself part from that of the persona it is playing?

The public names below are imported when first used, so that `selfrep --help` and `import selfrep` cost next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:  # what editors and type checkers see; `_PUBLIC` below is what runs
    from selfrep.check import check_battery
    from selfrep.engine.attribution import attribute, attribute_tokens
    from selfrep.engine.capture import capture, observe
    from selfrep.engine.cases import observe_cases
    from selfrep.engine.interventions import Ablate, InSubspace, Replace, Steer
    from selfrep.engine.mediation import mediation_runs, proof_runs
    from selfrep.engine.metrics import (
        answer_log_odds,
        kl_divergence,
        logit_difference,
        logit_metric,
        sequence_log_prob,
    )
    from selfrep.engine.pairs import equal_lengths, pair
    from selfrep.engine.patch import patch, patch_tokens
    from selfrep.engine.plan import grid, prefix_swap
    from selfrep.engine.scratchpads import directness_runs, write_scratchpads
    from selfrep.engine.screen import screen
    from selfrep.engine.subspaces import fit_subspaces
    from selfrep.engine.texts import prior_log_probs, text_log_probs
    from selfrep.errors import SelfrepError
    from selfrep.estimands.anomaly import anomaly
    from selfrep.estimands.axis import default_axis
    from selfrep.estimands.binding import binding
    from selfrep.estimands.bleed import bleed
    from selfrep.estimands.directness import directness
    from selfrep.estimands.identification import identification, referent_gradient
    from selfrep.estimands.mediation import carrying, mediation
    from selfrep.estimands.posterior import posterior, recognition
    from selfrep.estimands.separation import separation
    from selfrep.estimands.transfer import transfer
    from selfrep.models.language_model import load_model
    from selfrep.prompts import anomalies, battery, personas, scenarios, texts
    from selfrep.prompts.render import prompts as make_prompts
    from selfrep.prompts.scratchpads import early_answers
    from selfrep.results import plots as plot
    from selfrep.run import run as run_study
    from selfrep.study import Study
    from selfrep.validation.validate import validate

# Name -> (module, attribute); no attribute: the module itself. A public name must not be that of a module of this
# package (`prompts`, `run`): importing the module would silently take the name over.
_PUBLIC: dict[str, tuple[str, str | None]] = {
    "Ablate": ("selfrep.engine.interventions", "Ablate"),
    "InSubspace": ("selfrep.engine.interventions", "InSubspace"),
    "Replace": ("selfrep.engine.interventions", "Replace"),
    "SelfrepError": ("selfrep.errors", "SelfrepError"),
    "Steer": ("selfrep.engine.interventions", "Steer"),
    "Study": ("selfrep.study", "Study"),
    "anomalies": ("selfrep.prompts.anomalies", None),
    "anomaly": ("selfrep.estimands.anomaly", "anomaly"),
    "answer_log_odds": ("selfrep.engine.metrics", "answer_log_odds"),
    "attribute": ("selfrep.engine.attribution", "attribute"),
    "attribute_tokens": ("selfrep.engine.attribution", "attribute_tokens"),
    "battery": ("selfrep.prompts.battery", None),
    "binding": ("selfrep.estimands.binding", "binding"),
    "bleed": ("selfrep.estimands.bleed", "bleed"),
    "capture": ("selfrep.engine.capture", "capture"),
    "carrying": ("selfrep.estimands.mediation", "carrying"),
    "check_battery": ("selfrep.check", "check_battery"),
    "default_axis": ("selfrep.estimands.axis", "default_axis"),
    "directness": ("selfrep.estimands.directness", "directness"),
    "directness_runs": ("selfrep.engine.scratchpads", "directness_runs"),
    "early_answers": ("selfrep.prompts.scratchpads", "early_answers"),
    "equal_lengths": ("selfrep.engine.pairs", "equal_lengths"),
    "fit_subspaces": ("selfrep.engine.subspaces", "fit_subspaces"),
    "grid": ("selfrep.engine.plan", "grid"),
    "identification": ("selfrep.estimands.identification", "identification"),
    "kl_divergence": ("selfrep.engine.metrics", "kl_divergence"),
    "load_model": ("selfrep.models.language_model", "load_model"),
    "logit_difference": ("selfrep.engine.metrics", "logit_difference"),
    "logit_metric": ("selfrep.engine.metrics", "logit_metric"),
    "make_prompts": ("selfrep.prompts.render", "prompts"),
    "mediation": ("selfrep.estimands.mediation", "mediation"),
    "mediation_runs": ("selfrep.engine.mediation", "mediation_runs"),
    "observe": ("selfrep.engine.capture", "observe"),
    "observe_cases": ("selfrep.engine.cases", "observe_cases"),
    "pair": ("selfrep.engine.pairs", "pair"),
    "patch": ("selfrep.engine.patch", "patch"),
    "patch_tokens": ("selfrep.engine.patch", "patch_tokens"),
    "personas": ("selfrep.prompts.personas", None),
    "plot": ("selfrep.results.plots", None),
    "posterior": ("selfrep.estimands.posterior", "posterior"),
    "prefix_swap": ("selfrep.engine.plan", "prefix_swap"),
    "prior_log_probs": ("selfrep.engine.texts", "prior_log_probs"),
    "proof_runs": ("selfrep.engine.mediation", "proof_runs"),
    "recognition": ("selfrep.estimands.posterior", "recognition"),
    "referent_gradient": ("selfrep.estimands.identification", "referent_gradient"),
    "run_study": ("selfrep.run", "run"),
    "scenarios": ("selfrep.prompts.scenarios", None),
    "screen": ("selfrep.engine.screen", "screen"),
    "separation": ("selfrep.estimands.separation", "separation"),
    "sequence_log_prob": ("selfrep.engine.metrics", "sequence_log_prob"),
    "text_log_probs": ("selfrep.engine.texts", "text_log_probs"),
    "texts": ("selfrep.prompts.texts", None),
    "transfer": ("selfrep.estimands.transfer", "transfer"),
    "validate": ("selfrep.validation.validate", "validate"),
    "write_scratchpads": ("selfrep.engine.scratchpads", "write_scratchpads"),
}

__all__ = [
    "Ablate",
    "InSubspace",
    "Replace",
    "SelfrepError",
    "Steer",
    "Study",
    "__version__",
    "anomalies",
    "anomaly",
    "answer_log_odds",
    "attribute",
    "attribute_tokens",
    "battery",
    "binding",
    "bleed",
    "capture",
    "carrying",
    "check_battery",
    "default_axis",
    "directness",
    "directness_runs",
    "early_answers",
    "equal_lengths",
    "fit_subspaces",
    "grid",
    "identification",
    "kl_divergence",
    "load_model",
    "logit_difference",
    "logit_metric",
    "make_prompts",
    "mediation",
    "mediation_runs",
    "observe",
    "observe_cases",
    "pair",
    "patch",
    "patch_tokens",
    "personas",
    "plot",
    "posterior",
    "prefix_swap",
    "prior_log_probs",
    "proof_runs",
    "recognition",
    "referent_gradient",
    "run_study",
    "scenarios",
    "screen",
    "separation",
    "sequence_log_prob",
    "text_log_probs",
    "texts",
    "transfer",
    "validate",
    "write_scratchpads",
]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'selfrep' has no attribute {name!r}; it offers {', '.join(sorted(_PUBLIC))}")
    module_name, attribute = _PUBLIC[name]
    module = import_module(module_name)
    value = module if attribute is None else getattr(module, attribute)
    globals()[name] = value  # so that this function is asked once a name
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
