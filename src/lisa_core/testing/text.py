"""Checks of the token rows: padding, keys, labels, `[SEG]`, and generation that agrees with one forward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lisa_core.hf import HFVLM
from lisa_core.prompts import answer
from lisa_core.testing.check import NotApplicable, check, require, require_close
from lisa_core.testing.subject import ANSWERS, QUESTIONS, Subject
from lisa_core.text import IGNORED_LABEL
from lisa_core.vlm import SEG_TOKEN, VLM


@check(
    "padding changes nothing: a sentence gives the same states beside a longer one",
    "pad on the right, and pass `attention_mask` (`text_attention_mask`) to the model",
)
@torch.no_grad()
def padding_changes_nothing(subject: Subject) -> None:
    """Run a short sentence alone and beside a long one, about the same picture."""
    vlm, picture = subject.vlm, subject.pictures[0]
    both = subject.batch([picture], QUESTIONS[:2], ANSWERS[:2], [0, 0])
    alone = subject.batch([picture], QUESTIONS[:1], ANSWERS[:1])
    for ids, mask, states, name in (
        ("input_ids", "attention_mask", lambda batch: vlm(batch).hidden, "forward"),
        ("text_input_ids", "text_attention_mask", vlm.encode_text, "encode_text"),
    ):
        length = alone[ids].shape[1]
        require(both[ids].shape[1] > length, f"{ids} are not longer for a longer sentence")
        right = bool(both[mask][0, :length].all()) and not bool(both[mask][0, length:].any())
        require(right, f"{mask} of the shorter row is not {length} ones and then zeros: text is padded on the right")
        require_close(states(both)[0, :length], states(alone)[0, :length], f"{name} of a padded row")


@check(
    "every key of the processor reaches the model",
    "put all the processor's keys into the batch and pass on those you do not know (token_type_ids, grids, ...)",
)
@torch.no_grad()
def opaque_keys_survive(subject: Subject) -> None:
    """Record what the processor returns and what the language side of the model is called with."""
    vlm = subject.fresh()
    if not isinstance(vlm, HFVLM):
        raise NotApplicable("the adapter is no HFVLM, so its processor is its own affair")
    recorder = _Recorder(vlm.processor)
    vlm.processor = recorder
    batch = subject.collator(vlm).inputs(subject.pictures, QUESTIONS, ANSWERS, range(3))
    text_keys = recorder.keys - set(vlm.image_keys) - {"labels"}
    lost = sorted((recorder.keys - {"labels"}) - set(batch))
    require(not lost, f"the processor returns {', '.join(lost)}, the batch does not hold it")
    received: set[str] = set()
    hook = vlm.model.model.register_forward_pre_hook(
        lambda _module, _args, kwargs: received.update(kwargs), with_kwargs=True
    )
    vlm(batch)
    hook.remove()
    dropped = sorted((text_keys | set(vlm.per_sentence_keys)) - received)
    require(not dropped, f"{', '.join(dropped)} of the batch is not given to the model")


class _Recorder:
    """A processor that notes the keys it returns."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.keys: set[str] = set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self.processor(*args, **kwargs)
        self.keys |= set(result)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self.processor, name)


@check(
    "`[SEG]` is one token, in the answer once, and has an embedding row",
    "call `add_seg_token` when the model is built (HFVLM.__init__ does)",
)
def seg_is_one_token(subject: Subject) -> None:
    """Look for the token's id in rows with one answer each."""
    vlm, batch = subject.vlm, subject.batch()
    ids = vlm.tokenizer(f"It is {SEG_TOKEN}.", add_special_tokens=False)["input_ids"]
    require(ids.count(vlm.seg_token_id) == 1, f"the tokenizer writes {SEG_TOKEN} as something other than one token")
    require(vlm.seg_token_id != vlm.tokenizer.unk_token_id, f"{SEG_TOKEN} is unknown to the tokenizer")
    counts = (batch["input_ids"] == vlm.seg_token_id).sum(1).tolist()
    require(counts == [1, 1, 1], f"rows with one {SEG_TOKEN} in the answer hold {counts} of its ids")
    rows = embeddings(vlm).num_embeddings
    require(vlm.seg_token_id < rows, f"{SEG_TOKEN} is id {vlm.seg_token_id}, the embedding has {rows} rows")


@check(
    "the answer is labelled, and nothing else",
    "labels are the input ids where the assistant speaks and -100 elsewhere (`answer_labels`)",
)
def labels_are_the_answer(subject: Subject) -> None:
    """Decode what is labelled."""
    vlm, batch = subject.vlm, subject.batch()
    labels, ids = batch["labels"], batch["input_ids"]
    require(labels.shape == ids.shape, f"labels are {list(labels.shape)}, input_ids {list(ids.shape)}")
    for row in range(len(ids)):
        counted = labels[row] != IGNORED_LABEL
        require(torch.equal(labels[row][counted], ids[row][counted]), "labels differ from the input ids")
        require(bool((counted <= batch["attention_mask"][row].bool()).all()), "padding is labelled")
        text = vlm.tokenizer.decode(ids[row][counted])
        require(SEG_TOKEN in text, f"{SEG_TOKEN} is not labelled; what is: {text!r}")
        require("It is" in text and "Segment" not in text, f"other words than the answer's are labelled: {text!r}")
    prompt = subject.batch(answers=None).get("labels")
    require(prompt is None or bool((prompt == IGNORED_LABEL).all()), "a prompt without an answer is labelled")


