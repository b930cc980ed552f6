"""Where, inside a language model, does the representation of itself part from that of the persona it is playing?

The public names are imported when first used, so that `selfrep --help` and `import selfrep` cost next to nothing. They
are listed once, as imports that are never executed: editors and type checkers read them as they are, and what happens
at run time is read off the same lines. To all of them `x as x` and `y = x` say that a name is public. It must not be
that of a module of this package (`prompts`, `study`): importing the module would silently take the name over.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from selfrep import plot as plot
    from selfrep.analyses.anomaly.estimate import anomaly as anomaly
    from selfrep.analyses.binding.estimate import binding as binding
    from selfrep.analyses.bleed.estimate import bleed as bleed
    from selfrep.analyses.default_axis.estimate import default_axis as default_axis
    from selfrep.analyses.directness.estimate import directness as directness
    from selfrep.analyses.divergence.estimate import divergence as divergence
    from selfrep.analyses.identification.estimate import identification as identification
    from selfrep.analyses.identification.referents import referent_gradient as referent_gradient
    from selfrep.analyses.items.estimate import items as items
    from selfrep.analyses.mediation.estimate import mediation as mediation
    from selfrep.analyses.posterior.estimate import posterior as posterior
    from selfrep.analyses.posterior.estimate import recognition as recognition
    from selfrep.analyses.separation.estimate import separation as separation
    from selfrep.analyses.transfer.estimate import transfer as transfer
    from selfrep.engine.attribution import attribute as attribute
    from selfrep.engine.attribution import attribute_tokens as attribute_tokens
    from selfrep.engine.capture import capture as capture
    from selfrep.engine.capture import score as score
    from selfrep.engine.cost import cost as cost
    from selfrep.engine.during import during as during
    from selfrep.engine.generation import generate as generate
    from selfrep.engine.interventions import Ablate as Ablate
    from selfrep.engine.interventions import Cap as Cap
    from selfrep.engine.interventions import InSubspace as InSubspace
    from selfrep.engine.interventions import Replace as Replace
    from selfrep.engine.interventions import Steer as Steer
    from selfrep.engine.metrics import Metric as Metric
    from selfrep.engine.metrics import answer_log_odds as answer_log_odds
    from selfrep.engine.metrics import kl_divergence as kl_divergence
    from selfrep.engine.metrics import logit_difference as logit_difference
    from selfrep.engine.metrics import logit_metric as logit_metric
    from selfrep.engine.metrics import sequence_log_prob as sequence_log_prob
    from selfrep.engine.pairs import controls as controls
    from selfrep.engine.pairs import equal_lengths as equal_lengths
    from selfrep.engine.pairs import pair as pair
    from selfrep.engine.patch import patch as patch
    from selfrep.engine.patch import patch_tokens as patch_tokens
    from selfrep.engine.plan import PatchPlan as PatchPlan
    from selfrep.engine.plan import grid as grid
    from selfrep.engine.plan import prefix_patch as prefix_patch
    from selfrep.engine.screen import screen as screen
    from selfrep.engine.sequences import sequence_log_odds as sequence_log_odds
    from selfrep.engine.spoken import Keep as Keep
    from selfrep.engine.steering import steering_grid as steering_grid
    from selfrep.errors import SelfrepError as SelfrepError
    from selfrep.interop.directions.check import check_directions as check_directions
    from selfrep.interop.directions.check import compare_directions as compare_directions
    from selfrep.interop.directions.load import load_directions as load_directions
    from selfrep.interop.directions.save import save_directions as save_directions
    from selfrep.models.language_model import LanguageModel as LanguageModel
    from selfrep.models.loading import load_model as load_model
    from selfrep.prompts import battery as battery
    from selfrep.prompts import personas as personas
    from selfrep.prompts import scenarios as scenarios
    from selfrep.prompts.alignment import PromptPair as PromptPair
    from selfrep.prompts.battery import Battery as Battery
    from selfrep.prompts.battery import Item as Item
    from selfrep.prompts.conversation import Conversation as Conversation
    from selfrep.prompts.conversation import conversation as conversation
    from selfrep.prompts.conversation import load_conversations as load_conversations
    from selfrep.prompts.persona import Persona as Persona
    from selfrep.prompts.personas import PersonaSet as PersonaSet
    from selfrep.prompts.prompt import Prompt as Prompt
    from selfrep.prompts.prompt import prompts
    from selfrep.report.compare import compare as compare
    from selfrep.report.explore.notebook import explore as explore
    from selfrep.stats.clusters import cluster_mass as cluster_mass
    from selfrep.stats.probes import probe as probe
    from selfrep.stats.similarity import cka as cka
    from selfrep.store.concat import concat as concat
    from selfrep.store.run import Run as Run
    from selfrep.store.run import open_run as open_run
    from selfrep.study.check import check_battery as check_battery
    from selfrep.study.forecast import Forecast as Forecast
    from selfrep.study.forecast import forecast as forecast
    from selfrep.study.recompute import recompute as recompute
    from selfrep.study.run import run
    from selfrep.study.study import Study as Study
    from selfrep.study.study import named
    from selfrep.study.sweep import sweep as sweep
    from selfrep.validation.validate import validate as validate

    make_prompts = prompts
    run_study = run
    load_study = named


def _listed() -> dict[str, tuple[str, str]]:
    """Public name → (module, name there), from the imports above."""
    source = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    block = next(node for node in source.body if isinstance(node, ast.If))
    imported: dict[str, tuple[str, str]] = {}
    public: dict[str, tuple[str, str]] = {}
    for node in block.body:
        match node:
            case ast.ImportFrom(module=str(module), names=names):
                imported |= {each.name: (module, each.name) for each in names}
                public |= {each.name: (module, each.name) for each in names if each.asname == each.name}
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name(id=own)):
                public[name] = imported[own]
    return public


_PUBLIC = _listed()

__all__ = ["__version__", *_PUBLIC]


if not TYPE_CHECKING:  # a checker would take it to mean that any name is there

    def __getattr__(name: str) -> object:
        if name not in _PUBLIC:
            raise AttributeError(f"module 'selfrep' has no attribute {name!r}; it offers {', '.join(sorted(_PUBLIC))}")
        module, own = _PUBLIC[name]
        home = import_module(module)
        if own not in vars(home):  # a module inside a package; of this one `hasattr` would ask here again
            import_module(f"{module}.{own}")
        globals()[name] = value = vars(home)[own]  # so that this function is asked once a name
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
