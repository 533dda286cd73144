"""Small datasets in the published layouts, each written from one neutral description: pictures with outlined objects.

Every writer takes the description and a folder, writes what the real set has there, and says nothing of how our
readers work. Masks are plain boolean arrays, so that tests compare pixels with what was meant.
"""

from __future__ import annotations

import base64
import io
import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

WIDTH, HEIGHT = 24, 18


@dataclass
class Thing:
    """One object of a picture."""

    category: str
    texts: list[str]
    mask: np.ndarray
    """bool [H,W]"""
    polygons: list[list[float]] | None
    """COCO polygons that paint the mask exactly; None where it has a hole, which polygons cannot say."""


@dataclass
class Scene:
    """A picture with its objects."""

    name: str
    """File stem."""
    split: str
    things: list[Thing]
    ignored: np.ndarray = field(default_factory=lambda: np.zeros((HEIGHT, WIDTH), bool))
    """bool [H,W]: pixels that are not to be counted."""
    colour: tuple[int, int, int] = (90, 120, 30)

    def picture(self) -> Image.Image:
        pixels = np.full((HEIGHT, WIDTH, 3), self.colour, np.uint8)
        for number, thing in enumerate(self.things):
            pixels[thing.mask] = (200 - 40 * number, 40 * number, 90)
        return Image.fromarray(pixels)


def rectangle(x0: int, y0: int, x1: int, y1: int) -> tuple[np.ndarray, list[float]]:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask, [float(value) for value in (x0, y0, x1, y0, x1, y1, x0, y1)]


def paint(polygons: list[list[float]]) -> np.ndarray:
    """COCO's own rasterisation, independent of the library's."""
    runs = coco_mask.frPyObjects(polygons, HEIGHT, WIDTH)
    return coco_mask.decode(coco_mask.merge(runs)).astype(bool)


def block(category: str, texts: list[str], *box: int) -> Thing:
    mask, polygon = rectangle(*box)
    return Thing(category, texts, mask, [polygon])


def ring(category: str, texts: list[str]) -> Thing:
    """A frame with a hole."""
    outer, _ = rectangle(2, 2, 12, 12)
    inner, _ = rectangle(5, 5, 9, 9)
    return Thing(category, texts, outer & ~inner, None)


def scenes() -> list[Scene]:
    """Two train pictures, one val, two test: a hole, an overlap, two parts, crooked outlines, an ignored region."""
    crooked = [[1.5, 1.25, 20.75, 4.5, 11.0, 16.5, 3.3, 9.9], [18.2, 12.1, 23.4, 12.9, 21.7, 17.2]]
    ignored, _ = rectangle(0, 12, 10, 18)
    return [
        Scene(
            "Straße mit Café 1",
            "train",
            [
                ring("frame", ["the frame", "the picture frame"]),
                block("dog", ["the left dog", "dog"], 6, 6, 16, 14),
                block("dog", ["the right dog"], 14, 8, 23, 17),
            ],
            ignored,
        ),
        Scene("two", "train", [Thing("kite", ["the kite"], paint(crooked), crooked)], colour=(10, 20, 30)),
        Scene("привет мир", "val", [block("dog", ["a dog?"], 3, 3, 9, 9), ring("frame", ["frame"])], colour=(1, 2, 3)),
        Scene("four", "test", [block("cat", ["the cat's “best” café"], 0, 0, 24, 18)], colour=(50, 60, 70)),
        Scene("five", "test", [ring("frame", ["frame two"])], colour=(70, 60, 50)),
    ]


def of(split: str) -> list[Scene]:
    return [scene for scene in scenes() if scene.split == split]


