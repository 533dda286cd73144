"""What the conformance kit looks at: an adapter's tiny model, with pictures and sentences to try it on."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal

import torch
from PIL import Image, ImageDraw

from lisa_core.build import sam_size
from lisa_core.config import ModelConfig
from lisa_core.data.collate import Collator
from lisa_core.discovery import CORE
from lisa_core.hookspecs import PROJECT
from lisa_core.model import LisaModel
from lisa_core.prompts import answer
from lisa_core.registry import get_registry
from lisa_core.sam import SamImageEncoder, SamMaskDecoder
from lisa_core.testing.check import NotApplicable
from lisa_core.types import VLMSpec
from lisa_core.vlm import VLM, Batch

QUESTIONS = ("Segment the red circle.", "Segment the zany wombat on the far left, if there is one.", "Segment it.")
"""Sentences of different lengths, one with words that no small tokenizer has as a whole."""
ANSWERS = (answer(),) * 3
SIZES = {"square": (96, 96), "wide": (160, 90), "tall": (78, 150)}
"""(width, height) of the pictures, in pixels."""


class Subject:
    """An adapter under test.

    Args:
        build: makes its tiny model; called under a fixed seed.
        spec: what its plugin says about it, if it is to be checked too.
        module: the module its entry point names, if its import is to be checked too.
    """

    def __init__(self, build: Callable[[], VLM], spec: VLMSpec | None = None, module: str | None = None) -> None:
        self.build = build
        self.spec = spec
        self.module = module

    @classmethod
    def of(cls, adapter: str | Callable[[], VLM] | Subject) -> Subject:
        """A subject from an installed family's name, or from a function that builds a tiny model.

        Raises:
            PluginError: if there is no such family, or it cannot be imported.
        """
        if isinstance(adapter, Subject):
            return adapter
        if not isinstance(adapter, str):
            return cls(adapter)
        registry = get_registry()
        target = registry.load_vlm_class(adapter)
        entry = registry.vlms[adapter]
        module = "lisa_core.registry"
        if entry.record.distribution != CORE:
            points = importlib.metadata.distribution(entry.record.distribution).entry_points
            (module,) = (point.module for point in points.select(group=PROJECT, name=entry.record.name))
        return cls(target.tiny, entry.spec, module)

    def fresh(self) -> VLM:
        """A new tiny model, the same one each time, in evaluation mode."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.build().eval()

    @cached_property
    def vlm(self) -> VLM:
        """A tiny model for checks that leave it as it is."""
        return self.fresh()

    @cached_property
    def pictures(self) -> list[Image.Image]:
        """A square, a wide and a tall picture."""
        generator = torch.Generator().manual_seed(0)
        drawn = []
        for width, height in SIZES.values():
            noise = torch.randint(0, 255, (height // 6 + 1, width // 6 + 1, 3), dtype=torch.uint8, generator=generator)
            picture = Image.fromarray(noise.numpy()).resize((width, height), Image.Resampling.NEAREST)
            ImageDraw.Draw(picture).ellipse((width // 4, height // 4, width // 2, height // 2), fill="red")
            drawn.append(picture)
        return drawn

    def batch(
        self,
        pictures: Sequence[Image.Image] | None = None,
        questions: Sequence[str] = QUESTIONS,
        answers: Sequence[str] | None = ANSWERS,
        image_index: Sequence[int] | None = None,
        vlm: VLM | None = None,
    ) -> Batch:
        """What the adapter makes of pictures and sentences; by default three pairs of each."""
        pictures = self.pictures if pictures is None else pictures
        return (vlm or self.vlm).preprocess(pictures, questions, answers, image_index)

    def config(self, vlm: VLM, fusion: Literal["joint", "late"] = "joint") -> ModelConfig:
        """A segmenter's config, with mask features of the VLM's own where it has a grid."""
        features: Literal["vlm", "sam"] = "vlm" if vlm.has_grid else "sam"
        return ModelConfig(vlm=vlm.family or "mine", vlm_model_name="tiny", fusion=fusion, mask_features=features)

    def model(self, vlm: VLM, fusion: Literal["joint", "late"] = "joint") -> LisaModel:
        """A whole segmenter around a VLM, with small SAM parts; the same weights each time."""
        config = self.config(vlm, fusion)
        size = sam_size(config)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            encoder = None if vlm.has_grid else SamImageEncoder(size)
            return LisaModel(vlm, SamMaskDecoder(size), config, encoder).eval()

    def collator(self, vlm: VLM) -> Collator:
        """The collator that goes with `model`."""
        config = self.config(vlm)
        return Collator(vlm, config, sam_size(config))

    def needs_grid(self) -> None:
        """Raise NotApplicable for a VLM without a grid."""
        if not self.vlm.has_grid:
            raise NotApplicable("the family has no grid (`has_grid` is False)")