@check(
    "the state at `[SEG]` is at its own position, image tokens counted",
    "return one hidden state for every input id, image placeholders expanded in both, in the same order",
)
@torch.no_grad()
def seg_positions(subject: Subject) -> None:
    """Change the embedding of `[SEG]` and see where states begin to change."""
    vlm = subject.fresh()
    batch = subject.batch(vlm=vlm)
    before = vlm(batch).hidden
    table = embeddings(vlm).weight
    table[vlm.seg_token_id] += (
        0.5 * table.std() * torch.randn(table.shape[1], generator=torch.Generator().manual_seed(0))
    )
    change = (vlm(batch).hidden - before).abs().amax(-1)
    for row, ids in enumerate(batch["input_ids"]):
        expected = int((ids == vlm.seg_token_id).nonzero()[0])
        length = int(batch["attention_mask"][row].sum())
        moved = (change[row, :length] > 1e-4 * change[row, :length].max()).nonzero().flatten()
        require(len(moved) > 0, f"no state depends on {SEG_TOKEN}: is the answer in the row?")
        first = int(moved[0])
        require(
            first == expected,
            f"{SEG_TOKEN} stands at position {expected}, but the first state it changes is {first}",
        )


@check(
    "what `generate` wrote is what one forward pass over it predicts",
    "give `continued` the right `continuation_values`, return whole rows from `generate`, without padding",
)
@torch.no_grad()
def generation_parity(subject: Subject) -> None:
    """Generate greedily, then read the same rows in one go."""
    vlm = subject.vlm
    batch = subject.batch(answers=None)
    rows = vlm.generate(batch, max_new_tokens=6)
    require(len(rows) == 3, f"{len(rows)} rows generated for 3 sentences")
    for row, ids in enumerate(rows):
        length = int(batch["attention_mask"][row].sum())
        kept = torch.equal(ids[:length], batch["input_ids"][row, :length])
        require(kept, "a generated row does not start with its prompt (padding removed)")
        require(0 < len(ids) - length <= 6, f"{len(ids) - length} tokens generated where 1 to 6 were asked for")
    output = vlm(vlm.continued(batch, rows))
    shorter = vlm(vlm.continued(batch, [ids[:-1] for ids in rows])).hidden
    logits = output.logits
    assert logits is not None
    for row, ids in enumerate(rows):
        length = int(batch["attention_mask"][row].sum())
        predicted = logits[row, length - 1 : len(ids) - 1]
        chosen = predicted.gather(1, ids[length:, None])[:, 0]
        best = predicted.amax(1)
        agrees = bool((best - chosen <= 1e-3 * predicted.std()).all())
        require(agrees, "a forward pass over the generated ids predicts other tokens than were generated")
        # Greedy ids can agree by chance; states that a later token changes were not those of generation.
        read = len(ids) - 1
        again = output.hidden[row, :read]
        require_close(again, shorter[row, :read], "states of a generated row, read with its last token or without it")


@check(
    "special tokens that a user types are only words",
    "leave that to the collator; if the adapter changes questions, it must not undo it",
)
def typed_tokens_are_words(subject: Subject) -> None:
    """Ask about `[SEG]` and the family's own special tokens."""
    vlm = subject.vlm
    special = [token.content for token in vlm.tokenizer.added_tokens_decoder.values() if token.special][:40]
    odd = f"Segment {SEG_TOKEN} {' '.join(special)} it."
    plain, typed = (
        subject.collator(vlm).inputs(subject.pictures[:1], [question], ANSWERS[:1], [0])
        for question in (QUESTIONS[0], odd)
    )
    for token in (SEG_TOKEN, *special):
        number = vlm.tokenizer.convert_tokens_to_ids(token)
        for key in ("input_ids", "text_input_ids"):
            counts = [int((batch[key] == number).sum()) for batch in (plain, typed)]
            require(counts[0] == counts[1], f"{token!r} typed in a question acts as the token in {key}")


@check(
    "answers with no, one and three `[SEG]` give no, one and three masks",
    "do not count on one `[SEG]` a row in `preprocess` or `forward`",
)
@torch.no_grad()
def seg_counts(subject: Subject) -> None:
    """Draw masks for answers of each kind, together and without any `[SEG]`."""
    vlm = subject.vlm
    model, collator = subject.model(vlm), subject.collator(vlm)
    answers = ["There is none.", answer(), f"{SEG_TOKEN}, {SEG_TOKEN} and {SEG_TOKEN}."]
    output = model(collator.inputs(subject.pictures, QUESTIONS, answers, range(3)))
    require(output.rows.tolist() == [1, 2, 2, 2], f"masks belong to sentences {output.rows.tolist()}, not [1, 2, 2, 2]")
    require(bool(torch.isfinite(output.mask_logits).all()), "masks are not finite")
    none = model(collator.inputs(subject.pictures, QUESTIONS, answers[:1] * 3, range(3)))
    require(len(none.mask_logits) == 0, f"{len(none.mask_logits)} masks for answers without {SEG_TOKEN}")


def embeddings(vlm: VLM) -> nn.Embedding:
    """The table that turns ids into vectors."""
    base: Any = vlm.lora_base
    if base is not None:
        return base.get_input_embeddings()
    tables = [module for module in vlm.modules() if isinstance(module, nn.Embedding)]
    return max(tables, key=lambda table: table.num_embeddings)
