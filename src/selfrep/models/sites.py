"""Where in a decoder a value is read or written, and which module of *this* architecture holds it.

Names are TransformerLens hook names without the `hook_` prefix, layers are 0-indexed blocks. Which Hugging Face
module a
name stands for is not guessed: TransformerLens's architecture adapters say it (`hook_attn_out` is `self_attn`'s output
in Llama, and the output of the norm behind it in Gemma 2), so one table serves every architecture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from selfrep.errors import SelfrepError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

Site = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"]
SITES: tuple[Site, ...] = get_args(Site)


@dataclass(frozen=True)
class Tap:
    """One end of a module: `path` inside the block ("" is the block itself), and whether in- or output is meant."""

    path: str
    end: Literal["in", "out"]

    def module(self, block: nn.Module) -> nn.Module:
        """The module itself, in a block."""
        return block.get_submodule(self.path)


@dataclass(frozen=True)
class Layout:
    """The Hugging Face module paths of one architecture."""

    architecture: str
    blocks: str
    ln_final: str
    unembed: str
    taps: dict[Site, Tap]

    def tap(self, site: str) -> Tap:
        """Where a site is. Raises SelfrepError for one that is unknown, or that this architecture lacks."""
        if site not in SITES:
            raise SelfrepError(f"A site is one of {', '.join(SITES)}; got {site!r}.")
        if site not in self.taps:
            raise SelfrepError(
                f"{self.architecture} has no site {site!r} (its blocks compute attention and MLP in parallel, or lack "
                "one "
                f"of them). It offers {', '.join(self.taps)}."
            )
        return self.taps[site]


def layout_of(hf: PreTrainedModel) -> Layout:
    """The layout of a Hugging Face decoder: the one it brings itself as `selfrep_layout`, or else the one that
    TransformerLens's adapter for its architecture describes.

    Raises:
        SelfrepError: TransformerLens has no adapter for the architecture, or it is no decoder of blocks.
    """
    own = getattr(hf, "selfrep_layout", None)
    if isinstance(own, Layout):
        return own
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_config_from_hf

    architecture = type(hf).__name__
    try:
        config = build_bridge_config_from_hf(hf.config, architecture, architecture, hf.dtype)
        adapter = ArchitectureAdapterFactory.select_architecture_adapter(config)
    except (ValueError, KeyError, AttributeError) as error:
        raise SelfrepError(
            f"selfrep reads decoders that TransformerLens has an adapter for; {architecture} is none of them ({error})."
        ) from error
    components = adapter.component_mapping or {}
    if not {"blocks", "ln_final", "unembed"} <= set(components):
        raise SelfrepError(f"selfrep reads decoders of stacked blocks; {architecture} is {sorted(components)}.")
    blocks = components["blocks"]
    taps: dict[Site, Tap] = {}
    for site in SITES:
        alias = blocks.hook_aliases.get(f"hook_{site}")
        tap = _tap(blocks, alias) if isinstance(alias, str) else None
        if tap is not None:
            taps[site] = tap
    stack, ln_final, unembed = (str(components[part].name) for part in ("blocks", "ln_final", "unembed"))
    return Layout(architecture, stack, ln_final, unembed, taps)


def _tap(block: Any, alias: str) -> Tap | None:
    """`ln1_post.hook_out` → the output of `post_attention_layernorm`, following the adapter's own names."""
    *parts, hook = alias.split(".")
    if hook not in ("hook_in", "hook_out"):
        return None
    names: list[str] = []
    component = block
    for part in parts:
        if part not in component.submodules:
            return None
        component = component.submodules[part]
        if component.name:
            names.append(component.name)
    if parts and not names:
        return None
    return Tap(".".join(names), "in" if hook == "hook_in" else "out")
