"""Checks of what an adapter says of itself, and of how it is built, saved and loaded."""

from __future__ import annotations

import importlib
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from transformers import PreTrainedModel

from lisa_core.errors import ConfigError
from lisa_core.hf import HFVLM
from lisa_core.lora import LoraSettings, add_lora
from lisa_core.quantize import QUANTIZATIONS
from lisa_core.testing.check import CheckFailure, NotApplicable, check, require, require_close
from lisa_core.testing.subject import ANSWERS, QUESTIONS, Subject
from lisa_core.types import API_VERSION
from lisa_core.vlm import VLM

_TINY = 30_000_000
"""A tiny model has fewer parameters: it must build, run and train on any laptop."""


@check(
    "importing the plugin imports neither torch nor transformers",
    "keep the hooks in __init__.py and everything else in a module that the spec's `target` names",
)
def light_import(subject: Subject) -> None:
    """Import the plugin's entry point in a process of its own."""
    if subject.module is None:
        raise NotApplicable("no plugin was given, only a way to build the model")
    code = (
        f"import sys, importlib; importlib.import_module({subject.module!r}); "
        "print(*(name for name in ('torch', 'transformers') if name in sys.modules))"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=120)
    require(process.returncode == 0, f"importing {subject.module} fails: {(process.stderr.splitlines() or ['?'])[-1]}")
    heavy = process.stdout.split()
    require(not heavy, f"importing {subject.module} imports {' and '.join(heavy)}, which costs every command seconds")


@check(
    "the plugin's spec is complete and true of its adapter class",
    "compare the VLMSpec in __init__.py with the adapter's class attributes",
)
def spec_valid(subject: Subject) -> None:
    """Compare what the spec says with the class it names."""
    spec = subject.spec
    if spec is None:
        raise NotApplicable("no plugin was given, only a way to build the model")
    module_name, _, attribute = spec.target.partition(":")
    cls: Any = getattr(importlib.import_module(module_name), attribute, None)
    require(isinstance(cls, type) and issubclass(cls, VLM), f"target {spec.target} is not a subclass of lisa_core.VLM")
    require(spec.api_version == API_VERSION, f"api_version is {spec.api_version}, this core speaks {API_VERSION}")
    require(cls.family == spec.name, f"the class says family = {cls.family!r}, the spec {spec.name!r}")
    require(spec.summary.strip(), "summary is empty: `lisa plugins` shows it")
    if issubclass(cls, HFVLM):
        same = set(cls.model_types) == set(spec.model_types)
        require(same, f"the class reads model types {cls.model_types}, the spec claims {spec.model_types}")
    require("/" in spec.default_checkpoint, f"default_checkpoint {spec.default_checkpoint!r} is no hub name (org/name)")
    for option in spec.options:
        require(option.name.isidentifier(), f"option {option.name!r} is not a Python identifier")
        fits = option.default is None or isinstance(option.default, option.kind)
        require(fits, f"option {option.name} defaults to {option.default!r}, which is no {option.kind.__name__}")
    package = importlib.util.find_spec(module_name.partition(".")[0])
    root = Path(str(package.origin)).parent if package is not None else Path()
    for known in spec.checkpoints:
        config = root / "configs" / f"{known.name.replace('/', '__')}.json"
        require(config.is_file(), f"checkpoint {known.name} is listed, but {config} with its config is missing")


@check(
    "`tiny` builds the family's real classes, small, without network",
    "build `tiny` from config classes and an offline tokenizer (`tiny_tokenizer`), never with from_pretrained",
)
def tiny_offline(subject: Subject) -> None:
    """Build the tiny model while every connection is refused."""

    def refuse(*_: object) -> None:
        raise CheckFailure("`tiny` opens a network connection")

    with mock.patch.object(socket.socket, "connect", refuse), mock.patch.object(socket, "getaddrinfo", refuse):
        vlm = subject.fresh()
    count = sum(parameter.numel() for parameter in vlm.parameters())
    require(count < _TINY, f"`tiny` has {count:,} parameters; it is meant to train on a laptop, so below {_TINY:,}")
    models = [module for module in vlm.modules() if isinstance(module, PreTrainedModel)]
    require(models, "`tiny` holds no transformers model: it must be the family's real classes, not a stand-in")
    homes = {type(model).__module__ for model in models}
    foreign = sorted(home for home in homes if not home.startswith("transformers."))
    require(not foreign, f"`tiny` is built from {', '.join(foreign)}, not from transformers' own classes")


@check(
    "`configure` takes the declared options and refuses others",
    "take every option of the spec in `configure(**options)`, None meaning the checkpoint's own, and no other",
)
def options_declared(subject: Subject) -> None:
    """Configure with everything the spec declares, and with what nobody declares."""
    vlm = subject.fresh()
    vlm.configure(**{option.name: option.default for option in (subject.spec.options if subject.spec else ())})
    subject.batch(vlm=vlm)
    try:
        vlm.configure(no_such_option_of_any_family=1)
    except (ConfigError, TypeError):
        return
    raise CheckFailure("`configure` accepts an option that the family does not have")


