"""Shared implementation of the VLM protocol for families that are plain `AutoModelForImageTextToText` models."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from lisa_core.errors import ConfigError
from lisa_core.geometry import pad_grids
from lisa_core.loading import load_errors, weights_options
from lisa_core.quantize import make_trainable, quantization_config, refuse_unless
from lisa_core.text import add_seg_token, answer_labels, chat_rows, earlier_replies, left_padded, starts_itself
from lisa_core.vision_size import one_side
from lisa_core.vlm import CORE_KEYS, VLM, Batch, ImageFeatures, VLMDims, VLMOutput, full_content


class HFVLM(VLM):
    """A transformers image-text-to-text model with its processor; a family adds `image_grid` and `tiny`.

    What else a family may need to say has a default that fits models which follow transformers' conventions.
    """

    model_types: ClassVar[tuple[str, ...]] = ()
    """Config `model_type`s this family can read; a checkpoint of another type is refused before it is loaded."""
    chat_template: ClassVar[str] = ""
    """The family's chat template, for checkpoints that come without one."""
    image_keys: ClassVar[tuple[str, ...]] = ("pixel_values", "pixel_attention_mask")
    """Processor outputs that describe images."""
    per_sentence_keys: ClassVar[tuple[str, ...]] = ()
    """Those of `image_keys` that the language model reads too (Qwen's `image_grid_thw`, for its positions)."""
    processor_options: ClassVar[dict[str, Any]] = {}
    """Further arguments of the processor."""
    feature_options: ClassVar[dict[str, Any]] = {}
    """Further arguments of `get_image_features`."""
    fixed_grid: ClassVar[bool] = False
    """Whether every picture's grid has as many patches a side as the tower's `image_size` holds of its `patch_size`."""
    quantizations: ClassVar[tuple[str, ...]] = ("4bit", "8bit")
    lora_names: ClassVar[tuple[str, ...]] = ("q_proj", "v_proj")
    """Last names of the linear layers of the language model that LoRA adapts by default."""

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__()
        self.model = model
        self.processor = processor
        self.tokenizer = processor.tokenizer
        if self.chat_template and not getattr(processor, "chat_template", None):
            processor.chat_template = self.chat_template
        add_seg_token(self.tokenizer, model)

    @classmethod
    def from_pretrained(
        cls, model_name: str, quantization: str | None = None, dtype: torch.dtype = torch.float32
    ) -> HFVLM:
        """Load weights and processor from a hub name or a local folder; see `VLM.from_pretrained`.

        Raises:
            ConfigError: if nothing loadable is there, it belongs to another family, or it cannot be quantized.
        """
        refuse_unless(quantization, cls.quantizations, cls.family)
        with load_errors(model_name):
            config = AutoConfig.from_pretrained(model_name, trust_remote_code=False)
            cls._check_type(config.model_type, model_name)
            options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": False, **weights_options()}
            if quantization is not None:
                with torch.device("meta"):  # only to read which modules are the language model's
                    skeleton = AutoModelForImageTextToText.from_config(config)
                options["quantization_config"] = quantization_config(
                    quantization, skeleton, skeleton.get_decoder(), dtype
                )
            model = AutoModelForImageTextToText.from_pretrained(model_name, **options)
            processor = AutoProcessor.from_pretrained(model_name, trust_remote_code=False)
        make_trainable(model)
        return cls(model, processor)

    @classmethod
    def _check_type(cls, model_type: str, model_name: str) -> None:
        if model_type not in cls.model_types:
            takes = ", ".join(cls.model_types)
            raise ConfigError(
                f"{model_name} is a {model_type} checkpoint, but --vlm {cls.family} reads {takes}: "
                "choose the family that matches"
            )

    @classmethod
    def from_config(cls, folder: Path) -> HFVLM:
        """Build the architecture described in `folder`, with random weights."""
        with load_errors(str(folder)):
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            model = AutoModelForImageTextToText.from_config(config)
            return cls(model, AutoProcessor.from_pretrained(folder, trust_remote_code=False))

    def save_config(self, folder: Path) -> None:
        """Write config, tokenizer and processor into `folder`."""
        self.model.config.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    def save_pretrained(self, folder: Path) -> str:
        """Write a checkpoint as transformers does; returns the folder's path."""
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        return str(folder)

    @classmethod
    def dims_of(cls, config: Any) -> VLMDims:
        """Widths that a model of this config has."""
        return VLMDims(vision=config.vision_config.hidden_size, text=config.get_text_config().hidden_size)

    @property
    def dims(self) -> VLMDims:
        """Width of the vision tower's output and of the language model's hidden states."""
        return self.dims_of(self.model.config)

    @property
    def pretrained_prefixes(self) -> tuple[str, ...]:
        """Everything comes from the checkpoint."""
        return ("model.",)

    @property
    def vision_tower(self) -> nn.Module:
        """The transformers model's image encoder."""
        return self.model.get_encoder(modality="image")

    @property
    def language_model(self) -> nn.Module:
        """The transformers model's decoder."""
        return self.model.get_decoder()

    @property
    def lora_base(self) -> nn.Module:
        """The whole transformers model."""
        return self.model

    def lora_targets(self) -> list[str]:
        """The language model's layers called as in `lora_names`."""
        return self.lora_layers(self.model)

    @classmethod
    def lora_layers(cls, model: Any) -> list[str]:
        """Names, within the transformers model, of the layers that LoRA adapts by default."""
        inside = set(model.get_decoder().modules())
        return [
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and module in inside and name.split(".")[-1] in cls.lora_names
        ]

    def preprocess(
        self,
        images: Sequence[Image.Image],
        questions: Sequence[str],
        answers: Sequence[str] | None = None,
        image_index: Sequence[int] | None = None,
        joint: bool = True,
    ) -> Batch:
        """Run the family's processor; see `VLM.preprocess`.

        The batch also holds `picture_sizes`, int64 [U,2]: (width, height) of each picture in pixels.
        """
        index = list(range(len(questions))) if image_index is None else list(image_index)
        sizes = torch.tensor([image.size for image in images], dtype=torch.int64).reshape(len(images), 2)
        batch: Batch = {"image_index": torch.tensor(index, dtype=torch.int64), "picture_sizes": sizes}
        batch.update(self.preprocess_text(questions))
        pictures = [self.prepare_image(image) for image in images]
        if not joint:
            rows_of_one = [[picture] for picture in pictures]
            inputs = self.processor.image_processor(rows_of_one, return_tensors="pt", **self.processor_options)
            batch.update({key: value for key, value in inputs.items() if key in self.image_keys})
            return batch
        prompts, replies = self.rows(questions, answers)
        rows = self.process(prompts, replies, [pictures[i] for i in index])
        image_inputs = {key: value for key, value in rows.items() if key in self.image_keys}
        batch.update({key: value for key, value in rows.items() if key not in self.image_keys})
        batch.update(self.take_images(image_inputs, [index.index(image) for image in range(len(images))]))
        earlier = earlier_replies(self.processor, questions, prompts, replies, with_image=True)
        batch["labels"] = answer_labels(self.tokenizer, batch["input_ids"], batch["attention_mask"], replies, earlier)
        return batch

    def prepare_image(self, image: Image.Image) -> Image.Image:
        """The RGB picture as the processor gets it: padded first, where the processor would crop."""
        return image

    def rows(self, questions: Sequence[str], answers: Sequence[str] | None) -> tuple[list[str], list[str]]:
        """N prompts up to where the assistant starts, and the N replies ("" without answers)."""
        return chat_rows(self.processor, questions, answers, with_image=True)

    def process(self, prompts: Sequence[str], replies: Sequence[str], images: Sequence[Image.Image]) -> dict[str, Any]:
        """Call the processor for N rows with one image each; all its keys go into the batch."""
        return self.processor(
            text=[prompt + reply for prompt, reply in zip(prompts, replies)],
            images=[[image] for image in images],
            padding=True,
            padding_side="right",  # some processors pad on the left whatever their tokenizer says
            return_tensors="pt",
            add_special_tokens=not starts_itself(self.tokenizer, prompts),
            **self.processor_options,
        )

    def take_images(self, inputs: dict[str, Any], index: Sequence[int]) -> dict[str, Any]:
        """The `image_keys` among the inputs for the images of `index`, in that order, repeats allowed."""
        return {key: value[list(index)] for key, value in inputs.items() if key in self.image_keys}

    @property
    def grid_side(self) -> int | None:
        """That of the tower's config, if the family's grid is fixed."""
        if not self.fixed_grid:
            return None
        vision = self.model.config.vision_config
        return one_side(vision.image_size) // one_side(vision.patch_size)

    def encode_image(self, batch: Batch) -> ImageFeatures:
        """Encode the batch's images with the model's own vision path."""
        inputs = {key: batch[key] for key in self.image_keys if key in batch}
        output = self.model.get_image_features(**inputs, **self.feature_options, return_dict=True)
        grid, content, mask = pad_grids(self.image_grid(output, batch), self.content(batch))
        return ImageFeatures(grid.flatten(2).transpose(1, 2), grid, content, output, mask)

    @abstractmethod
    def image_grid(self, output: Any, batch: Batch) -> Tensor | list[Tensor]:
        """The tower's raw features as row-major maps: [U,Dv,h,w], or a list of [Dv,h,w] where sizes differ.

        Args:
            output: what the model's `get_image_features` returned.
            batch: what `preprocess` returned.
        """

    def content(self, batch: Batch) -> Tensor:
        """The part of each image's own grid that shows the picture, float [U,4]; see `ImageFeatures.content`."""
        sizes = batch["picture_sizes"]
        return full_content(len(sizes), sizes.device)

    def select_images(self, output: Any, index: Tensor) -> Any:
        """The image output for N sentences out of that for U images, following `index` [N]."""
        pooled = output.pooler_output
        taken = pooled[index] if isinstance(pooled, Tensor) else [pooled[i] for i in index.tolist()]
        return type(output)(pooler_output=taken)

    def encode_text(self, batch: Batch) -> Tensor:
        """Hidden states of the text alone, [N,L',Dt]."""
        decoder = self.model.get_decoder()
        return decoder(
            input_ids=batch["text_input_ids"], attention_mask=batch["text_attention_mask"], use_cache=False
        ).last_hidden_state

    def forward(self, batch: Batch, features: ImageFeatures | None = None, with_logits: bool = True) -> VLMOutput:
        """Run image and text together; the images are encoded once, however many sentences ask about them."""
        features = features if features is not None else self.encode_image(batch)
        index = batch["image_index"]
        hidden = self.model.model(
            **self._text_inputs(batch),
            **{key: batch[key][index] for key in self.per_sentence_keys},
            mm_encoder_outputs={"image": self.select_images(features.native, index)},
            use_cache=False,
        ).last_hidden_state
        return VLMOutput(hidden=hidden, logits=self.lm_logits(hidden) if with_logits else None)

    def _text_inputs(self, batch: Batch) -> dict[str, Any]:
        """The keys of the processor, known to this class or not, that describe rows of text."""
        return {key: value for key, value in batch.items() if key not in CORE_KEYS and key not in self.image_keys}

    def lm_logits(self, hidden: Tensor) -> Tensor:
        """Next-token scores [...,V]."""
        logits = self.model.get_output_embeddings()(hidden)
        cap = getattr(self.model.config.get_text_config(), "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)  # Gemma 2 (arXiv:2408.00118, section 2)

    @torch.no_grad()
    def generate(self, batch: Batch, max_new_tokens: int = 32) -> list[Tensor]:
        """Continue each row greedily; returns N id vectors, prompt included, padding removed."""
        # Generation appends on the right, so the rows are padded on the left for it.
        inputs = left_padded(self._text_inputs(batch), batch["attention_mask"])
        ids = self.model.generate(
            **inputs,
            **self.take_images(batch, batch["image_index"].tolist()),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        lengths = batch["attention_mask"].sum(1).tolist()
        width = batch["attention_mask"].shape[1]
        return [row[width - length :] for row, length in zip(ids, lengths)]
