"""Which family is meant, told from a checkpoint's config alone, and what a family's options may be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lisa_core import FamilyOption, VLMSpec, families
from lisa_core.config import ModelConfig
from lisa_core.errors import ConfigError, LisaError, PluginError
from lisa_core.families import is_pair, option_line, option_values, resolve_family
from lisa_core.registry import KNOWN_PLUGINS, Registered, Registry

HOOK = "from lisa_core import VLMSpec, hookimpl\n\n@hookimpl\ndef lisa_vlms():\n    "
SAM = {"mask_features": "sam"}


@pytest.fixture
def checkpoint(tmp_path):
    """A folder with a config of some `model_type`."""

    def make(model_type: str) -> str:
        folder = tmp_path / "checkpoints" / model_type
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
        return str(folder)

    return make


@pytest.fixture
def only(monkeypatch):
    """Go by these installed plugins alone."""

    def use(*names: str) -> Registry:
        registry = Registry({"LISA_PLUGINS": ",".join(names)})
        monkeypatch.setattr(families, "get_registry", lambda: registry)
        return registry

    return use


def family(name: str | None = None, **config) -> str:
    return resolve_family(ModelConfig(vlm_model_name=name, **config)).vlm


def refusal(kind: type[LisaError], name: str | None = None, **config) -> str:
    with pytest.raises(kind) as caught:
        family(name, **config)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("model_type", ["idefics3", "smolvlm"])
def test_the_family_is_the_one_that_claims_the_model_type(checkpoint, model_type):
    assert family(checkpoint(model_type)) == "smolvlm"


def test_a_named_family_is_left_alone(checkpoint):
    config = ModelConfig(vlm="clip-llm", vlm_model_name=checkpoint("smolvlm"))
    assert resolve_family(config) is config  # whether it can read that is its own to say


@pytest.mark.parametrize(
    "config",
    [
        {"vlm_model_name": "org/eye+org/tongue"},
        {"image_encoder_model_name": "org/eye", "text_encoder_model_name": "org/tongue"},
    ],
    ids=["plus", "two names"],
)
def test_two_models_are_clip_llm_s(config):
    assert resolve_family(ModelConfig(**config)).vlm == "clip-llm"


def test_a_folder_with_a_plus_in_its_name_is_one_model(checkpoint, tmp_path):
    folder = Path(checkpoint("smolvlm")).rename(tmp_path / "a+b")
    assert not is_pair(str(folder)) and family(str(folder)) == "smolvlm"


@pytest.mark.parametrize(
    ("name", "said"), [(None, "no model is named"), ("tiny", "--vlm-model-name tiny does not say")]
)
def test_without_a_checkpoint_the_family_must_be_named(only, name, said):
    only("smolvlm")
    message = refusal(ConfigError, name)
    assert said in message and "give --vlm FAMILY (installed: clip-llm, generic, smolvlm)" in message


def test_two_plugins_that_claim_a_model_type_are_both_named(site, only, checkpoint):
    site.fixture("good")
    site.write("lisa_rival", HOOK + "return [VLMSpec('rival', 'a.b:C', 'acme/c', ('good',), 'Rival')]")
    only("good", "lisa_rival")
    message = refusal(ConfigError, checkpoint("good"))
    assert "good of lisa-good 1.2.0" in message and "rival of lisa-rival 1.0" in message
    assert "--vlm good or --vlm rival" in message
    assert family(checkpoint("good"), vlm="rival") == "rival"


@pytest.mark.parametrize(
    ("model_type", "plugin"), [(kind, name) for name, known in KNOWN_PLUGINS.items() for kind in known.model_types]
)
def test_a_known_plugin_that_is_not_installed_has_its_pip_line(only, checkpoint, model_type, plugin):
    registry = only()
    registry.plugins = registry.plugins[:1]
    message = refusal(PluginError, checkpoint(model_type))
    assert f"is a {model_type} checkpoint" in message
    assert f"run `pip install {KNOWN_PLUGINS[plugin].distribution}`" in message and "--vlm generic" in message


def test_what_is_said_of_known_plugins_is_what_the_installed_ones_claim():
    for name, known in KNOWN_PLUGINS.items():
        entry: Registered[VLMSpec] | None = families.get_registry().vlms.get(name)
        if entry is not None:
            assert (entry.record.distribution, set(entry.spec.model_types)) == (
                known.distribution,
                {*known.model_types},
            )


def test_a_plugin_that_was_not_selected_is_named(only, checkpoint):
    only()
    assert "not in LISA_PLUGINS; add smolvlm to use it" in refusal(PluginError, checkpoint("smolvlm"))


def test_a_broken_plugin_s_error_is_told_for_what_it_claims(site, only, checkpoint):
    site.fixture("raising_hook")
    only("raising_hook")
    message = refusal(PluginError, checkpoint("raising"))
    assert "lisa_datasets() failed: RuntimeError: no folder for the data" in message and "--vlm generic" in message


def test_a_known_plugin_that_cannot_be_imported_is_told_of_by_its_name(site, monkeypatch, checkpoint):
    site.write("broken_llava", "import a_module_nobody_has", "lisa-llava", "llava = broken_llava\n")
    registry = Registry()
    monkeypatch.setattr(families, "get_registry", lambda: registry)
    message = refusal(PluginError, checkpoint("llava"))
    assert "of lisa-llava 1.0 is broken: cannot be imported: ModuleNotFoundError" in message
    assert "pip install lisa-llava" not in message


def test_a_family_claimed_twice_is_told_for_its_model_type(site, only, checkpoint):
    site.fixture("good", "duplicate")
    only("good", "duplicate")
    assert "'good' is claimed by" in refusal(PluginError, checkpoint("good"))
    assert family(checkpoint("single")) == "single"


def test_what_nobody_claims_but_transformers_reads_is_generic(only, checkpoint):
    only()
    assert family(checkpoint("gemma3"), **SAM) == "generic"


@pytest.mark.parametrize("config", [{}, {"fusion": "late", **SAM}, {"vlm": "generic"}], ids=["vlm", "late", "named"])
def test_generic_can_do_joint_fusion_on_sam_s_features_only(only, checkpoint, config):
    only()
    message = refusal(ConfigError, checkpoint("gemma3"), **config)
    assert "--mask-features sam" in message and "--fusion joint" in message and "lisa plugins new" in message


@pytest.mark.parametrize("name", [None, "tiny"])
def test_generic_needs_a_checkpoint(name):
    assert "give --vlm-model-name a checkpoint" in refusal(ConfigError, name, vlm="generic", **SAM)


@pytest.mark.parametrize(
    ("model_type", "said"),
    [
        ("qwen3", "a language model alone; give it eyes: --vlm clip-llm --image-encoder-model-name"),
        ("clip", "an image encoder; give it a language model: --vlm clip-llm --image-encoder-model-name"),
        ("siglip_vision_model", "an image encoder"),
        ("wav2vec2", "no image-text-to-text model"),
        ("frobnicator", "unknown to the plugins and this transformers"),
    ],
)
def test_what_is_no_vision_language_model_is_told_what_it_is(only, checkpoint, model_type, said):
    only()
    name = checkpoint(model_type)
    message = refusal(ConfigError, name)
    assert f"{name} is a {model_type} checkpoint, " in message and said in message


def test_a_family_that_is_not_there_is_refused():
    assert "unknown VLM family 'frobnicator'" in refusal(PluginError, vlm="frobnicator")


OPTIONS = (
    FamilyOption("on", bool, False, "Whether."),
    FamilyOption("count", int, None, "How many."),
    FamilyOption("share", float, 0.5, "How much."),
    FamilyOption("fit", str, "pad", "How.", choices=("pad", "squash")),
    FamilyOption("word", str, None, "Which."),
)


@pytest.fixture
def fitted(monkeypatch):
    """A registry with one family, `fitted`, that has an option of each kind."""
    registry = Registry({"LISA_PLUGINS": ""})
    spec = VLMSpec("fitted", "a.b:C", "acme/c", (), "Fitted", options=OPTIONS)
    registry.vlms["fitted"] = Registered(spec, registry.plugins[0])
    monkeypatch.setattr(families, "get_registry", lambda: registry)


def test_options_have_their_defaults_unless_given(fitted):
    assert option_values("fitted", ()) == {"on": False, "count": None, "share": 0.5, "fit": "pad", "word": None}
    given = ("on=yes", "count=-3", "share=1", "fit=squash", "word=a=b ")
    assert option_values("fitted", given) == {"on": True, "count": -3, "share": 1.0, "fit": "squash", "word": "a=b "}
    assert option_values("clip-llm", ()) == {}


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("ON", True), ("1", True), ("False", False), ("no", False)]
)
def test_yes_and_no_have_many_words(fitted, text, value):
    assert option_values("fitted", [f"on={text}"])["on"] is value


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("on=maybe", "--vlm-option on is 'maybe', must be true or false"),
        ("count=2.5", "--vlm-option count is '2.5', must be a whole number"),
        ("share=nan", "--vlm-option share is 'nan', must be a number"),
        ("share=", "--vlm-option share is '', must be a number"),
        ("fit=crop", "--vlm-option fit is 'crop', must be one of pad, squash"),
        (
            "cuont=2",
            "--vlm fitted has no option 'cuont', did you mean 'count'?; its options: on (true or false), count",
        ),
    ],
)
def test_an_option_that_does_not_fit_is_one_line_that_says_what_would(fitted, given, said):
    message = refusal(ConfigError, "org/x", vlm="fitted", vlm_option=(given,))
    assert message.startswith(said)


def test_all_wrong_options_are_named_at_once(fitted):
    message = refusal(ConfigError, "org/x", vlm="fitted", vlm_option=("on=maybe", "word=x", "zap=1"))
    assert "on is 'maybe'" in message and "no option 'zap'" in message and "word is" not in message


def test_an_option_s_help_says_what_it_takes_and_its_default():
    assert [option_line(option) for option in OPTIONS[:2]] == [
        "on=VALUE: Whether. True or false; default: false.",
        "count=VALUE: How many. A whole number; default: as the checkpoint says.",
    ]
