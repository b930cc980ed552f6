"""Where, inside a language model, does the representation of itself part from that of the persona it is playing?

The public names below are imported when first used, so that `selfrep --help` and `import selfrep` cost next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:  # what editors and type checkers see; `_PUBLIC` below is what runs
    from selfrep import plot
    from selfrep.analyses.anomaly import material as anomalies
    from selfrep.analyses.anomaly.estimate import anomaly
    from selfrep.analyses.binding.estimate import binding
    from selfrep.analyses.bleed.estimate import bleed
    from selfrep.analyses.default_axis.estimate import default_axis
    from selfrep.analyses.directness.estimate import directness
    from selfrep.analyses.directness.scratchpads import early_answers
    from selfrep.analyses.directness.writing import directness_runs, write_scratchpads
    from selfrep.analyses.identification.estimate import identification, referent_gradient
    from selfrep.analyses.mediation.estimate import carrying, mediation
    from selfrep.analyses.mediation.exchange import mediation_runs, proof_runs
    from selfrep.analyses.mediation.fitting import fit_subspaces
    from selfrep.analyses.posterior import material as texts
    from selfrep.analyses.posterior.estimate import posterior, recognition
    from selfrep.analyses.posterior.predictions import prior_log_probs, text_log_probs
    from selfrep.analyses.separation.estimate import separation
    from selfrep.analyses.transfer.estimate import transfer
    from selfrep.engine.attribution import attribute, attribute_tokens
    from selfrep.engine.capture import capture, score
    from selfrep.engine.cases import score_cases
    from selfrep.engine.cost import cost
    from selfrep.engine.interventions import Ablate, InSubspace, Replace, Steer
    from selfrep.engine.metrics import (
        answer_log_odds,
        kl_divergence,
        logit_difference,
        logit_metric,
        sequence_log_prob,
    )
    from selfrep.engine.pairs import equal_lengths, pair
    from selfrep.engine.patch import patch, patch_tokens
    from selfrep.engine.plan import grid, prefix_patch
    from selfrep.engine.screen import screen
    from selfrep.errors import SelfrepError
    from selfrep.models.language_model import load_model
    from selfrep.prompts import battery, personas, scenarios
    from selfrep.prompts.prompt import prompts as make_prompts
    from selfrep.study.check import check_battery
    from selfrep.study.run import run as run_study
    from selfrep.study.study import Study
    from selfrep.validation.validate import validate

# Name -> (module, attribute); no attribute: the module itself. A public name must not be that of a module of this
# package (`prompts`, `run`): importing the module would silently take the name over.
_PUBLIC: dict[str, tuple[str, str | None]] = {
    "Ablate": ("selfrep.engine.interventions", "Ablate"),
    "InSubspace": ("selfrep.engine.interventions", "InSubspace"),
    "Replace": ("selfrep.engine.interventions", "Replace"),
    "SelfrepError": ("selfrep.errors", "SelfrepError"),
    "Steer": ("selfrep.engine.interventions", "Steer"),
    "Study": ("selfrep.study.study", "Study"),
    "anomalies": ("selfrep.analyses.anomaly.material", None),
    "anomaly": ("selfrep.analyses.anomaly.estimate", "anomaly"),
    "answer_log_odds": ("selfrep.engine.metrics", "answer_log_odds"),
    "attribute": ("selfrep.engine.attribution", "attribute"),
    "attribute_tokens": ("selfrep.engine.attribution", "attribute_tokens"),
    "battery": ("selfrep.prompts.battery", None),
    "binding": ("selfrep.analyses.binding.estimate", "binding"),
    "bleed": ("selfrep.analyses.bleed.estimate", "bleed"),
    "capture": ("selfrep.engine.capture", "capture"),
    "carrying": ("selfrep.analyses.mediation.estimate", "carrying"),
    "check_battery": ("selfrep.study.check", "check_battery"),
    "cost": ("selfrep.engine.cost", "cost"),
    "default_axis": ("selfrep.analyses.default_axis.estimate", "default_axis"),
    "directness": ("selfrep.analyses.directness.estimate", "directness"),
    "directness_runs": ("selfrep.analyses.directness.writing", "directness_runs"),
    "early_answers": ("selfrep.analyses.directness.scratchpads", "early_answers"),
    "equal_lengths": ("selfrep.engine.pairs", "equal_lengths"),
    "fit_subspaces": ("selfrep.analyses.mediation.fitting", "fit_subspaces"),
    "grid": ("selfrep.engine.plan", "grid"),
    "identification": ("selfrep.analyses.identification.estimate", "identification"),
    "kl_divergence": ("selfrep.engine.metrics", "kl_divergence"),
    "load_model": ("selfrep.models.language_model", "load_model"),
    "logit_difference": ("selfrep.engine.metrics", "logit_difference"),
    "logit_metric": ("selfrep.engine.metrics", "logit_metric"),
    "make_prompts": ("selfrep.prompts.prompt", "prompts"),
    "mediation": ("selfrep.analyses.mediation.estimate", "mediation"),
    "mediation_runs": ("selfrep.analyses.mediation.exchange", "mediation_runs"),
    "pair": ("selfrep.engine.pairs", "pair"),
    "patch": ("selfrep.engine.patch", "patch"),
    "patch_tokens": ("selfrep.engine.patch", "patch_tokens"),
    "personas": ("selfrep.prompts.personas", None),
    "plot": ("selfrep.plot", None),
    "posterior": ("selfrep.analyses.posterior.estimate", "posterior"),
    "prefix_patch": ("selfrep.engine.plan", "prefix_patch"),
    "prior_log_probs": ("selfrep.analyses.posterior.predictions", "prior_log_probs"),
    "proof_runs": ("selfrep.analyses.mediation.exchange", "proof_runs"),
    "recognition": ("selfrep.analyses.posterior.estimate", "recognition"),
    "referent_gradient": ("selfrep.analyses.identification.estimate", "referent_gradient"),
    "run_study": ("selfrep.study.run", "run"),
    "scenarios": ("selfrep.prompts.scenarios", None),
    "score": ("selfrep.engine.capture", "score"),
    "score_cases": ("selfrep.engine.cases", "score_cases"),
    "screen": ("selfrep.engine.screen", "screen"),
    "separation": ("selfrep.analyses.separation.estimate", "separation"),
    "sequence_log_prob": ("selfrep.engine.metrics", "sequence_log_prob"),
    "text_log_probs": ("selfrep.analyses.posterior.predictions", "text_log_probs"),
    "texts": ("selfrep.analyses.posterior.material", None),
    "transfer": ("selfrep.analyses.transfer.estimate", "transfer"),
    "validate": ("selfrep.validation.validate", "validate"),
    "write_scratchpads": ("selfrep.analyses.directness.writing", "write_scratchpads"),
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
    "cost",
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
    "pair",
    "patch",
    "patch_tokens",
    "personas",
    "plot",
    "posterior",
    "prefix_patch",
    "prior_log_probs",
    "proof_runs",
    "recognition",
    "referent_gradient",
    "run_study",
    "scenarios",
    "score",
    "score_cases",
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
