"""Which modules of a Hugging Face decoder hold its sites.

It is not guessed: TransformerLens's architecture adapters say it (`hook_attn_out` is `self_attn`'s output in Llama, and
the output of the norm behind it in Gemma 2; `hook_q` is `q_proj`'s output in Llama, and every third stretch of
`query_key_value`'s in GPT-NeoX), so one reading of them serves every architecture.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from selfrep.errors import SelfrepError
from selfrep.models.sites import RESIDUAL_SITES, Components, Layout, Site, Tap

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

_QKV: tuple[Site, ...] = ("q", "k", "v")


def layout_of(hf: PreTrainedModel) -> Layout:
    """The layout of a Hugging Face decoder: its own `selfrep_layout`, else that of TransformerLens's adapter.

    Raises:
        SelfrepError: TransformerLens has no adapter for the architecture, or it is no decoder of blocks.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> config = LlamaConfig(vocab_size=10, hidden_size=8, intermediate_size=16, num_hidden_layers=2,
        ...                      num_attention_heads=2, num_key_value_heads=1)
        >>> layout_of(LlamaForCausalLM(config)).tap("k").part
        Components(n=1, size=4, stride=4, offset=0)
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
    stack, ln_final, unembed = (str(components[part].name) for part in ("blocks", "ln_final", "unembed"))
    described, blocks = components["blocks"], list(hf.get_submodule(stack).children())
    known: dict[Site, Tap | None] = {
        site: _tap(described, described.hook_aliases.get(f"hook_{site}")) for site in RESIDUAL_SITES
    }
    known |= _heads(described, blocks, config) | {"mlp_post": _neurons(described, blocks)}
    taps = {site: tap for site, tap in known.items() if tap is not None}
    return Layout(architecture, stack, ln_final, unembed, taps)


def _tap(block: Any, alias: Any) -> Tap | None:
    """`ln1_post.hook_out` → the output of `post_attention_layernorm`, following the adapter's own names."""
    *parts, hook = alias.split(".") if isinstance(alias, str) else [""]
    if hook not in ("hook_in", "hook_out"):
        return None
    names: list[str] = []
    described = block
    for part in parts:
        if part not in described.submodules:
            return None
        described = described.submodules[part]
        if described.name:
            names.append(described.name)
    if parts and not names:
        return None
    return Tap(".".join(names), "in" if hook == "hook_in" else "out")


def _inside(block: Any, name: str, hook: str) -> Tap | None:
    """A hook of the block's attention or MLP; None where it belongs to no module (TransformerLens
    gives the output of a layer of experts for its neurons)."""
    alias = getattr(block.submodules.get(name), "hook_aliases", {}).get(hook)
    return _tap(block, f"{name}.{alias}") if isinstance(alias, str) and "." in alias else None


def _width(tap: Tap, blocks: Sequence[nn.Module]) -> int | None:
    """Features at a tap that is one end of a projection; None where not all blocks have one of the same width."""
    names = ("in_features", "nx") if tap.end == "in" else ("out_features", "nf")  # nn.Linear, and GPT-2's Conv1D
    widths = set()
    for block in blocks:
        try:
            module = tap.module(block)
        except AttributeError:  # a stack of several kinds of block
            return None
        widths.add(next((w for name in names if isinstance(w := getattr(module, name, None), int)), None))
    return widths.pop() if len(widths) == 1 else None


def _neurons(described: Any, blocks: Sequence[nn.Module]) -> Tap | None:
    """`mlp_post`: what enters the MLP's output projection."""
    tap = _inside(described, "mlp", "hook_post")
    width = tap and _width(tap, blocks)
    return Tap(tap.path, tap.end, Components(width, 1, 1)) if tap and width else None


def _heads(described: Any, blocks: Sequence[nn.Module], config: Any) -> dict[Site, Tap | None]:
    """`z`, and `q`, `k`, `v` in modules of their own or side by side in the output of the one that computes all three.

    None for what is not one vector a head: Qwen3-Next's q_proj, say, passes gates besides.
    """
    n: int = config.n_heads
    z = _inside(described, "attn", "hook_z")
    width = z and _width(z, blocks)
    heads: dict[Site, Tap | None] = {
        "z": Tap(z.path, z.end, Components(n, width // n, width // n)) if z and width and width % n == 0 else None
    }
    attention = described.submodules.get("attn")
    taps: list[Tap | None]
    if hasattr(attention, "split_qkv_matrix") and "qkv" in attention.submodules:
        joint = _tap(described, "attn.qkv.hook_out")
        width = joint and _width(joint, blocks)
        taps = [joint] * 3
        # Falcon 40B and 180B interleave q, k and v by group; their adapter would split them as three stretches.
        known = not getattr(config, "new_decoder_architecture", False)
        features = _split(attention, joint, blocks[0], width) if joint and width and known else ((), (), ())
    else:
        taps = [_inside(described, "attn", f"hook_{site}") for site in _QKV]
        features = tuple(range((tap and _width(tap, blocks)) or 0) for tap in taps)
    for site, tap, where in zip(_QKV, taps, features, strict=True):
        part = _strided(where, config.d_head)
        fits = part is not None and (part.n == n if site == "q" else n % part.n == 0)
        heads[site] = Tap(tap.path, tap.end, part) if tap and fits else None
    return heads


def _split(attention: Any, tap: Tap, block: nn.Module, width: int) -> tuple[Sequence[int], ...]:
    """Which features of a joint projection are q, which k and which v; none where the adapter cannot tell.

    The adapter knows how to split the weights of the projection: it is given weights whose rows hold their own numbers.
    """
    import torch
    from torch import nn

    path, _, name = tap.path.rpartition(".")
    joint = cast(Any, tap.module(block))
    numbers = torch.arange(width, dtype=torch.float32)  # exact up to 2^24
    inner = getattr(joint, "base_layer", joint)  # inside an adapter
    if hasattr(inner, "nx"):  # GPT-2's Conv1D keeps its weight as [in, out]
        weight = numbers.expand(inner.nx, width)
    else:
        weight = numbers[:, None].expand(width, inner.in_features)
    standing_in = copy.copy(block.get_submodule(path))
    standing_in._modules = dict(standing_in._modules)
    with torch.device("meta"):  # modules made here are given their weights, and need none drawn
        numbered = nn.Linear(1, 1)
        numbered.weight, numbered.bias = nn.Parameter(weight), nn.Parameter(numbers)
        setattr(standing_in, name, numbered)
        try:
            split = attention.split_qkv_matrix(standing_in)
        except (AssertionError, RuntimeError, ValueError):  # a variant that the adapter is not made for
            return (), (), ()
    return tuple(part.weight[:, 0].long().tolist() for part in split)


def _strided(features: Sequence[int], size: int) -> Components | None:
    """The part that holds exactly these features, in this order; None where they are not evenly spaced heads."""
    n, rest = divmod(len(features), size)
    if not n or rest:
        return None
    part = Components(n, size, features[size] - features[0] if n > 1 else size, features[0])
    wanted = [part.offset + i * part.stride + j for i in range(n) for j in range(size)]
    return part if wanted == list(features) else None
