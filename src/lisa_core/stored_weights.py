"""Which of a model's tensors a checkpoint holds, and as what: whole, on the CPU, one piece each."""

from __future__ import annotations

from torch import Tensor
from torch.distributed.tensor import DTensor

from lisa_core.model import LisaModel


def recoverable_prefixes(model: LisaModel) -> tuple[str, ...]:
    """Prefixes of state that can be read again from where it came, so that a checkpoint need not repeat it."""
    prefixes: list[str] = []
    if not model.config.is_tiny:
        prefixes += [f"vlm.{prefix}" for prefix in model.vlm.pretrained_prefixes]
    if model.config.sam_checkpoint is not None:
        prefixes.append("sam_encoder.")
    return tuple(prefixes)


def state_to_save(model: LisaModel) -> dict[str, Tensor]:
    """The weights that a checkpoint holds, on the CPU: all that was trained, or that nothing else can restore.

    Of a model that is spread over processes, every process must ask at the same time.
    """
    recoverable = recoverable_prefixes(model)
    trained = {name for name, parameter in model.named_parameters(remove_duplicate=False) if parameter.requires_grad}
    return storable(
        {
            key: value
            for key, value in model.state_dict(keep_vars=True).items()
            if key in trained or not key.startswith(recoverable)
        }
    )


def storable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as safetensors takes them: whole, on the CPU, in one piece each.

    What is all this already stays where it is; of tensors that share memory, which safetensors refuses to store, all
    but the first are copied.
    """
    result: dict[str, Tensor] = {}
    seen: set[int] = set()
    for key, value in tensors.items():
        value = whole(value).detach().cpu().contiguous()
        storage = value.untyped_storage()
        # A part of a larger storage would be taken for one that shares it.
        if storage.data_ptr() in seen or storage.nbytes() != value.nbytes:
            value = value.clone()
        seen.add(value.untyped_storage().data_ptr())
        result[key] = value
    return result


def whole(value: Tensor) -> Tensor:
    """A tensor that may be one process's share of a larger one, put together."""
    if hasattr(value, "ds_id"):  # DeepSpeed's ZeRO stage 3
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters(value):
            return value.detach().cpu().clone()
    return value.full_tensor() if isinstance(value, DTensor) else value
