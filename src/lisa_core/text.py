"""Token rows for a VLM: the `[SEG]` token, chat templates, answer labels and padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lisa_core.errors import ConfigError
from lisa_core.prompts import Dialogue
from lisa_core.vlm import SEG_TOKEN

IGNORED_LABEL = -100
"""Label of the tokens that no cross-entropy is taken of (torch's default `ignore_index`)."""


def add_seg_token(tokenizer: Any, model: Any) -> None:
    """Make `[SEG]` one token of the tokenizer and give it an embedding row, starting at the mean of all rows."""
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    elif tokenizer.pad_token_id is None:
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
    known = SEG_TOKEN in tokenizer.get_vocab()
    if not known:
        tokenizer.add_tokens([SEG_TOKEN], special_tokens=True)
    embeddings = model.get_input_embeddings()
    # Many checkpoints pad their embedding matrix: resizing to the tokenizer would then shrink it.
    if len(tokenizer) > embeddings.weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        embeddings = model.get_input_embeddings()
    if not known:
        row = tokenizer.convert_tokens_to_ids(SEG_TOKEN)
        with torch.no_grad():
            for matrix in (embeddings, model.get_output_embeddings()):
                if matrix is not None:
                    matrix.weight[row] = matrix.weight[:row].mean(0)


def plain_words(tokenizer: Any, text: str) -> str:
    """The text with the tokenizer's special tokens broken up by a blank: `[SEG]` becomes `[ SEG]`.

    What a user writes must not act as one: a second `[SEG]` would draw a second mask, an image placeholder would ask
    for a picture that is not there.
    """
    for token in tokenizer.added_tokens_decoder.values():
        if token.special:
            text = text.replace(token.content, f"{token.content[:1]} {token.content[1:]}")
    return text


def plain_question(tokenizer: Any, question: str) -> str:
    """A question, and what was said before it, as `plain_words`; replies that are taught stay what they are."""
    if not isinstance(question, Dialogue):
        return plain_words(tokenizer, question)
    earlier = [
        (plain_words(tokenizer, said), reply if question.taught else plain_words(tokenizer, reply))
        for said, reply in question.earlier
    ]
    return Dialogue(plain_words(tokenizer, question.asked), earlier, question.taught)


def chat_rows(
    processor: Any, questions: Sequence[str], answers: Sequence[str] | None, with_image: bool
) -> tuple[list[str], list[str]]:
    """Prompts up to where the assistant starts, and the assistant's part ("" without answers), as text.

    Raises:
        ConfigError: if the template does not start a whole conversation with its own prompt.
    """
    prompts, replies = [], []
    for row, question in enumerate(questions):
        chat = _conversation(question, with_image)
        prompt = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        reply = ""
        if answers is not None:
            chat.append(_turn("assistant", answers[row], with_image))
            whole = processor.apply_chat_template(chat, tokenize=False)
            if not whole.startswith(prompt):
                raise ConfigError("the checkpoint's chat template changes the prompt once the answer is known")
            reply = whole[len(prompt) :]
        prompts.append(prompt)
        replies.append(reply)
    return prompts, replies


def earlier_replies(
    processor: Any, questions: Sequence[str], prompts: Sequence[str], replies: Sequence[str], with_image: bool
) -> list[list[tuple[str, str]]]:
    """Of each row of `chat_rows`, the replies before the last one that are taught too.

    Returns:
        For each of them, in their order: the reply as text, with what ends it, and all of the row from its start on.

    Raises:
        ConfigError: if the template does not repeat earlier replies as they are.
    """
    return [
        _earlier_replies(processor, question, prompt, reply, with_image)
        if reply and isinstance(question, Dialogue) and question.taught
        else []
        for question, prompt, reply in zip(questions, prompts, replies)
    ]


def _earlier_replies(
    processor: Any, question: Dialogue, prompt: str, reply: str, with_image: bool
) -> list[tuple[str, str]]:
    chat, row = _conversation(question, with_image), prompt + reply
    ends = range(1, len(chat), 2)  # of the messages before each earlier reply
    starts = [processor.apply_chat_template(chat[:end], add_generation_prompt=True, tokenize=False) for end in ends]
    found = []
    for end, start, following, (_, said) in zip(ends, starts, [*starts[1:], prompt], question.earlier):
        said = said.strip()  # as some templates do
        place = row.find(said, len(start), len(following))
        if not row.startswith(start) or place < 0:
            raise ConfigError(
                "the checkpoint's chat template does not repeat earlier replies as they were, so conversations "
                "cannot be learnt: leave --turns out"
            )
        # Templates may write a last reply otherwise than earlier ones, but end both alike.
        last = processor.apply_chat_template(chat[: end + 1], tokenize=False)
        stop = place + len(said)
        stop += _agreeing(row[stop:], last[last.rfind(said) + len(said) :])
        found.append((row[len(start) : stop], row[len(start) :]))
    return found


def _conversation(question: str, with_image: bool) -> list[dict[str, Any]]:
    """The messages up to a question, those before it included; the picture stands in the first."""
    earlier, asked = (question.earlier, question.asked) if isinstance(question, Dialogue) else ((), question)
    chat = []
    for said, reply in earlier:
        chat += [_turn("user", said, with_image), _turn("assistant", reply, with_image)]
    chat.append(_turn("user", asked, with_image))
    if with_image:
        chat[0]["content"].insert(0, {"type": "image"})
    return chat


def _turn(role: str, text: str, in_parts: bool) -> dict[str, Any]:
    """One message, its text by itself or as the only part of it."""
    return {"role": role, "content": [{"type": "text", "text": text}] if in_parts else text}


def answer_labels(
    tokenizer: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    replies: Sequence[str],
    earlier: Sequence[Sequence[tuple[str, str]]] = (),
) -> Tensor:
    """Labels [N,L]: the ids of the replies, and -100 everywhere else.

    Args:
        tokenizer: made the ids.
        input_ids: int64 [N,L], right-padded.
        attention_mask: int64 [N,L].
        replies: N texts that end the rows; "" for a row without.
        earlier: for each row the replies before its last, of `earlier_replies`; by default none.
    """
    labels = torch.full_like(input_ids, IGNORED_LABEL)
    for row, reply in enumerate(replies):
        if reply:
            end = int(attention_mask[row].sum())
            ids = input_ids[row, :end].tolist()
            spans = [_span(tokenizer, ids, *texts) for texts in (earlier[row] if earlier else ())]
            for start, stop in (*spans, (_span(tokenizer, ids, reply, reply)[0], end)):
                labels[row, start:stop] = input_ids[row, start:stop]
    return labels


def _span(tokenizer: Any, ids: list[int], reply: str, rest: str) -> tuple[int, int]:
    """Where in a row's ids a reply starts and ends; `rest` is the row's text from the reply's start on."""
    of_reply, of_rest = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (reply, rest))
    first, start = _tail(ids, of_rest)
    return start, start + _agreeing(of_reply, of_rest) - first