def write_json(path: Path, content: Any, style: str = "utf-8") -> Path:
    """JSON in one of the styles that mirrors leave behind: utf-8, utf-8-sig with Windows line ends, or cp1252."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if style == "ascii":
        path.write_bytes(json.dumps(content).encode())
    else:
        text = json.dumps(content, ensure_ascii=False, indent=1)
        text = text.replace("\n", "\r\n") if style != "utf-8" else text
        path.write_bytes(text.encode(style, "backslashreplace"))  # what a code page lacks is escaped, as JSON may
    return path


def save_picture(scene: Scene, folder: Path, suffix: str = ".jpg") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (scene.name + suffix)
    scene.picture().save(path, quality=95)
    return path


def compressed(mask: np.ndarray) -> dict[str, Any]:
    runs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(value) for value in runs["size"]], "counts": runs["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict[str, Any]:
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends.tolist(), flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def segmentation(thing: Thing) -> Any:
    """Polygons where they can say it, else run lengths."""
    return thing.polygons or compressed(thing.mask)


def coco_json(pictures: list[Scene], categories: list[str], prefix: str = "", crowds: bool = True) -> dict[str, Any]:
    """A COCO instances file; ignored regions are crowds of the category `dog`."""
    content: dict[str, Any] = {"info": {}, "licenses": [], "images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": 10 + n, "name": name, "supercategory": "x"} for n, name in enumerate(categories)]
    for number, scene in enumerate(pictures):
        image_id = 1000 + number
        file_name = f"{prefix}{scene.name}.jpg"
        content["images"].append({"id": image_id, "file_name": file_name, "width": WIDTH, "height": HEIGHT})
        entries = [(thing.category, segmentation(thing), 0) for thing in scene.things]
        if crowds and scene.ignored.any():
            entries.append(("dog", uncompressed(scene.ignored), 1))
        for category, outline, crowd in entries:
            content["annotations"].append(
                {
                    "id": 500 + len(content["annotations"]),
                    "image_id": image_id,
                    "category_id": 10 + categories.index(category),
                    "segmentation": outline,
                    "bbox": [0, 0, 1, 1],
                    "area": 1.0,
                    "iscrowd": crowd,
                }
            )
    return content


CATEGORIES = ["cat", "dog", "frame", "kite"]


def write_coco(root: Path, style: str = "utf-8") -> None:
    for split in ("train", "val", "test"):
        write_json(root / "annotations" / f"instances_{split}2017.json", coco_json(of(split), CATEGORIES), style)
        for scene in of(split):
            save_picture(scene, root / f"{split}2017")


def write_roboflow(root: Path, style: str = "utf-8") -> None:
    for split, folder in (("train", "train"), ("val", "valid"), ("test", "test")):
        write_json(root / folder / "_annotations.coco.json", coco_json(of(split), CATEGORIES), style)
        for scene in of(split):
            save_picture(scene, root / folder)


def write_paco(root: Path, style: str = "utf-8") -> None:
    """The part of an object is its category with a colon; pictures are COCO's, two folders up."""
    names = {"cat": "cat", "dog": "dog:paw_(foot)", "frame": "picture_frame_(art)", "kite": "kite:tail"}
    for split in ("train", "val", "test"):
        content = coco_json(of(split), CATEGORIES, prefix=f"{split}2017/", crowds=False)
        for category in content["categories"]:
            category["name"] = names[category["name"]]
        write_json(root / "annotations" / f"paco_lvis_v1_{split}.json", content, style)
        for scene in of(split):
            save_picture(scene, root.parent.parent / "coco" / f"{split}2017")


def write_pascal_part(root: Path, style: str = "utf-8") -> None:
    for split in ("train", "val", "test"):
        content = coco_json(of(split), CATEGORIES, crowds=False)
        for category in content["categories"]:
            category["name"] += ":head"
        write_json(root / f"{split}.json", content, style)
        for scene in of(split):
            save_picture(scene, root / "VOCdevkit" / "VOC2010" / "JPEGImages")