@check(
    "dims are those of the tensors",
    "`dims.vision` is the channel count of `encode_image`'s grid, `dims.text` the width of the hidden states",
)
@torch.no_grad()
def dims_true(subject: Subject) -> None:
    """Compare `dims` with what the methods return."""
    vlm, batch = subject.vlm, subject.batch()
    features, dims = vlm.encode_image(batch), vlm.dims
    shapes = {
        "sequence": (features.sequence.shape[-1], dims.vision),
        "grid": (features.grid.shape[1], dims.vision),
        "encode_text": (vlm.encode_text(batch).shape[-1], dims.text),
        "forward's hidden": (vlm(batch).hidden.shape[-1], dims.text),
    }
    for name, (found, said) in shapes.items():
        require(found == said, f"{name} has {found} channels, dims say {said}")
    rows, length = batch["input_ids"].shape
    found = tuple(vlm(batch).hidden.shape[:2])
    require(found == (rows, length), f"hidden states are {list(found)} for input_ids of {[rows, length]}")


@check(
    "`save_config` and `from_config` rebuild the model: with its weights it draws equal masks",
    "write config, tokenizer and processor in `save_config`; whatever changes the result must be in them",
)
@torch.no_grad()
def config_round_trip(subject: Subject) -> None:
    """Rebuild the VLM from its description, fill in the weights, compare masks."""
    vlm = subject.fresh()
    with tempfile.TemporaryDirectory() as folder:
        vlm.save_config(Path(folder))
        again = type(vlm).from_config(Path(folder)).eval()
    own, theirs = vlm.state_dict(), again.state_dict()
    differing = sorted(key for key in own.keys() | theirs.keys() if key not in own or key not in theirs)
    require(not differing, f"the rebuilt model has other tensors: {', '.join(differing[:3])}")
    again.load_state_dict(own)
    masks = [
        subject.model(model)(subject.collator(model).inputs(subject.pictures, QUESTIONS, ANSWERS, range(3))).mask_logits
        for model in (vlm, again)
    ]
    require_close(masks[1], masks[0], "masks of the rebuilt model", 1e-5)


@check(
    "`save_pretrained` and `from_pretrained` give back equal hidden states",
    "save model and processor side by side, and load them by the code that loads from the hub",
)
@torch.no_grad()
def pretrained_round_trip(subject: Subject) -> None:
    """Save as a local checkpoint, load it by name, compare."""
    vlm = subject.fresh()
    with tempfile.TemporaryDirectory() as folder:
        again = type(vlm).from_pretrained(vlm.save_pretrained(Path(folder))).eval()
    fresh = {key: value for key, value in vlm.state_dict().items() if not key.startswith(vlm.pretrained_prefixes)}
    again.load_state_dict(fresh, strict=False)
    batches = [subject.batch(vlm=model) for model in (vlm, again)]
    require(torch.equal(batches[0]["input_ids"], batches[1]["input_ids"]), "the loaded tokenizer gives other ids")
    require_close(again(batches[1]).hidden, vlm(batches[0]).hidden, "hidden states of the loaded model", 1e-5)


@check(
    "4- and 8-bit loading works where it is declared and is refused where it is not",
    "list what `from_pretrained` can load in `quantizations`, and raise ConfigError for the rest",
)
def quantization_declared(subject: Subject) -> None:
    """Load quantized, evaluate, and see that adapters on top still get gradients."""
    vlm = subject.fresh()
    with tempfile.TemporaryDirectory() as folder:
        name = vlm.save_pretrained(Path(folder))
        installed = importlib.util.find_spec("bitsandbytes") is not None
        for kind in QUANTIZATIONS:
            if kind not in vlm.quantizations or not installed:
                try:
                    type(vlm).from_pretrained(name, quantization=kind)
                except ConfigError:
                    continue
                reason = "not declared in `quantizations`" if installed else "impossible without bitsandbytes"
                raise CheckFailure(f"{kind} is {reason}, yet `from_pretrained` does not refuse")
            _check_quantized(subject, type(vlm).from_pretrained(name, quantization=kind), kind)
    if vlm.quantizations and not installed:
        raise NotApplicable("bitsandbytes is not installed, and loading says so: `pip install lisa-core[quantize]`")


def _check_quantized(subject: Subject, vlm: VLM, kind: str) -> None:
    layers = [module for module in vlm.modules() if type(module).__module__.startswith("bitsandbytes.")]
    require(layers, f"{kind} is declared, but no layer of the loaded model is quantized")
    with torch.no_grad():
        hidden = vlm.eval()(subject.batch(vlm=vlm)).hidden
    require(bool(torch.isfinite(hidden).all()), f"{kind}: hidden states are not finite")
    add_lora(vlm, LoraSettings(r=4, dropout=0.0))
    vlm.train()(subject.batch(vlm=vlm)).hidden.square().mean().backward()
    # Rounded weights need not be alike; adapters that learn nothing are what goes wrong without a word.
    dead = [
        name
        for name, parameter in vlm.named_parameters()
        if "lora_B" in name and (parameter.grad is None or not parameter.grad.any())
    ]
    require(not dead, f"{kind}: after an evaluation no gradient reaches {len(dead)} adapters (first: {dead[:1]})")
