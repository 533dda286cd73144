"""Shared implementation of the VLM protocol for families that are plain `AutoModelForImageTextToText` models."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from lisa_core.errors import ConfigError
from lisa_core.loading import load_errors
from lisa_core.text import add_seg_token, answer_labels, chat_rows, left_padded, pad_text, plain_texts, starts_itself
from lisa_core.vlm import VLM, Batch, ImageFeatures, VLMDims, VLMOutput

_OWN_KEYS = frozenset({"image_index", "labels", "text_input_ids", "text_attention_mask"})


class HFVLM(VLM):
    """A transformers image-text-to-text model with its processor; a family adds `image_grid` and `tiny`."""

    model_types: ClassVar[tuple[str, ...]] = ()
    """Config `model_type`s this family can read; a checkpoint of another type is refused before it is loaded."""
    image_keys: ClassVar[tuple[str, ...]] = ("pixel_values", "pixel_attention_mask")
    """Processor outputs that describe images, one row per image."""

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__()
        self.model = model
        self.processor = processor
        self.tokenizer = processor.tokenizer
        add_seg_token(self.tokenizer, model)

    @classmethod
    def from_pretrained(cls, model_name: str, **options: Any) -> HFVLM:
        """Load weights (float32) and processor from a hub name or a local folder.

        Raises:
            ConfigError: if nothing loadable is there, or it belongs to another family.
        """
        with load_errors(model_name):
            config = AutoConfig.from_pretrained(model_name)
            if config.model_type not in cls.model_types:
                takes = ", ".join(cls.model_types)
                raise ConfigError(
                    f"{model_name} is a {config.model_type} checkpoint, but --vlm {cls.family} reads {takes}: "
                    "choose the family that matches"
                )
            model = AutoModelForImageTextToText.from_pretrained(model_name, dtype=torch.float32)
            processor = AutoProcessor.from_pretrained(model_name, **options)
        return cls(model, processor)

    @classmethod
    def from_config(cls, folder: Path) -> HFVLM:
        """Build the architecture described in `folder`, with random weights."""
        with load_errors(str(folder)):
            model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder))
            return cls(model, AutoProcessor.from_pretrained(folder))

    def save_config(self, folder: Path) -> None:
        """Write config, tokenizer and processor into `folder`."""
        self.model.config.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    @property
    def dims(self) -> VLMDims:
        """Width of the vision tower's output and of the language model's hidden states."""
        config = self.model.config
        return VLMDims(vision=config.vision_config.hidden_size, text=config.get_text_config().hidden_size)

    @property
    def pretrained_prefixes(self) -> tuple[str, ...]:
        """Everything comes from the checkpoint."""
        return ("model.",)

    def preprocess(
        self,
        images: Sequence[Image.Image],
        questions: Sequence[str],
        answers: Sequence[str] | None = None,
        image_index: Sequence[int] | None = None,
        joint: bool = True,
    ) -> Batch:
        """Run the family's processor; see `VLM.preprocess`."""
        index = list(range(len(questions))) if image_index is None else list(image_index)
        batch: Batch = {"image_index": torch.tensor(index)}
        questions = plain_texts(self.tokenizer, questions)
        batch.update(pad_text(self.tokenizer, questions))
        if not joint:
            batch.update(self._image_inputs(images))
            return batch
        prompts, replies = chat_rows(self.processor, questions, answers, with_image=True)
        rows = self.processor(
            text=[prompt + reply for prompt, reply in zip(prompts, replies)],
            images=[[images[i]] for i in index],
            padding=True,
            return_tensors="pt",
            add_special_tokens=not starts_itself(self.tokenizer, prompts),
        )
        first_row = [index.index(image) for image in range(len(images))]
        for key, value in rows.items():
            batch[key] = value[first_row] if key in self.image_keys else value
        batch["labels"] = answer_labels(self.tokenizer, batch["input_ids"], batch["attention_mask"], replies)
        return batch

    def _image_inputs(self, images: Sequence[Image.Image]) -> dict[str, Tensor]:
        inputs = self.processor.image_processor([[image] for image in images], return_tensors="pt")
        return {key: value for key, value in inputs.items() if key in self.image_keys}

    def encode_image(self, batch: Batch) -> ImageFeatures:
        """Encode the batch's images with the model's own vision path."""
        inputs = {key: batch[key] for key in self.image_keys if key in batch}
        output = self.model.get_image_features(**inputs, return_dict=True)
        grid, content = self.image_grid(output, batch)
        return ImageFeatures(sequence=grid.flatten(2).transpose(1, 2), grid=grid, content=content, native=output)

    @abstractmethod
    def image_grid(self, output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """Order the tower's raw features as a row-major grid [U,Dv,h,w] with its content boxes [U,4]."""

    def select_images(self, output: Any, index: Tensor) -> Any:
        """The image output for N sentences out of that for U images, following `index` [N]."""
        return type(output)(pooler_output=[output.pooler_output[i] for i in index.tolist()])

    def encode_text(self, batch: Batch) -> Tensor:
        """Hidden states of the text alone, [N,L',Dt]."""
        decoder = self.model.get_decoder()
        return decoder(
            input_ids=batch["text_input_ids"], attention_mask=batch["text_attention_mask"], use_cache=False
        ).last_hidden_state

    def forward(self, batch: Batch, features: ImageFeatures | None = None, with_logits: bool = True) -> VLMOutput:
        """Run image and text together; the images are encoded once, however many sentences ask about them."""
        features = features if features is not None else self.encode_image(batch)
        native = self.select_images(features.native, batch["image_index"])
        hidden = self.model.model(
            **self._text_inputs(batch), mm_encoder_outputs={"image": native}, use_cache=False
        ).last_hidden_state
        return VLMOutput(hidden=hidden, logits=self.lm_logits(hidden) if with_logits else None)

    def _text_inputs(self, batch: Batch) -> dict[str, Any]:
        return {key: value for key, value in batch.items() if key not in _OWN_KEYS and key not in self.image_keys}

    def lm_logits(self, hidden: Tensor) -> Tensor:
        """Next-token scores [...,V]."""
        return self.model.get_output_embeddings()(hidden)

    @torch.no_grad()
    def generate(self, batch: Batch, max_new_tokens: int = 32) -> list[Tensor]:
        """Continue each row greedily; returns N id vectors, prompt included, padding removed."""
        # Generation appends on the right, so the rows are padded on the left for it.
        inputs = left_padded(self._text_inputs(batch), batch["attention_mask"])
        images = {key: batch[key][batch["image_index"]] for key in self.image_keys if key in batch}
        ids = self.model.generate(
            **inputs,
            **images,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        lengths = batch["attention_mask"].sum(1).tolist()
        width = batch["attention_mask"].shape[1]
        return [row[width - length :] for row, length in zip(ids, lengths)]
