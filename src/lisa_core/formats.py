"""The dataset formats that core reads itself, announced through the same hook as those of plugins."""

from __future__ import annotations

from lisa_core.types import DatasetSpec

AUTO = "auto"
"""Value of `--data-format` that has the readers look at the folder."""

HF_PREFIX = "hf:"
"""What `--data` begins with when it names a Hugging Face dataset instead of a folder."""

ALIASES = {"refcoco": "refer", "refcoco+": "refer", "refcocog": "refer", "refclef": "refer"}
"""Sets by their own name that share a layout."""

BUILTIN_FORMATS = (
    DatasetSpec("jsonl", "lisa_core.data.jsonl:Jsonl", "your own pictures: a line of JSON for each target"),
    DatasetSpec(
        "reasonseg",
        "lisa_core.data.reasonseg:ReasonSeg",
        "images with LISA's ReasonSeg annotations: X.jpg beside X.json",
    ),
    DatasetSpec(
        "refer", "lisa_core.data.refer:Refer", "RefCOCO, RefCOCO+, RefCOCOg, RefCLEF: refs(*).p, instances.json"
    ),
    DatasetSpec("refer-unc", "lisa_core.data.refer:ReferUnc", "the same, UNC's partition"),
    DatasetSpec("refer-google", "lisa_core.data.refer:ReferGoogle", "the same, Google's partition"),
    DatasetSpec("refer-umd", "lisa_core.data.refer:ReferUmd", "the same, UMD's partition"),
    DatasetSpec("grefcoco", "lisa_core.data.grefer:GRefer", "gRefCOCO: several targets or none; grefs(unc).json"),
    DatasetSpec("coco", "lisa_core.data.coco:Coco", "COCO instance JSON: the categories present in a picture"),
    DatasetSpec("labelme", "lisa_core.data.labelme:Labelme", "labelme: X.jpg beside X.json, the labels in a picture"),
    DatasetSpec("sa2va", "lisa_core.data.sa2va:Sa2VA", "Sa2VA's annotations.json: image, mask, text"),
    DatasetSpec("muse", "lisa_core.data.muse:Muse", "MUSE: answers that name several objects; MUSE_train.json"),
    DatasetSpec(
        "llava-instruct",
        "lisa_core.data.llava_instruct:LlavaInstruct",
        "LLaVA-Instruct: conversations in words alone; llava_instruct_150k.json",
    ),
    DatasetSpec("ade20k", "lisa_core.data.semantic:ADE20K", "ADE20K (150 classes): images, annotations"),
    DatasetSpec("cocostuff", "lisa_core.data.semantic:CocoStuff", "COCO-Stuff: pictures, label maps, labels.txt"),
    DatasetSpec("mapillary", "lisa_core.data.semantic:Mapillary", "Mapillary Vistas: training, validation, config"),
    DatasetSpec("paco", "lisa_core.data.parts:Paco", "PACO-LVIS: objects and their parts in COCO JSON"),
    DatasetSpec("pascal-part", "lisa_core.data.parts:PascalPart", "PASCAL-Part: parts of objects in COCO JSON"),
    DatasetSpec(
        "hf", "lisa_core.data.hf_datasets:HFDatasets", "Hugging Face datasets: hf:ORG/NAME, parquet, save_to_disk"
    ),
)
"""In the order they are listed in."""