def _agreeing(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many of the first members of two sequences are the same."""
    pairs = enumerate(zip(one, other))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _tail(ids: list[int], text: list[int]) -> tuple[int, int]:
    """Where in a row's ids those of the text that ends it start, and how many of the text's first are not there.

    Alone, a text may start with another piece than inside a row (SentencePiece marks a beginning), and a row may end
    with a token that the tokenizer added: both are found by matching, not by counting.
    """
    for first in range(len(text)):
        part = text[first:]
        for added in (0, 1):
            stop = len(ids) - added
            start = max(stop - len(part), 0)
            if ids[start:stop] == part:
                return first, start
    raise ConfigError("the tokenizer changes the answer once it stands after the prompt, so it cannot be learnt")


def starts_itself(tokenizer: Any, prompts: Sequence[str]) -> bool:
    """Whether the chat template wrote the beginning-of-text token, so that the tokenizer must not add another."""
    return bool(tokenizer.bos_token) and all(prompt.startswith(tokenizer.bos_token) for prompt in prompts)


def left_padded(inputs: dict[str, Any], attention_mask: Tensor) -> dict[str, Any]:
    """The same rows with their padding moved from the right to the left, in every tensor shaped like the mask."""
    width = attention_mask.shape[1]
    shift = width - attention_mask.sum(1, keepdim=True)
    source = (torch.arange(width, device=attention_mask.device) - shift) % width
    return {
        key: value.gather(1, source) if isinstance(value, Tensor) and value.shape == attention_mask.shape else value
        for key, value in inputs.items()
    }
