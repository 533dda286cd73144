"""Checks of training: what gets gradients and what stays, and that lower precision gives the same answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lisa_core.config import LossConfig
from lisa_core.data.base import Example, Sample
from lisa_core.lora import LoraSettings, add_lora
from lisa_core.model import LisaModel
from lisa_core.objective import loss_terms, loss_weights
from lisa_core.testing.check import CheckFailure, NotApplicable, check, require
from lisa_core.testing.subject import QUESTIONS, Subject
from lisa_core.testing.text import embeddings
from lisa_core.vlm import VLM, Batch

_TRAINED = ("vlm.", "text_sam.", "image_sam.", "similarity.")
"""Parts of LisaModel that every training step reaches; SAM's own have layers for prompts that are not used."""


def _training_batch(subject: Subject, model: LisaModel) -> Batch:
    examples = []
    for row, (picture, text) in enumerate(zip(subject.pictures, QUESTIONS)):
        mask = np.zeros((picture.height, picture.width), np.uint8)
        mask[picture.height // 4 : picture.height // 2, picture.width // 4 : picture.width // 2] = 1
        sample = Sample(id=f"picture {row}", image_path=Path(), annotation_path=Path(), text=text, is_sentence=True)
        examples.append(Example(sample, picture, mask))
    return subject.collator(model.vlm)(examples)


def _loss(model: LisaModel, batch: Batch) -> Tensor:
    weights = loss_weights(LossConfig())
    terms, _ = loss_terms(model(batch), batch)
    return torch.stack([weights[name] * term.total / term.count for name, term in terms.items()]).sum()


@check(
    "gradient reaches LoRA adapters and connectors, and nothing that is frozen changes",
    "name the language model's layers in `lora_targets`, run them with gradients in `forward`, and leave "
    "`requires_grad` and buffers alone",
)
def gradients(subject: Subject) -> None:
    """One training step with LoRA."""
    vlm = subject.fresh()
    if vlm.lora_base is None:
        raise NotApplicable("the family cannot be adapted (`lora_base` is None)")
    frozen = {name: value.detach().clone() for name, value in vlm.state_dict().items()}
    kept = {id(value): name for name, value in vlm.named_parameters() if name.startswith(vlm.pretrained_prefixes)}
    add_lora(vlm, LoraSettings(r=4, dropout=0.0))
    model = subject.model(vlm).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    batch = _training_batch(subject, model)
    _check_words_are_learnt(model, batch)
    _loss(model, batch).backward()
    adapters = 0
    for name, parameter in model.named_parameters():
        if id(parameter) in kept:
            require(parameter.grad is None, f"frozen {kept[id(parameter)]} gets a gradient")
        elif parameter.requires_grad and name.startswith(_TRAINED):
            gradient = parameter.grad
            if gradient is None:
                raise CheckFailure(f"no gradient reaches {name}")
            # Adapters start as B A with B = 0, so A has no gradient yet.
            if "lora_B" in name:
                adapters += 1
                require(bool(gradient.any()), f"the gradient of {name} is all zero")
    require(adapters > 0, "`lora_targets` names no layer that the forward pass uses")
    _check_language_is_adapted(model, batch)
    optimizer.step()
    now = vlm.state_dict()
    for name, value in frozen.items():
        same = now.get(name, now.get(name.replace(".weight", ".base_layer.weight")))
        if same is not None and name.startswith(vlm.pretrained_prefixes) and same.shape == value.shape:
            require(torch.equal(same, value), f"frozen {name} changes in a training step")


def _check_words_are_learnt(model: LisaModel, batch: Batch) -> None:
    """The answer's words alone, without any mask, train the adapters too."""
    terms, _ = loss_terms(model(batch), batch)
    terms["ce"].total.backward()
    learnt = any(p.grad is not None and p.grad.any() for name, p in model.named_parameters() if "lora_B" in name)
    require(learnt, "no gradient of the answer's cross-entropy reaches the adapters: look at `lm_logits` and labels")
    model.zero_grad(set_to_none=True)


@torch.no_grad()
def _check_language_is_adapted(model: LisaModel, batch: Batch) -> None:
    """Other adapters, other words: a sentence alone is read by what LoRA adapts."""
    adapters = [parameter for name, parameter in model.named_parameters() if "lora_B" in name]
    before = model.vlm.encode_text(batch)
    for adapter in adapters:
        adapter.add_(0.5)
    read = not torch.equal(model.vlm.encode_text(batch), before)
    for adapter in adapters:
        adapter.sub_(0.5)
    require(read, "`lora_targets` names no layer of the language model")


@check(
    "the embedding row of `[SEG]` trains under LoRA, the other rows stay",
    "`lora_base` must be the model whose `get_input_embeddings` reads the token rows",
)
def seg_row_trains(subject: Subject) -> None:
    """One step; compare the embedding before and after."""
    vlm = subject.fresh()
    if vlm.lora_base is None:
        raise NotApplicable("the family cannot be adapted (`lora_base` is None)")
    ids = torch.arange(embeddings(vlm).num_embeddings)
    add_lora(vlm, LoraSettings(r=4, dropout=0.0))
    model = subject.model(vlm).train()
    table = embeddings(vlm)
    with torch.no_grad():
        before = table(ids)
    _loss(model, _training_batch(subject, model)).backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0).step()
    with torch.no_grad():
        changed = (table(ids) != before).any(1).nonzero().flatten().tolist()
    require(vlm.seg_token_id in changed, "a training step leaves the embedding of [SEG] as it was")
    require(
        changed == [vlm.seg_token_id], f"a training step changes the embeddings of {len(changed)} tokens, not of one"
    )


@check(
    "bfloat16 gives what float32 gives, within its precision",
    "cast inputs to the model's dtype in `encode_image`, and build no float32 tensors inside `forward`",
)
@torch.no_grad()
def bfloat16_agrees(subject: Subject) -> None:
    """Run the same batch in both precisions."""
    batch = subject.batch()
    exact_features, exact = subject.vlm.encode_image(batch), subject.vlm(batch).hidden
    vlm = subject.fresh().to(torch.bfloat16)
    features, hidden = vlm.encode_image(batch), vlm(batch).hidden
    require(hidden.dtype == torch.bfloat16, f"hidden states of a bfloat16 model are {hidden.dtype}")
    mask = batch["attention_mask"].bool()
    pairs = [("hidden states", hidden[mask], exact[mask]), ("text states", *_text(subject, vlm, batch))]
    if vlm.has_grid:
        there = slice(None) if features.mask is None else features.mask
        pairs.append(("patch features", features.sequence[there], exact_features.sequence[there]))
    for name, low, full in pairs:
        alike = F.cosine_similarity(low.float(), full.float(), dim=-1).mean().item()
        require(alike > 0.98, f"{name} in bfloat16 point elsewhere than in float32 (mean cosine {alike:.3f})")


def _text(subject: Subject, vlm: VLM, batch: Batch) -> tuple[Tensor, Tensor]:
    mask = batch["text_attention_mask"].bool()
    return vlm.encode_text(batch)[mask], subject.vlm.encode_text(batch)[mask]
