"""The words around a referring expression: one question to the model, and the answer that holds `[SEG]`."""

from __future__ import annotations

from lisa_core.vlm import SEG_TOKEN

ANSWER = f"It is {SEG_TOKEN}."


def question(text: str, is_sentence: bool) -> str:
    """The user turn for a referring expression; full sentences stand as they are, noun phrases are put into one."""
    return f"{text} Segment it." if is_sentence else f"Segment {text}."


def answer(explanation: str | None = None) -> str:
    """The assistant turn: the mask's token, and the data set's explanation where it has one."""
    if explanation is None:
        return ANSWER
    # One answer, one mask: an explanation that spells the token must not ask for a second.
    return f"{ANSWER} {explanation.replace(SEG_TOKEN, SEG_TOKEN.strip('[]'))}"