def references(instances: dict[str, Any], splits: dict[int, str], texts: dict[int, list[str]]) -> list[dict[str, Any]]:
    """REFER's list: one entry an object, with its sentences."""
    result = []
    sentence_id = 0
    for annotation in instances["annotations"]:
        sentences = []
        for text in texts[annotation["id"]]:
            sentences.append({"tokens": text.split(), "raw": text.upper(), "sent_id": sentence_id, "sent": text})
            sentence_id += 1
        result.append(
            {
                "ref_id": 7000 + len(result),
                "ann_id": annotation["id"],
                "category_id": annotation["category_id"],
                "image_id": annotation["image_id"],
                "file_name": f"COCO_train2014_{annotation['image_id']:012}_{annotation['id']}.jpg",
                "split": splits[annotation["image_id"]],
                "sentences": sentences,
                "sent_ids": [sentence["sent_id"] for sentence in sentences],
            }
        )
    return result


def write_refer(
    root: Path,
    style: str = "utf-8",
    partitions: tuple[str, ...] = ("unc",),
    test_marks: tuple[str, str] = ("testA", "testB"),
    pictures: str = "../images/mscoco/images/train2014",
    run_lengths: bool = False,
    protocol: int = 2,
) -> None:
    """refs(PARTITION).p and instances.json; RefCLEF has lists of run lengths instead of polygons."""
    everything = scenes()
    instances = coco_json(everything, CATEGORIES, crowds=False)
    marks = iter(test_marks)
    splits = {1000 + n: scene.split if scene.split != "test" else next(marks) for n, scene in enumerate(everything)}
    things = [thing for scene in everything for thing in scene.things]
    texts = {annotation["id"]: thing.texts for annotation, thing in zip(instances["annotations"], things)}
    for annotation, thing in zip(instances["annotations"], things):
        if run_lengths:
            annotation["segmentation"] = [compressed(thing.mask)]
    write_json(root / "instances.json", instances, style)
    for partition in partitions:
        refs = references(instances, splits, texts)
        (root / f"refs({partition}).p").write_bytes(pickle.dumps(refs, protocol=protocol))
    for scene in everything:
        save_picture(scene, root / pictures)


