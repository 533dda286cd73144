from __future__ import annotations

from itertools import groupby
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import Qwen3Config, Qwen3ForCausalLM

from lisa_core.errors import ConfigError
from lisa_core.generic import GenericVLM
from lisa_core.prompts import Dialogue, conversation
from lisa_core.registry import get_registry
from lisa_core.text import (
    add_seg_token,
    answer_labels,
    chat_rows,
    earlier_replies,
    left_padded,
    plain_question,
    plain_words,
    starts_itself,
)
from lisa_core.tiny import tiny_tokenizer
from lisa_core.vlm import SEG_TOKEN

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}:"
    "{% if message['content'] is string %} {{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else ' ' + part['text'] }}{% endfor %}{% endif %}</s>{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


@pytest.fixture
def tokenizer():
    return tiny_tokenizer()


def language_model(vocabulary: int, tied: bool = False) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    small = {"hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 8, "head_dim": 4}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    return Qwen3ForCausalLM(Qwen3Config(**small, **heads, vocab_size=vocabulary, tie_word_embeddings=tied))


@torch.no_grad()
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("padding", [0, 1, 40])
def test_seg_becomes_one_token_with_a_mean_row(tokenizer, tied, padding):
    size = len(tokenizer)
    model = language_model(size + padding, tied)
    embedding, head = (m.weight.clone() for m in (model.get_input_embeddings(), model.get_output_embeddings()))
    add_seg_token(tokenizer, model)
    assert tokenizer.convert_ids_to_tokens(tokenizer(SEG_TOKEN)["input_ids"]) == [SEG_TOKEN]
    row = tokenizer.convert_tokens_to_ids(SEG_TOKEN)
    assert row == size
    for matrix, before in ((model.get_input_embeddings(), embedding), (model.get_output_embeddings(), head)):
        # A checkpoint may pad its matrix: growing by what is missing, never shrinking to the tokenizer's length.
        assert matrix.weight.shape == (size + max(padding, 1), 8)
        assert torch.equal(matrix.weight[:size], before[:size])
        torch.testing.assert_close(matrix.weight[row], before[:size].mean(0))
        assert torch.equal(matrix.weight[size + 1 :], before[size + 1 :])
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied
    assert model(torch.tensor([[row]])).logits.shape[-1] == size + max(padding, 1)


@torch.no_grad()
@pytest.mark.parametrize("padding", [0, 40])
def test_a_second_time_changes_nothing(tokenizer, padding):
    model = language_model(len(tokenizer) + padding)
    add_seg_token(tokenizer, model)
    row, length = tokenizer.convert_tokens_to_ids(SEG_TOKEN), len(tokenizer)
    model.get_input_embeddings().weight[row] = 7.0  # what training made of it
    state = {key: value.clone() for key, value in model.state_dict().items()}
    add_seg_token(tokenizer, model)
    assert len(tokenizer) == length
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_a_tokenizer_without_padding_pads_with_its_end_token_on_the_right(tokenizer):
    tokenizer.pad_token = None
    tokenizer.padding_side = "left"
    add_seg_token(tokenizer, language_model(len(tokenizer)))
    rows = tokenizer(["red", "the red ring"], padding=True)
    assert rows["input_ids"][0][1:] == [tokenizer.eos_token_id] * 2
    assert rows["attention_mask"] == [[1, 0, 0], [1, 1, 1]]


def test_only_the_reply_is_labelled(tokenizer):
    prompts, replies = ["USER: the red ring ASSISTANT:", "USER: it ASSISTANT:", "A:"], [" It is.</s>", "", " Yes</s>"]
    rows = tokenizer([p + r for p, r in zip(prompts, replies)], padding=True, return_tensors="pt")
    labels = answer_labels(tokenizer, rows["input_ids"], rows["attention_mask"], replies)
    assert labels.shape == rows["input_ids"].shape
    labelled = labels != -100
    assert torch.equal(labels[labelled], rows["input_ids"][labelled])
    assert not (labelled & (rows["attention_mask"] == 0)).any()
    for row, (prompt, reply) in enumerate(zip(prompts, replies)):
        assert tokenizer.decode(rows["input_ids"][row][labelled[row]]) == reply
        rest = ~labelled[row] & rows["attention_mask"][row].bool()
        assert tokenizer.decode(rows["input_ids"][row][rest]) == prompt


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_left_padding_moves_every_row_and_leaves_other_tensors_alone(lengths):
    width = max(lengths)
    mask = torch.tensor([[1] * n + [0] * (width - n) for n in lengths])
    ids = torch.tensor([[10 * row + i + 1 for i in range(n)] + [0] * (width - n) for row, n in enumerate(lengths)])
    types = (ids + 100) * mask
    pixels = torch.rand(len(lengths), width, 2)
    moved = left_padded(
        {"input_ids": ids, "attention_mask": mask, "token_type_ids": types, "pixels": pixels, "name": "x"}, mask
    )
    for row, n in enumerate(lengths):
        assert moved["input_ids"][row].tolist() == [0] * (width - n) + ids[row, :n].tolist()
        assert moved["attention_mask"][row].tolist() == [0] * (width - n) + [1] * n
        assert moved["token_type_ids"][row].tolist() == [0] * (width - n) + types[row, :n].tolist()
    assert moved["pixels"] is pixels and moved["name"] == "x"


@pytest.mark.parametrize("with_image", [True, False])
def test_prompts_end_where_the_assistant_starts_and_the_reply_completes_them(tokenizer, with_image):
    tokenizer.chat_template = TEMPLATE
    image = "<image>" if with_image else ""
    prompts, replies = chat_rows(tokenizer, ["which ring?", "it"], ["This one.", "No."], with_image)
    assert prompts == [f"USER:{image} which ring?</s>ASSISTANT:", f"USER:{image} it</s>ASSISTANT:"]
    assert replies == [" This one.</s>", " No.</s>"]
    assert chat_rows(tokenizer, ["it"], None, with_image) == (prompts[1:], [""])


@pytest.mark.parametrize("with_image", [True, False])
def test_earlier_turns_stand_before_the_question_and_the_picture_in_the_first(tokenizer, with_image):
    tokenizer.chat_template = TEMPLATE
    image = "<image>" if with_image else ""
    asked = Dialogue("And how many?", [("What is it?", "A ring."), ("Red?", "No.")])
    prompts, replies = chat_rows(tokenizer, [asked, "it"], ["One.", "Yes."], with_image)
    assert prompts == [
        f"USER:{image} What is it?</s>ASSISTANT: A ring.</s>USER: Red?</s>ASSISTANT: No.</s>"
        "USER: And how many?</s>ASSISTANT:",
        f"USER:{image} it</s>ASSISTANT:",
    ]
    assert replies == [" One.</s>", " Yes.</s>"]
    # A family that knows no turns reads all of it as one text.
    assert asked == "What is it?\nA ring.\nRed?\nNo.\nAnd how many?"


def test_special_tokens_in_earlier_turns_are_broken_up_too(tokenizer):
    tokenizer.add_tokens([SEG_TOKEN], special_tokens=True)
    asked = plain_question(tokenizer, Dialogue(f"{SEG_TOKEN}?", [(f"a {SEG_TOKEN}", f"{SEG_TOKEN} b")]))
    assert isinstance(asked, Dialogue) and SEG_TOKEN not in asked
    assert (asked.asked, asked.earlier) == ("[ SEG]?", (("a [ SEG]", "[ SEG] b"),))
    assert plain_question(tokenizer, f"the {SEG_TOKEN} sign") == "the [ SEG] sign"


def test_replies_that_are_taught_keep_their_tokens_and_questions_do_not(tokenizer):
    tokenizer.add_tokens([SEG_TOKEN], special_tokens=True)
    asked, _ = conversation([(f"the {SEG_TOKEN} sign", f"It is {SEG_TOKEN}."), (f"a {SEG_TOKEN}", "It.")])
    asked = plain_question(tokenizer, asked)
    assert isinstance(asked, Dialogue) and asked.taught and asked.asked == "a [ SEG]"
    assert asked.earlier == (("the [ SEG] sign", f"It is {SEG_TOKEN}."),)


TURNS = [
    ("Segment the red ring.", f"It is {SEG_TOKEN}."),
    # What a user says may be what the model says elsewhere.
    ("Segment There is no such object.", "There is no such object."),
    ("Which rings?", f"They are {SEG_TOKEN} and {SEG_TOKEN}."),
    ("Segment it.", f"It is {SEG_TOKEN}."),
]
CHECKPOINTS = ["llava_onevision", "internvl", "gemma3"]


@pytest.fixture(params=["clip-llm", "llava", "llava-next", "qwenvl", "smolvlm", "example", *CHECKPOINTS])
def vlm(request, small_checkpoint):
    """A small model of each family that knows turns, of its real classes."""
    if request.param in CHECKPOINTS:
        return GenericVLM.from_pretrained(str(small_checkpoint(request.param)))
    if request.param == "llava-next":
        from lisa_llava.tiny import tiny_llava_next
        from lisa_llava.vlm import Llava

        return Llava(*tiny_llava_next())
    if request.param == "example":
        from lisa_example_vlm.vlm import InternVL

        return InternVL.tiny()
    return get_registry().load_vlm_class(request.param).tiny()


def test_the_labels_of_a_conversation_are_its_replies(vlm):
    """Each whole, with what ends it, and nothing of the questions."""
    assert vlm.knows_turns
    said = [conversation(TURNS), conversation(TURNS[3:]), conversation(TURNS[1:3])]
    said.append((Dialogue(TURNS[1][0], TURNS[:1]), TURNS[1][1]))  # of a data set: what came before is only read
    pictures = [Image.new("RGB", (96, 64), "red"), Image.new("RGB", (64, 96), "blue")]
    batch = vlm.preprocess(pictures, [asked for asked, _ in said], [reply for _, reply in said], [0, 0, 1, 1])
    taught = [[reply for _, reply in turns] for turns in (TURNS, TURNS[3:], TURNS[1:3], TURNS[1:2])]
    ends = set()
    for ids, labels, replies in zip(batch["input_ids"], batch["labels"], taught):
        labelled = labels != -100
        assert torch.equal(ids[labelled], labels[labelled])
        runs = [list(run) for learnt, run in groupby(range(len(ids)), key=lambda at: bool(labelled[at])) if learnt]
        texts = [vlm.tokenizer.decode(ids[run]) for run in runs]
        assert len(texts) == len(replies)
        for text, reply in zip(texts, replies):
            assert text.strip().startswith(reply)
            ends.add(text.lstrip().removeprefix(reply))
        seg = vlm.seg_token_id
        assert (labels == seg).sum() == sum(reply.count(SEG_TOKEN) for reply in replies)
    # The end of a turn is learnt in each, and is the same one.
    assert len(ends) == 1 and ends != {""}


@pytest.mark.parametrize("mark", [[], [901]])  # a piece that only a text of its own starts with
@pytest.mark.parametrize("added", [[], [2]])  # an end token the tokenizer adds to every row
@pytest.mark.parametrize("merged", [False, True])  # the last piece of a reply and the first of what follows
def test_earlier_replies_are_found_by_all_that_follows_them(mark, added, merged):
    between = [30, 31, 7, 8] if merged else [9, 30, 31, 7, 8]  # the question ends as the reply does
    ids = torch.tensor([[1, 5, 7, 8, *between, 40, 7, 8, 9, *added]])
    pieces = {
        "It.": [*mark, 7, 8, 9],
        "It. And?ASSISTANT: It.": [*mark, *ids[0, 2 : ids.shape[1] - len(added)].tolist()],
    }
    labels = answer_labels(
        lambda text, **_: {"input_ids": pieces[text]},
        ids,
        torch.ones_like(ids),
        ["It."],
        [[("It.", "It. And?ASSISTANT: It.")]],
    )
    first = [-100, -100, 7, 8, *([-100] * 4 if merged else [9, *[-100] * 4])]
    assert labels[0].tolist() == [*first, -100, 7, 8, 9, *added]


def learnt(tokenizer, template: str, turns: list[tuple[str, str]]) -> list[str]:
    tokenizer.chat_template = template
    asked, reply = conversation(turns)
    prompts, replies = chat_rows(tokenizer, [asked], [reply], with_image=False)
    (found,) = earlier_replies(tokenizer, [asked], prompts, replies, with_image=False)
    row = prompts[0] + replies[0]
    assert all(row.endswith(rest) and rest.startswith(said) for said, rest in found)
    return [said for said, _ in found]


def test_a_template_may_write_the_last_reply_otherwise(tokenizer):
    """As Qwen3's, which thinks before its last reply alone; and as Llama 3's, which trims."""
    template = (
        "{% for message in messages %}<{{ message['role'] }}>"
        "{% if loop.last and message['role'] == 'assistant' %}<think></think>{% endif %}"
        "{{ message['content'] | trim }}<end>\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    turns = [("a", " One. "), ("One.", "One."), ("c", "Two.")]
    assert learnt(tokenizer, template, turns) == ["One.<end>\n", "One.<end>\n"]
    assert learnt(tokenizer, TEMPLATE, turns[1:]) == [" One.</s>"]
    assert learnt(tokenizer, TEMPLATE, turns[2:]) == []


def test_a_template_that_forgets_earlier_replies_is_refused(tokenizer):
    forgets = (
        "{% for message in messages %}{{ 'A:' if message['role'] == 'assistant' }}"
        "{% if loop.last or message['role'] == 'user' %}{{ message['content'] }}{% endif %}|{% endfor %}"
        "{% if add_generation_prompt %}A:{% endif %}"
    )
    with pytest.raises(ConfigError, match="leave --turns out"):
        learnt(tokenizer, forgets, [("a", "b"), ("c", "d")])


def test_a_template_that_rewrites_the_prompt_once_the_answer_is_known_is_refused():
    def apply_chat_template(chat, add_generation_prompt=False, tokenize=True):
        return f"{len(chat)} turns: {chat[-1]['content']}"

    processor = SimpleNamespace(apply_chat_template=apply_chat_template)
    with pytest.raises(ConfigError, match="chat template"):
        chat_rows(processor, ["which ring?"], ["This one."], with_image=False)
    assert chat_rows(processor, ["which ring?"], None, with_image=False) == (["1 turns: which ring?"], [""])


@pytest.mark.parametrize("mark", [[], [901]])  # a piece that only a text of its own starts with
@pytest.mark.parametrize("added", [[], [2]])  # an end token the tokenizer adds to every row
def test_the_reply_is_found_by_its_ids_not_by_their_number(mark, added):
    reply = [7, 8, 9]
    ids = torch.tensor([[1, 5, 6, 5, *reply, *added]])
    labels = answer_labels(lambda *_, **__: {"input_ids": [*mark, *reply]}, ids, torch.ones_like(ids), ["It is so."])
    assert labels[0].tolist() == [-100] * 4 + reply + added


def test_a_reply_that_cannot_be_found_is_refused():
    ids = torch.tensor([[1, 2, 3]])
    with pytest.raises(ConfigError, match="changes the answer"):
        answer_labels(lambda *_, **__: {"input_ids": [8, 9]}, ids, torch.ones_like(ids), ["no"])


def test_special_tokens_in_a_user_s_text_are_broken_up(tokenizer):
    tokenizer.add_tokens([SEG_TOKEN], special_tokens=True)
    assert plain_words(tokenizer, f"the {SEG_TOKEN} sign") == "the [ SEG] sign"
    assert plain_words(tokenizer, "the red circle") == "the red circle"


def test_a_template_that_writes_the_beginning_is_known_by_it(tokenizer):
    assert starts_itself(tokenizer, ["<s>USER: hi"])
    assert not starts_itself(tokenizer, ["USER: hi"])
