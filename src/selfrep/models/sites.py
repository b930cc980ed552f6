"""Where in a decoder a value is read or written: the names of sites, and the table of their places in an architecture.

Names are TransformerLens hook names without the `hook_` prefix, layers are 0-indexed blocks. Which Hugging Face module
a name stands for, `selfrep.models.layouts` finds out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from selfrep.errors import SelfrepError

if TYPE_CHECKING:
    from torch import Tensor, nn

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
        >>> from selfrep.models.loading import load_model
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
        >>> from selfrep.models.loading import load_model
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
