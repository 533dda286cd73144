"""Segmenter: load a checkpoint, set a picture once, ask for as many sentences as you like."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lisa_core.build import sam_size
from lisa_core.checkpoint import load_checkpoint
from lisa_core.data.collate import Collator
from lisa_core.data.picture_file import load_image
from lisa_core.encoder_cache import encoder_cache
from lisa_core.errors import ConfigError, DataError
from lisa_core.export import export_model, is_exported
from lisa_core.flip_test import mirrored_question
from lisa_core.hub import local_model, push_to_hub
from lisa_core.inference import Pictures, encode, predict
from lisa_core.model import LisaModel
from lisa_core.prompts import question


@dataclass(frozen=True)
class Segmentation:
    """What a sentence named in a picture."""

    text: str
    """The sentence."""
    mask: np.ndarray
    """bool [H,W], at the picture's own size."""
    logits: np.ndarray
    """float32 [H,W]; the mask is where they are above 0 (shifted by their cut, if masks are not cut at 0)."""
    score: float
    """The decoder's own estimate of the mask's IoU, 0..1."""


class Segmenter:
    """Answers sentences about one picture at a time.

    >>> segmenter = Segmenter.load("runs/shapes")  # doctest: +SKIP
    >>> segmenter.set_image("photo.jpg").segment("the red ring").mask  # doctest: +SKIP
    """

    def __init__(self, model: LisaModel, device: str | torch.device = "cpu", folder: Path | None = None) -> None:
        self.model = model.to(device).eval()
        self.folder = folder
        self.collator = Collator(model.vlm, model.config, sam_size(model.config))
        self._encoded: Pictures | None = None

    @classmethod
    def load(cls, path: str | PathLike[str], device: str = "auto", revision: str | None = None) -> Segmenter:
        """Load a checkpoint, the best checkpoint of a run, a packaged model, or one on the hub.

        Args:
            path: the checkpoint's or the run's folder; where there is no such folder, `tiny` is the packaged model and
                ORG/NAME the hub's.
            device: `auto` (CUDA where there is one), `cpu`, `cuda` or another torch device.
            revision: of a model on the hub: branch, tag or commit.

        Raises:
            CheckpointError: if there is no usable checkpoint, here or on the hub.
            ConfigError: if the device is not there.
        """
        chosen = pick_device(device)  # before a download of gigabytes
        folder = local_model(fspath(path), revision)
        return cls(load_checkpoint(folder), chosen, folder)

    def keep_features(self, folder: str | PathLike[str]) -> Segmenter:
        """Keep what the encoders make of pictures and sentences, for all who are given the same folder.

        Nothing of the model trains any more, and its weights must not be changed.

        Args:
            folder: for the files; a training run's `--feature-cache`, if its encoders were frozen, in float32.

        Raises:
            ConfigError: if the model has no encoder whose features alone are used.
        """
        self.model.requires_grad_(False)
        self.model.cache = encoder_cache(self.model, fspath(folder))
        self.collator.stores = self.model.cache.pictures
        return self

    def cut_masks(self, temperature: float | None) -> Segmenter:
        """Cut each mask where the IoU to be expected is best, instead of as the model was made to.

        It is about what this object draws from now on; what `push_to_hub` uploads stays as it was.

        Args:
            temperature: 1 and above; the larger, the more is painted when in doubt (`mask_cut.expected_iou_cut`).
                None: cut at logit 0.

        Raises:
            ConfigError: if it is below 1 or not finite.
        """
        if temperature is not None and not 1 <= temperature < math.inf:
            raise ConfigError(f"the temperature of masks is {temperature:g}, must be a finite number of at least 1")
        self.model.config = replace(self.model.config, mask_temperature=temperature)
        return self

    def flip_test(self, on: bool = True) -> Segmenter:
        """Draw each mask in the mirrored picture too and take the mean of both, or not, whatever the model was made to.

        It takes twice the time. `left` and `right` are exchanged in the sentence; where that is not surely right (`the
        letter R`), the mask is that of the picture alone. What `push_to_hub` uploads stays as it was.
        """
        self.model.config = replace(self.model.config, flip_test=on)
        return self

    def push_to_hub(self, repo_id: str, private: bool = False, message: str | None = None) -> str:
        """Upload the model as `lisa export` and `lisa push` do; returns the address of the repository.

        Args:
            repo_id: ORG/NAME; created if it is not there.
            private: create it for yourself and your organization only.
            message: of the commit.

        Raises:
            CheckpointError: if the hub does not take it.
            ConfigError: if it was not loaded from anywhere.
        """
        if self.folder is None:
            raise ConfigError("only what Segmenter.load loaded can be pushed: save a checkpoint first")
        if is_exported(self.folder):
            return push_to_hub(self.folder, repo_id, private, message=message)
        with tempfile.TemporaryDirectory() as parent:
            folder = export_model(self.folder, Path(parent) / repo_id.rpartition("/")[2])
            return push_to_hub(folder, repo_id, private, message=message)

    def set_image(self, image: str | PathLike[str] | Image.Image | np.ndarray) -> Segmenter:
        """Encode a picture; the sentences that follow are about it.

        Args:
            image: a file, which is read upright, as its EXIF orientation says, so that masks fit what a viewer shows;
                or a PIL image or an array uint8 [H,W,3] (RGB) or [H,W] (grey), which are taken as they are.

        Raises:
            DataError: if it is not a picture.
        """
        self._encoded = encode(self.model, self.collator, [_as_rgb(image)])
        return self

    def segment(self, text: str, is_sentence: bool | None = None) -> Segmentation:
        """Draw the mask of what the text names.

        Args:
            text: a referring expression ("the red ring") or a full sentence or question.
            is_sentence: which of the two; by default full sentences are told by their final punctuation.

        Raises:
            DataError: if the text is empty, or not text.
            ConfigError: if no picture is set.
        """
        return self.segment_many([text], is_sentence)[0]

    def segment_many(self, texts: list[str], is_sentence: bool | None = None) -> list[Segmentation]:
        """Like `segment`, several sentences in one pass."""
        if self._encoded is None:
            raise ConfigError("no picture is set: call set_image first")
        for text in texts:
            _check_sentence(text)
        if not texts:
            return []
        kinds = [text.rstrip().endswith((".", "?", "!")) if is_sentence is None else is_sentence for text in texts]
        questions = [question(text, kind) for text, kind in zip(texts, kinds)]
        mirrored = [mirrored_question(text, kind) for text, kind in zip(texts, kinds)]
        drawn = predict(self.model, self.collator, self._encoded, questions, [0] * len(questions), mirrored)
        return [
            Segmentation(
                text=text,
                mask=(prediction.logits > 0).cpu().numpy(),
                logits=prediction.logits.cpu().numpy(),
                score=min(max(prediction.iou, 0.0), 1.0),
            )
            for text, prediction in zip(texts, drawn)
        ]


