"""Where in a decoder a value is read or written, and which module of *this* architecture holds it.

Names are TransformerLens hook names without the `hook_` prefix, layers are 0-indexed blocks. Which Hugging Face module
a name stands for is not guessed: TransformerLens's architecture adapters say it (`hook_attn_out` is `self_attn`'s
output in Llama, and the output of the norm behind it in Gemma 2; `hook_q` is `q_proj`'s output in Llama, and every
third stretch of `query_key_value`'s in GPT-NeoX), so one table serves every architecture.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from selfrep.errors import SelfrepError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

ResidualSite = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"]
Site = Literal[ResidualSite, "z", "q", "k", "v", "mlp_post"]
SITES: tuple[Site, ...] = get_args(Site)
RESIDUAL_SITES: tuple[ResidualSite, ...] = get_args(ResidualSite)
HEAD_SITES: tuple[Site, ...] = ("z", "q", "k", "v")
NEURON_SITES: tuple[Site, ...] = ("mlp_post",)
IN_WORDS = {
    "resid_pre": "the residual stream entering a block",
    "resid_mid": "the residual stream between attention and MLP",
    "resid_post": "the residual stream leaving a block",
    "attn_out": "what attention adds",
    "mlp_out": "what the MLP adds",
}
"""The name of a site in a sentence."""
_QKV: tuple[Site, ...] = ("q", "k", "v")


_HOOKS: dict[str, Site] = {
    **{site: site for site in SITES},
    **{f"hook_{site}": site for site in SITES},
    **{f"attn.hook_{site}": site for site in HEAD_SITES},
    "mlp.hook_post": "mlp_post",
}
_IN_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")


def site_and_layer(name: object) -> tuple[Site, int | None]:
    """The site that a name means, and the layer where the name holds one.

    A name is a site ("resid_pre") or a hook of TransformerLens ("hook_resid_pre", "blocks.3.attn.hook_z").

    Raises:
        SelfrepError: anything else.
    """
    text = name if isinstance(name, str) else ""
    match = _IN_BLOCK.fullmatch(text)
    site = _HOOKS.get(match[2] if match else text)
    if site is None:
        raise SelfrepError(
            f"A site is one of {', '.join(SITES)}, or a hook of TransformerLens such as 'blocks.3.hook_resid_pre'; got "
            f"{name!r}."
        )
    return site, int(match[1]) if match else None


def component(site: str) -> Literal["head", "neuron"] | None:
    """The axis that a site has beside row, token and feature; None where it is a vector of d_model.

    Args:
        site: see `SITES`.

    Example:
        >>> component("z"), component("mlp_post"), component("resid_pre")
        ('head', 'neuron', None)
    """
    return "head" if site in HEAD_SITES else "neuron" if site in NEURON_SITES else None


@dataclass(frozen=True)
class Components:
    """The places of the components (heads, neurons) in the input or output of a module.

    Component i holds the features from `offset + i · stride` on, `size` of them. GPT-NeoX with two heads of four writes
    `qqqq kkkk vvvv qqqq kkkk vvvv`: its k is `Components(n=2, size=4, stride=12, offset=4)`.

    Attributes:
        n: how many components.
        size: features of each: d_head for a head, 1 for a neuron.
        stride: features from one component's first to the next's.
        offset: the first feature of the first one.

    Example:
        >>> import torch
        >>> heads = Components(n=2, size=2, stride=3)
        >>> heads.read(torch.arange(6)).tolist()
        [[0, 1], [3, 4]]
        >>> heads.write(torch.arange(6), torch.zeros(2, 2, dtype=torch.int64)).tolist()
        [0, 0, 2, 0, 0, 5]
    """

    n: int
    size: int
    stride: int
    offset: int = 0

    def read(self, x: Tensor) -> Tensor:
        """[..., feature] → [..., n, size], a view of `x`.

        Raises:
            SelfrepError: `x` has too few features to hold all components.
        """
        needed = self.offset + (self.n - 1) * self.stride + self.size
        if x.shape[-1] < needed:
            raise SelfrepError(
                f"{self.n} components of {self.size} at stride {self.stride} from {self.offset} need {needed} features;"
                f" got {list(x.shape)}. Read them from the module and end that the tap names."
            )
        return x[..., self.offset :].unfold(-1, self.size, self.stride)[..., : self.n, :]

    def write(self, x: Tensor, values: Tensor) -> Tensor:
        """[..., feature] and values [..., n, size] → a new [..., feature]: other features are those of `x`."""
        out = x.clone()
        self.read(out).copy_(values)
        return out


@dataclass(frozen=True)
class Tap:
    """One end of a module in a block.

    Attributes:
        path: of the module inside the block; "" is the block itself.
        end: "in" for its input, "out" for its output.
        part: the places of the components in it; None: it is the whole [row, token, d_model].

    Example:
        >>> from selfrep.models.language_model import load_model
        >>> load_model("organism:bleed?beta=0.4").layout.tap("attn_out")
        Tap(path='self_attn', end='out', part=None)
    """

    path: str
    end: Literal["in", "out"]
    part: Components | None = None

    def module(self, block: nn.Module) -> nn.Module:
        """The module itself, in a block."""
        return block.get_submodule(self.path)


@dataclass(frozen=True)
class Layout:
    """The Hugging Face module paths of one architecture.

    Attributes:
        architecture: the class of the model.
        blocks, ln_final, unembed: the paths of the stack of blocks, the last norm, and the unembedding.
        taps: site → where it is in a block.

    Example:
        >>> from selfrep.models.language_model import load_model
        >>> layout = load_model("organism:bleed?beta=0.4").layout
        >>> layout.blocks, layout.tap("z").path
        ('model.layers', 'self_attn.o_proj')
        >>> layout.tap("hidden")
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: A site is one of resid_pre, ...; got 'hidden'.
    """

    architecture: str
    blocks: str
    ln_final: str
    unembed: str
    taps: dict[Site, Tap]

    def tap(self, site: str) -> Tap:
        """Where a site is.

        Raises:
            SelfrepError: an unknown site, or one that this architecture lacks.
        """
        if site not in SITES:
            raise SelfrepError(f"A site is one of {', '.join(SITES)}; got {site!r}.")
        if site not in self.taps:
            why = {
                "head": "in some block no module passes its heads side by side",
                "neuron": "some block has experts in place of one MLP, or no MLP",
                None: "its blocks compute attention and MLP in parallel, or lack one of them",
            }[component(site)]
            raise SelfrepError(f"{self.architecture} has no site {site!r} ({why}). It offers {', '.join(self.taps)}.")
        return self.taps[site]


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
    found: dict[Site, Tap | None] = {
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
        found[site] = Tap(tap.path, tap.end, part) if tap and fits else None
    return found


def _split(attention: Any, tap: Tap, block: nn.Module, width: int) -> tuple[Sequence[int], ...]:
    """Which features of a joint projection are q, which k and which v; none where the adapter cannot tell.

    The adapter knows how to split the weights of the projection: it is given weights whose rows hold their own numbers.
    """
    import torch
    from torch import nn

    path, _, name = tap.path.rpartition(".")
    joint = cast(Any, tap.module(block))
    numbers = torch.arange(width, dtype=torch.float32)  # exact up to 2^24
    if hasattr(joint, "nx"):  # GPT-2's Conv1D keeps its weight as [in, out]
        weight = numbers.expand(joint.nx, width)
    else:
        weight = numbers[:, None].expand(width, joint.in_features)
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
