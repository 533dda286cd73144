"""A model spread over processes by torch's own FSDP2 (arXiv:2304.11277): each keeps a share of every weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from lisa_core.model import LisaModel


def shard(model: LisaModel, world_size: int) -> None:
    """Share out the weights of a model in place; the optimizer is made afterwards.

    Each repeated layer (a transformer block of VLM or SAM's encoder) is put together only while it computes; the rest,
    which is small, while the whole model does. All weights must be float32, as the members of a group need one type.

    Args:
        model: on the device it computes on; the default process group exists.
        world_size: processes.
    """
    mesh = init_device_mesh(next(model.parameters()).device.type, (world_size,))
    for layer in repeated_layers(model):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    # Called by evaluation without a whole forward pass around it.
    register_fsdp_forward_method(model, "encode_image")


def repeated_layers(model: LisaModel) -> list[nn.Module]:
    """The blocks that make up the depth of VLM and SAM's encoder: members of the longest lists of like modules."""
    parts = [model.vlm] if model.sam_encoder is None else [model.vlm, model.sam_encoder]
    found: list[nn.Module] = []
    for part in parts:
        for module in part.modules():
            if isinstance(module, nn.ModuleList) and len(module) > 1 and len({type(block) for block in module}) == 1:
                inside = {id(child) for block in found for child in block.modules()}
                found += [
                    block for block in module if id(block) not in inside and any(True for _ in block.parameters())
                ]
    return found


@torch.no_grad()
def fill(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give a model whose weights are shared out, here or by DeepSpeed, other ones; all processes together.

    Args:
        model: its optimizer must not step any more, as DeepSpeed's has a copy of the weights.
        weights: whole ones by name, on the CPU, the same on each process; what is not named stays.
    """
    for name, value in model.state_dict(keep_vars=True).items():
        if name in weights:
            _put(weights[name], value)


def _put(whole: Tensor, target: Tensor) -> None:
    if isinstance(target, DTensor):
        target.copy_(distribute_tensor(whole.to(target.device), target.device_mesh, target.placements))
    elif hasattr(target, "ds_id"):  # DeepSpeed's ZeRO stage 3
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters(target, modifier_rank=0):
            target.data.copy_(whole)
    else:
        target.copy_(whole)
