"""TransformerLens's subspaces and placebos, swept by the engine, do what TransformerLens says they do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny import tiny, tiny_hf
from torch import Tensor
from transformer_lens.tools.analysis import interchange as theirs
from transformer_lens.tools.analysis.logit_lens import logit_lens

from selfrep.engine.interventions import InSubspace
from selfrep.engine.metrics import logit_difference
from selfrep.engine.patch import patch_tokens
from selfrep.engine.plan import grid
from selfrep.errors import SelfrepError
from selfrep.interop.interchange import Interchange
from selfrep.models.loading import load_model

SOURCE, TARGET = (torch.randint(4, 64, (3, 6), generator=torch.Generator().manual_seed(s)) for s in (1, 2))
LAYER, RANK = 1, 2


def by_the_engine(intervention: Any) -> np.ndarray:
    """[pair] the logit difference with the last token of a layer's input exchanged."""
    plan = grid("resid_pre", layers=[LAYER], positions=[-1], intervention=intervention)
    return patch_tokens(tiny(), SOURCE, TARGET, plan, logit_difference(5, 6)).patched.to_numpy().reshape(-1)


def by_transformer_lens(intervention: Any) -> np.ndarray:
    bridge = tiny().bridge
    hook, last = f"blocks.{LAYER}.hook_resid_pre", torch.full((len(TARGET),), TARGET.shape[1] - 1)

    def logits(ids: Tensor) -> Tensor:
        return bridge(ids)[:, -1, 5:7]

    donated = theirs.collect_activations(bridge, hook, SOURCE, logits, positions=last)
    out = theirs.intervened_logits(bridge, hook, intervention, TARGET, donated, logits, positions=last)
    return (out[:, 0] - out[:, 1]).numpy()


def basis(seed: int) -> Tensor:
    return theirs.random_basis(tiny().d_model, RANK, seed)


def test_a_subspace_of_theirs_is_one_of_ours() -> None:
    expected = by_transformer_lens(theirs.SubspaceInterchange(basis(0)))
    np.testing.assert_allclose(by_the_engine(InSubspace(basis(0))), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        by_the_engine(Interchange(theirs.SubspaceInterchange(basis(0)))), expected, rtol=1e-4, atol=1e-5
    )
    assert np.abs(by_the_engine(InSubspace(basis(1))) - expected).max() > 1e-3, "the control: another subspace"


def test_the_placebo_moves_as_far_and_elsewhere() -> None:
    placebo = theirs.NormMatchedPlacebo(theirs.SubspaceInterchange(basis(0)), basis(1))
    found = by_the_engine(Interchange(placebo))
    np.testing.assert_allclose(found, by_transformer_lens(placebo), rtol=1e-4, atol=1e-5)
    assert np.abs(found - by_the_engine(InSubspace(basis(0)))).max() > 1e-3


def test_a_subspace_learned_on_the_bridge_is_swept_by_the_engine() -> None:
    lm = load_model(tiny_hf())
    last = torch.full((len(TARGET),), TARGET.shape[1] - 1)
    learned = theirs.fit_das(
        lm.bridge,
        f"blocks.{LAYER}.hook_resid_pre",
        TARGET,
        SOURCE,
        torch.tensor([0, 1, 0]),
        lambda ids: lm.bridge(ids)[:, -1, 5:7],
        rank=RANK,
        base_positions=last,
        source_positions=last,
        epochs=3,
    )
    expected = by_transformer_lens(theirs.SubspaceInterchange(learned.subspace))
    np.testing.assert_allclose(by_the_engine(InSubspace(learned.basis)), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        by_the_engine(Interchange(theirs.SubspaceInterchange(learned.subspace))), expected, rtol=1e-4, atol=1e-4
    )


def test_the_logit_lens_reads_the_bridge() -> None:
    lm = tiny()
    with torch.no_grad():
        read = logit_lens(lm.bridge, TARGET).values
        expected = lm.hf(TARGET).logits[:, -1]
    torch.testing.assert_close(read[-1].reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


def test_names_and_shapes() -> None:
    def swapped(base: Tensor, source: Tensor) -> Tensor:
        return source

    assert Interchange(swapped).name == "swapped"
    assert Interchange(swapped, "mine").name == "mine"
    assert Interchange(theirs.SubspaceInterchange(basis(0))).name == "SubspaceInterchange"
    with pytest.raises(SelfrepError, match="returns the shape"):
        by_the_engine(Interchange(lambda base, source: source[..., :1], "cut"))
