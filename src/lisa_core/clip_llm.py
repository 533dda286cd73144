"""`clip-llm`: the traditional pair, a vision tower and any causal language model, joined by a trained projector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    SiglipVisionModel,
)

from lisa_core.errors import ConfigError
from lisa_core.families import pair_halves
from lisa_core.loading import load_errors, weights_options
from lisa_core.quantize import QUANTIZATIONS, make_trainable, quantization_config, refuse_unless
from lisa_core.text import add_seg_token, answer_labels, chat_rows, earlier_replies, starts_itself
from lisa_core.tiny import (
    TINY_IMAGE,
    TINY_PATCH,
    TINY_WIDTH,
    grid_positions,
    tiny_text_config,
    tiny_tokenizer,
    tiny_vision_config,
)
from lisa_core.vision_size import resize_vision_tower
from lisa_core.vlm import VLM, Batch, ImageFeatures, VLMDims, VLMOutput, full_content

# Used when the tokenizer has no chat template of its own, as base models do not.
_PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: {{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
# Full image-text checkpoints of which only the vision half is wanted.
_VISION_HALVES = {"clip": CLIPVisionModel, "siglip": SiglipVisionModel}


class ClipLLM(VLM):
    """A vision tower and a causal language model; in joint fusion the projected patches stand before the text.

    The projector is the two-layer MLP of LLaVA-1.5 (arXiv:2310.03744, section 3.3).
    """

    family: ClassVar[str] = "clip-llm"
    native_features: ClassVar[bool] = False
    quantizations: ClassVar[tuple[str, ...]] = QUANTIZATIONS
    lora_names: ClassVar[tuple[str, ...]] = ("q_proj", "v_proj")
    """Last names of the layers that LoRA adapts by default."""

    def __init__(self, vision: Any, language: Any, image_processor: Any, tokenizer: Any) -> None:
        super().__init__()
        self.vision = vision
        self.language = language
        self.image_processor = image_processor
        self.tokenizer = tokenizer
        if tokenizer.chat_template is None:
            tokenizer.chat_template = _PLAIN_TEMPLATE
        add_seg_token(tokenizer, language)
        width = language.get_input_embeddings().weight.shape[1]  # some models embed narrower than they think
        self.projector = nn.Sequential(nn.Linear(self.dims.vision, width), nn.GELU(), nn.Linear(width, width))

    @classmethod
    def from_pretrained(
        cls, model_name: str, quantization: str | None = None, dtype: torch.dtype = torch.float32
    ) -> ClipLLM:
        """Load the two halves, each from a hub name or a local folder.

        Args:
            model_name: `"IMAGE_ENCODER+TEXT_ENCODER"`.
            quantization: of the language model; see `VLM.from_pretrained`.
            dtype: of both halves' weights.

        Raises:
            ConfigError: if either half cannot be loaded.
        """
        refuse_unless(quantization, cls.quantizations, cls.family)
        image_name, text_name = pair_halves(model_name) if "+" in model_name else ("", "")
        if not image_name or not text_name:
            raise ConfigError(
                f"clip-llm needs two models, not {model_name}: "
                "use --image-encoder-model-name and --text-encoder-model-name"
            )
        with load_errors(image_name):
            config = AutoConfig.from_pretrained(image_name, trust_remote_code=False)
            loader: Any = _VISION_HALVES.get(config.model_type, AutoModel)
            vision = loader.from_pretrained(image_name, dtype=dtype, trust_remote_code=False, **weights_options())
            image_processor = AutoImageProcessor.from_pretrained(image_name, trust_remote_code=False)
            if not all(hasattr(vision.config, name) for name in ("hidden_size", "image_size", "patch_size")):
                raise ConfigError(
                    f"{image_name} ({config.model_type}) is not a plain vision transformer: use CLIP, SigLIP or DINOv2"
                )
        with load_errors(text_name):
            language_options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": False, **weights_options()}
            if quantization is not None:
                text_config = AutoConfig.from_pretrained(text_name, trust_remote_code=False)
                with torch.device("meta"):
                    skeleton = AutoModelForCausalLM.from_config(text_config)
                parts = quantization_config(quantization, skeleton, skeleton.base_model, dtype)
                language_options["quantization_config"] = parts
            language = AutoModelForCausalLM.from_pretrained(text_name, **language_options)
            tokenizer = AutoTokenizer.from_pretrained(text_name, trust_remote_code=False)
        make_trainable(language)
        return cls(vision, language, image_processor, tokenizer)

    @classmethod
    def from_config(cls, folder: Path) -> ClipLLM:
        """Build the two halves described in `folder`, with random weights."""
        with load_errors(str(folder)):
            vision, language = (
                AutoConfig.from_pretrained(folder / half, trust_remote_code=False) for half in ("vision", "language")
            )
            return cls(
                AutoModel.from_config(vision),
                AutoModelForCausalLM.from_config(language),
                AutoImageProcessor.from_pretrained(folder / "vision", trust_remote_code=False),
                AutoTokenizer.from_pretrained(folder / "language", trust_remote_code=False),
            )

    @classmethod
    def tiny(cls) -> ClipLLM:
        """A small CLIP vision tower (96-pixel images, 8-pixel patches) and a small Qwen3."""
        tokenizer = tiny_tokenizer()
        size = TINY_IMAGE
        vision = CLIPVisionConfig(**tiny_vision_config(initializer_range=0.02))
        language = Qwen3Config(**tiny_text_config(tokenizer, head_dim=TINY_WIDTH // 4, tie_word_embeddings=False))
        processor = CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
        tower = CLIPVisionModel(vision)
        with torch.no_grad():  # row 0 is the class token's
            tower.embeddings.position_embedding.weight[1:] = grid_positions(size // TINY_PATCH, TINY_WIDTH)
        return cls(tower, Qwen3ForCausalLM(language), processor, tokenizer)

    def save_config(self, folder: Path) -> None:
        """Write both halves' configs, the image processor and the tokenizer."""
        for half, parts in {
            "vision": (self.vision.config, self.image_processor),
            "language": (self.language.config, self.tokenizer),
        }.items():
            for part in parts:
                part.save_pretrained(folder / half)

    def save_pretrained(self, folder: Path) -> str:
        """Write the two halves, without the projector, as checkpoints of their own; returns `"VISION+LANGUAGE"`."""
        self.save_config(folder)
        self.vision.save_pretrained(folder / "vision")
        self.language.save_pretrained(folder / "language")
        return f"{folder / 'vision'}+{folder / 'language'}"

    @property
    def dims(self) -> VLMDims:
        """Hidden sizes of the two halves."""
        text = self.language.config.get_text_config().hidden_size
        return VLMDims(vision=self.vision.config.hidden_size, text=text)

    def resize_images(self, side: int) -> None:
        """Fit the tower's positions to another size; `preprocess` asks the tower for it."""
        resize_vision_tower(self.vision, side)

    @property
    def vision_tower(self) -> nn.Module:
        """The vision half."""
        return self.vision

    @property
    def language_model(self) -> nn.Module:
        """The language half without its head."""
        return self.language.base_model

    @property
    def lora_base(self) -> nn.Module:
        """The language model."""
        return self.language

    def lora_targets(self) -> list[str]:
        """The language model's layers called as in `lora_names`."""
        layers = self.language.named_modules()
        return [name for name, layer in layers if isinstance(layer, nn.Linear) and name.endswith(self.lora_names)]

    @property
    def pretrained_prefixes(self) -> tuple[str, ...]:
        """Both halves; the projector is always the run's own."""
        return ("vision.", "language.")

    def preprocess(
        self,
        images: Sequence[Image.Image],
        questions: Sequence[str],
        answers: Sequence[str] | None = None,
        image_index: Sequence[int] | None = None,
        joint: bool = True,
    ) -> Batch:
        """Squash the pictures to the tower's square and tokenize; see `VLM.preprocess`."""
        size = self.vision.config.image_size
        # CLIP's default, resize and centre crop, would lose the sides of every picture that is not square.
        pixels = self.image_processor(
            list(images),
            do_resize=True,
            size={"height": size, "width": size},
            do_center_crop=False,
            return_tensors="pt",
        )["pixel_values"]
        index = torch.arange(len(questions)) if image_index is None else torch.tensor(list(image_index))
        batch: Batch = {"image_index": index, "pixel_values": pixels}
        batch.update(self.preprocess_text(questions))
        if joint:
            prompts, replies = chat_rows(self.tokenizer, questions, answers, with_image=False)
            rows = self.tokenizer(
                [prompt + reply for prompt, reply in zip(prompts, replies)],
                padding=True,
                return_tensors="pt",
                add_special_tokens=not starts_itself(self.tokenizer, prompts),
            )
            batch["input_ids"], batch["attention_mask"] = rows["input_ids"], rows["attention_mask"]
            earlier = earlier_replies(self.tokenizer, questions, prompts, replies, with_image=False)
            labels = answer_labels(self.tokenizer, rows["input_ids"], rows["attention_mask"], replies, earlier)
            batch["labels"] = labels
        return batch

    @property
    def grid_side(self) -> int:
        """As the tower cuts the picture."""
        return int(self.vision.config.image_size // self.vision.config.patch_size)

    def encode_image(self, batch: Batch) -> ImageFeatures:
        """The tower's last hidden states without its class (and register) tokens."""
        pixels = batch["pixel_values"].to(self.vision.dtype)
        sequence = self.vision(pixel_values=pixels).last_hidden_state
        side = self.grid_side
        sequence = sequence[:, sequence.shape[1] - side * side :]
        grid = sequence.transpose(1, 2).unflatten(2, (side, side))
        return ImageFeatures(sequence=sequence, grid=grid, content=full_content(len(grid), grid.device))

    def encode_text(self, batch: Batch) -> Tensor:
        """Hidden states of the text alone, [N,L',Dt]."""
        return self.language.base_model(
            input_ids=batch["text_input_ids"], attention_mask=batch["text_attention_mask"], use_cache=False
        ).last_hidden_state

    def forward(self, batch: Batch, features: ImageFeatures | None = None, with_logits: bool = True) -> VLMOutput:
        """Run the projected patches and the text together; `hidden` is that of the text's positions."""
        features = features if features is not None else self.encode_image(batch)
        embeds, mask = self._prefixed(batch["input_ids"], batch["attention_mask"], batch, features)
        hidden = self.language.base_model(inputs_embeds=embeds, attention_mask=mask, use_cache=False).last_hidden_state[
            :, features.sequence.shape[1] :
        ]
        return VLMOutput(hidden=hidden, logits=self.lm_logits(hidden) if with_logits else None)

    def _prefixed(
        self, input_ids: Tensor, attention_mask: Tensor, batch: Batch, features: ImageFeatures
    ) -> tuple[Tensor, Tensor]:
        text = self.language.get_input_embeddings()(input_ids)
        image = self.projector(features.sequence.to(next(self.projector.parameters()).dtype))[batch["image_index"]].to(
            text.dtype
        )
        seen = attention_mask.new_ones(image.shape[:2])
        return torch.cat([image, text], 1), torch.cat([seen, attention_mask], 1)

    def lm_logits(self, hidden: Tensor) -> Tensor:
        """Next-token scores [...,V]."""
        return self.language.get_output_embeddings()(hidden)

    @torch.no_grad()
    def generate(self, batch: Batch, max_new_tokens: int = 32) -> list[Tensor]:
        """Continue each row greedily; returns N id vectors, prompt included, padding removed."""
        features = self.encode_image(batch)
        results = []
        # Row by row: the image stands before the text, so padding on the left of the text would part the two.
        for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
            ids = batch["input_ids"][row : row + 1, :length]
            one = {"image_index": batch["image_index"][row : row + 1]}
            embeds, mask = self._prefixed(ids, torch.ones_like(ids), one, features)
            new = self.language.generate(
                inputs_embeds=embeds,
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id,
            )
            results.append(torch.cat([ids[0], new[0]]))
        return results