def pick_device(name: str) -> torch.device:
    """The torch device of a name, `auto` meaning CUDA where there is one; raises ConfigError if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"--device {name}, but torch sees no CUDA device here: use --device cpu (or auto)")
    try:
        torch.zeros(1, device=name).item()  # `mps` and `meta` are names torch knows wherever it runs
        return torch.device(name)
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        raise ConfigError(f"{name!r} is not a device that can be used here: use auto, cpu or cuda") from error


def _check_sentence(text: str) -> None:
    if not isinstance(text, str):
        raise DataError(f"a sentence must be text, not {type(text).__name__}")
    if not text.strip():
        raise DataError("the sentence is empty: say what to segment, for example 'the red ring'")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # what Python makes of a command line that is not UTF-8; no tokenizer takes it
        raise DataError(f"the sentence holds a broken character ({error.reason}): write it again") from error


def _as_rgb(image: str | PathLike[str] | Image.Image | np.ndarray) -> Image.Image:
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
            raise DataError(f"an array picture must be uint8 [H,W,3] or [H,W], not {image.dtype} {list(image.shape)}")
        if image.size == 0:
            raise DataError(f"an array picture needs pixels, not the shape {list(image.shape)}")
        return Image.fromarray(image).convert("RGB")
    if not isinstance(image, (str, PathLike)):
        raise DataError(f"a picture is a file, a PIL image or an array, not {type(image).__name__}")
    return load_image(Path(image), turned=True)
