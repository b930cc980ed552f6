"""Whether a model can be loaded the way it is asked for, told before its weights are read.

Nothing heavy is imported for what is left as it is; an attention, a device or a device map that is named takes torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from selfrep.errors import SelfrepError, close_match
from selfrep.models import config_files, folders, resolve
from selfrep.models.outline import ORGANISM

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from selfrep.models.devices import DeviceMap

ATTENTIONS = ("sdpa", "eager", "flex_attention", "flash_attention_2", "flash_attention_3")
"""The attentions of transformers that have a name; it has others by the name of a repository, owner/name."""


def unloadable(
    model: str,
    *,
    device: str = "auto",
    device_map: DeviceMap | None = None,
    attn: str | None = None,
) -> dict[str, str]:
    """What of the way in which a model shall be loaded cannot be: option → why, and what to give instead.

    Args:
        model: a name, as `selfrep.load_model` takes it; device, device_map, attn: likewise.

    Returns:
        nothing where all can be, or where only the model itself can tell.

    Example:
        >>> unloadable("organism:separate", device="cpu", device_map="auto", attn="spda")
        {'device_map': "A model goes to one device or by a device_map, not both; got device='cpu' too.",
        'attn': "There is no attention 'spda' (did you mean 'sdpa'?). There are sdpa, eager, flex_attention,
        flash_attention_2, flash_attention_3. Leave attn out for the model's own choice."}
    """
    wrong: dict[str, str] = {}
    if device not in ("auto", "cpu") and (why := _refused(_device, device)):
        wrong["device"] = why
    if device_map is not None and (why := _refused(_device_map, model, device, device_map)):
        wrong["device_map"] = why
    if attn is not None and (why := _refused(_attention, model, attn)):
        wrong["attn"] = why
    return wrong


def _refused(check: Any, *given: Any) -> str:
    try:
        check(*given)
    except SelfrepError as error:
        return str(error)
    return ""


def _device(name: str) -> None:
    from selfrep.models import devices

    devices.device(name)


def _device_map(model: str, device: str, device_map: DeviceMap) -> None:
    from selfrep.models import devices

    if device != "auto":
        raise SelfrepError(f"A model goes to one device or by a device_map, not both; got device={device!r} too.")
    if model.startswith(ORGANISM):
        raise SelfrepError(f"A device_map is for models read from files; {model} is not. Leave device_map out.")
    devices.check_device_map(device_map)
    if not isinstance(device_map, str) and (hf := skeleton(model)) is not None:
        from accelerate.utils import check_device_map

        try:
            check_device_map(hf, dict(device_map))
        except ValueError as error:
            raise SelfrepError(f"A device_map says of each part of a model where it goes. {error}") from error


def _attention(model: str, attn: str) -> None:
    _require_name(attn)
    hf = skeleton(model)
    if hf is not None:
        attend(hf, attn)


def _require_name(attn: str) -> None:
    if attn not in ATTENTIONS and "/" not in attn:
        raise SelfrepError(
            f"There is no attention {attn!r}{close_match(attn, ATTENTIONS)}. There are {', '.join(ATTENTIONS)}. Leave "
            "attn out for the model's own choice."
        )


def attend(hf: PreTrainedModel, attn: str) -> None:
    """Let a model run its plain passes with this attention of transformers.

    Raises:
        SelfrepError: there is none of that name; the model, or this machine, does not have it.

    Example:
        >>> from selfrep.models import organisms
        >>> attend(organisms.grow(organisms.parse("organism:separate")), "sdpa")
    """
    _require_name(attn)
    why = "its code has an attention of its own"
    try:
        hf.set_attn_implementation(attn)
    except (ValueError, ImportError) as error:
        why = str(error).rstrip(".")
    if hf.config._attn_implementation != attn:
        raise SelfrepError(f"The attention {attn!r} cannot be had with {type(hf).__name__}: {why}. Leave attn out.")


def skeleton(name: str) -> PreTrainedModel | None:
    """The modules of a model, their weights on torch's "meta" device: shapes without numbers.

    Returns:
        None where they are not known without the weights: a GGUF file that was never converted, a planted model that
        is trained first; or where there is no such model, or transformers has no class for it, which is told elsewhere.
    """
    if name.startswith(ORGANISM):
        from selfrep.models import organisms

        plan = organisms.parse(name)
        return organisms.grow(plan) if plan.making == "wired" else None
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        folder = resolve.without_weights(name)
        if folder is not None and folders.is_adapter(folder):
            folder = resolve.without_weights(folders.base_of(folder))
        if folder is None:
            return None
        config_files.require_buildable(folder)
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except Exception:  # noqa: BLE001 (whatever a configuration does wrong is told where it is loaded)
        return None