def write_grefcoco(root: Path, style: str = "utf-8", pickled: bool = False) -> None:
    """grefs(unc).json: the first picture's two dogs at once, a lone object, and expressions that mean nothing."""
    everything = scenes()
    instances = coco_json(everything, CATEGORIES, crowds=False)
    write_json(root / "instances.json", instances, style)
    by_image: dict[int, list[int]] = {}
    for annotation in instances["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation["id"])
    refs = []
    for number, scene in enumerate(everything):
        image_id, split = 1000 + number, scene.split if scene.split != "test" else "testA"
        for keys, text in (
            (by_image[image_id], "everything"),
            (by_image[image_id][:1], "first"),
            ([-1], "the unicorn"),
        ):
            refs.append(
                {
                    "ref_id": len(refs),
                    "ann_id": keys,
                    "category_id": [-1] if keys == [-1] else [11] * len(keys),
                    "image_id": image_id,
                    "file_name": f"COCO_train2014_{image_id}.jpg",
                    "split": split,
                    "sentences": [{"tokens": text.split(), "raw": text, "sent_id": len(refs), "sent": text}],
                    "sent_ids": [len(refs)],
                }
            )
    if pickled:
        (root / "grefs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    else:
        write_json(root / "grefs(unc).json", refs, style)
    for scene in everything:
        save_picture(scene, root / ".." / "images" / "train2014")


def write_sa2va(root: Path, style: str = "utf-8", split: str | None = None) -> None:
    """annotations.json: polygons as Sa2VA's own, run lengths where there is a hole."""
    pictures = scenes() if split is None else of(split)
    content = [
        {
            "image": f"{scene.name}.jpg",
            "mask": [segmentation(thing) for thing in scene.things],
            "text": [thing.texts[0] for thing in scene.things],
        }
        for scene in pictures
    ]
    write_json(root / ("annotations.json" if split is None else f"annotations_{split}.json"), content, style)
    for scene in pictures:
        save_picture(scene, root / "images")


def png_text(mask: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def labelme_shape(label: str, points: list[list[float]], kind: str = "polygon", **more: Any) -> dict[str, Any]:
    base = {"label": label, "points": points, "group_id": None, "description": "", "shape_type": kind, "flags": {}}
    return base | {"mask": None} | more


def labelme_file(scene: Scene) -> dict[str, Any]:
    shapes = []
    for thing in scene.things:
        if thing.polygons is None:
            rows, columns = np.flatnonzero(thing.mask.any(1)), np.flatnonzero(thing.mask.any(0))
            (y0, y1), (x0, x1) = (rows[0], rows[-1]), (columns[0], columns[-1])
            crop = png_text(thing.mask[y0 : y1 + 1, x0 : x1 + 1])
            corners = [[float(x0), float(y0)], [float(x1), float(y1)]]
            shapes.append(labelme_shape(thing.category, corners, "mask", mask=crop))
        for polygon in thing.polygons or []:
            points = np.reshape(polygon, (-1, 2)).tolist()
            shapes.append(labelme_shape(thing.category, points))
    if scene.ignored.any():
        rows, columns = np.flatnonzero(scene.ignored.any(1)), np.flatnonzero(scene.ignored.any(0))
        corners = [[float(columns[-1] + 1), float(rows[0])], [float(columns[0]), float(rows[-1] + 1)]]
        shapes.insert(0, labelme_shape("__ignore__", corners, "rectangle"))
    name = f"{scene.name}.jpg"
    head = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": None}
    return head | {"imageHeight": HEIGHT, "imageWidth": WIDTH}


def write_labelme(root: Path, style: str = "utf-8", flat: bool = False) -> None:
    for scene in scenes():
        folder = root if flat else root / scene.split
        save_picture(scene, folder)
        write_json(folder / f"{scene.name}.json", labelme_file(scene), style)


def index_map(scene: Scene, start: int, rest: int) -> np.ndarray:
    """Class indices from `start` on by category; `rest` elsewhere; later objects lie on top."""
    values = np.full((HEIGHT, WIDTH), rest, np.uint8)
    for thing in scene.things:
        values[thing.mask] = start + CATEGORIES.index(thing.category)
    return values


def save_map(values: np.ndarray, path: Path, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image.putpalette([value for index in range(256) for value in (index, 255 - index, 7)])
    image.save(path)


def write_ade20k(root: Path, style: str = "utf-8") -> None:
    lines = ["Idx\tRatio\tTrain\tVal\tStuff\tName", "1\t0.1\t5\t5\t0\tcat, true cat", "2\t0.1\t5\t5\t0\tdog"]
    lines += ["3\t0.1\t5\t5\t0\tframe;framing", "4\t0.1\t5\t5\t0\tkite, box kite "]
    write_lines(root / "objectInfo150.txt", lines, style)
    for split, folder in (("train", "training"), ("val", "validation"), ("test", "testing")):
        for scene in of(split):
            save_picture(scene, root / "images" / folder)
            save_map(index_map(scene, 1, 0), root / "annotations" / folder / f"{scene.name}.png")


def write_cocostuff(root: Path, style: str = "utf-8", beside: bool = False) -> None:
    write_lines(root / "labels.txt", ["0: unlabeled", "1: cat", "2: dog", "3: frame-wood", "4: kite-other"], style)
    maps = root if beside else root / "stuffthingmaps_trainval2017"
    for split in ("train", "val", "test"):
        for scene in of(split):
            save_picture(scene, root / f"{split}2017")
            save_map(index_map(scene, 0, 255), maps / f"{split}2017" / f"{scene.name}.png")


def write_mapillary(root: Path, style: str = "utf-8") -> None:
    labels = [{"name": f"object--{name}", "readable": name.title(), "evaluate": True} for name in CATEGORIES]
    labels.append({"name": "void--unlabeled", "readable": "Unlabeled", "evaluate": False})
    write_json(root / "config_v2.0.json", {"labels": labels, "version": "2.0"}, style)
    for split, folder in (("train", "training"), ("val", "validation"), ("test", "testing")):
        for scene in of(split):
            save_picture(scene, root / folder / "images")
            values = index_map(scene, 0, 4)
            save_map(values, root / folder / "v2.0" / "labels" / f"{scene.name}.png", palette=True)


def write_lines(path: Path, lines: list[str], style: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    end = "\n" if style == "utf-8" else "\r\n"
    path.write_bytes((end.join(lines) + end).encode(style, "backslashreplace"))


def write_jsonl(root: Path, style: str = "utf-8", one_file: bool = False, marked: bool = True) -> None:
    """Every kind of outline in turn."""
    lines: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    count = 0
    for scene in scenes():
        save_picture(scene, root / "pictures of mine", ".png")
        for thing in scene.things:
            entry: dict[str, Any] = {"image": f"pictures of mine/{scene.name}.png", "text": thing.texts}
            kind = ["mask", "rle", "polygons"][count % 3] if thing.polygons else ["mask", "rle"][count % 2]
            if kind == "mask":
                save_map(thing.mask.astype(np.uint8) * 255, root / "masks" / f"{count}.png")
                entry["mask"] = f"masks\\{count}.png"
            elif kind == "rle":
                entry["rle"] = compressed(thing.mask) if count % 2 else uncompressed(thing.mask)
            else:
                entry["polygons"] = thing.polygons
            if scene.ignored.any():
                entry["ignore"] = {"rle": compressed(scene.ignored)}
            if one_file and marked:
                entry["split"] = scene.split
            lines[scene.split].append(json.dumps(entry, ensure_ascii=style == "ascii"))
            count += 1
    if one_file:
        write_lines(root / "mine.jsonl", [*lines["train"], "", *lines["val"], *lines["test"]], style)
    else:
        for split, content in lines.items():
            write_lines(root / f"{split}.jsonl", content, style)


def write_llava_instruct(root: Path, style: str = "utf-8", name: str = "llava_instruct_150k.json") -> None:
    """A conversation of two turns about each picture, the first question with the picture's placeholder."""
    content = [
        {
            "id": scene.name,
            "image": f"{scene.name}.jpg",
            "conversations": [
                {
                    "from": "human",
                    "value": "<image>\nWhat is in the picture?" if number % 2 else "What is it?\n<image>",
                },
                {"from": "gpt", "value": f"A {scene.things[0].category}."},
                {"from": "human", "value": "How many objects are there?"},
                {"from": "gpt", "value": f"There are {len(scene.things)}."},
            ],
        }
        for number, scene in enumerate(scenes())
    ]
    write_json(root / name, content, style)
    for scene in scenes():
        save_picture(scene, root / "train2017")


def write_muse(root: Path, style: str = "utf-8", words: bool = True) -> None:
    """A question about all objects of a picture, and one about its first; names of pictures in both spellings."""
    for split in ("train", "val", "test"):
        content = []
        for number, scene in enumerate(of(split)):
            objects = [
                {
                    "segmentation": segmentation(thing),
                    "category_name": thing.category,
                    "rephrased_name": thing.texts[0],
                    "category_id": CATEGORIES.index(thing.category),
                }
                for thing in scene.things
            ]
            entry: dict[str, Any] = {
                "height": HEIGHT,
                "width": WIDTH,
                "ann_list": objects,
                "questions": ["Which objects are there?", "What comes first?"],
                "answers": [objects, objects[:1]],
            }
            if words:
                said = " and ".join(f"{thing.category} {{seg}}" for thing in scene.things)
                entry["text_answers"] = [f"There are {said}.", None]
            if number % 2:
                entry["file_name"] = f"{scene.name}.jpg"
            else:
                entry["coco_url"] = f"http://images.cocodataset.org/train2017/{scene.name}.jpg"
            content.append(entry)
            save_picture(scene, root.parent.parent / "refer_seg" / "images" / "mscoco" / "images" / "train2017")
        write_json(root / f"MUSE_{split}.json", content, style)
