#!/usr/bin/env python3
"""Writes configs/*.json: the published recipes of InsightFace with the keys of `insightface train`.

A recipe for G GPUs of N images each becomes one device with G parts of N images an update (`accumulate`): the same images
an update and the same learning rate.
"""
import json
import os

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "configs")
DATASETS = {  # arcface_torch: classes, images
    "ms1mv2": (85742, 5822653), "ms1mv3": (93431, 5179510), "glint360k": (360232, 17091657),
    "wf4m": (205990, 4235242), "wf12m": (617970, 12720066), "wf12m_conflict": (1017970, 12720066),
}


def write(name, source, launch, **keys):
    text = {"_launch": launch.format(name=name), "_source": source}
    text.update(keys)
    lines = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in text.items()]
    with open(os.path.join(ROOT, name + ".json"), "w") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


def mxnet(name, number, flags, **keys):
    write(name, f"recognition/arcface_mxnet/README.md, example {number}: train.py {flags}",
          "CUDA_VISIBLE_DEVICES='0' insightface train --config configs/{name}.json", **keys)


def torch(name, dataset, network, margins, epochs, gpus=8, lr=0.1, wd=5e-4, warmup=0, path=None, **keys):
    classes, images = DATASETS[dataset]
    keys = {
        "network": network, "loss": "combined-margin", "dataset": dataset, "dataset_path": path or f"../datasets/{dataset}",
        "num_classes": classes, "emb_size": 512, "loss_s": 64, "loss_m1": margins[0], "loss_m2": margins[1], "loss_m3": margins[2],
        "optimizer": "sgd", "lr": lr, "mom": 0.9, "wd": wd, "schedule": "polynomial", "num_epoch": epochs, "warmup_epoch": warmup,
        "per_batch_size": 128, "accumulate": gpus, "clip_norm": 5, "precision": "float16", "verbose": 2000, "frequent": 10,
        "val_targets": ["lfw", "cfp_fp", "agedb_30"], **keys,
    }
    if gpus == 1:
        del keys["accumulate"]
    write(name, f"recognition/arcface_torch/configs/{name.removeprefix('torch-').replace('-', '_')}.py, {gpus} × 128 images an "
          f"update, {images} images", "CUDA_VISIBLE_DEVICES='0' insightface train --config configs/{name}.json", **keys)


os.makedirs(ROOT, exist_ok=True)
EMORE = {"dataset": "emore", "per_batch_size": 128, "accumulate": 4, "lr": 0.1, "lr_steps": "100000,160000,220000"}
mxnet("mission-1-r100-arcface", 1, "--network r100 --loss arcface --dataset emore, 4 GPUs", network="r100", loss="arcface", **EMORE)
mxnet("mission-2-r50-cosface", 2, "--network r50 --loss cosface --dataset emore, 4 GPUs", network="r50", loss="cosface", **EMORE)
mxnet("mission-3-y1-softmax", 3, "--network y1 --loss softmax --dataset emore, 4 GPUs", network="y1", loss="softmax", **EMORE)
mxnet("mission-4-y1-triplet", 4,
      "--network mnas05 --loss triplet --lr 0.005 --pretrained ./models/y1-softmax-emore,1; the checkpoint is y1's, so is the network "
      "here", network="y1", loss="triplet", dataset="emore", lr=0.005, pretrained="./models/y1-softmax-emore,1")
mxnet("mxnet-y1-arcface-from-softmax", "of the model zoo (MobileFaceNet)", "softmax first, then arcface from it at lr 0.01; "
      "start after mission-3-y1-softmax", network="y1", loss="arcface", dataset="emore", per_batch_size=128, accumulate=4, lr=0.01,
      lr_steps="100000,160000,220000", pretrained="./models/y1-softmax-emore,1", head="class-mean")

ARC, COS = (1.0, 0.5, 0.0), (1.0, 0.0, 0.4)
for dataset, margins, mbf_epochs, wd in (("ms1mv2", ARC, 40, 5e-4), ("ms1mv3", ARC, 40, 5e-4), ("glint360k", COS, 20, 1e-4),
                                         ("wf4m", COS, 20, 5e-4)):
    torch(f"torch-{dataset}-mbf", dataset, "mbf", margins, mbf_epochs, wd=1e-4)
    torch(f"torch-{dataset}-r50", dataset, "iresnet50", margins, 20, wd=wd)
    torch(f"torch-{dataset}-r100", dataset, "iresnet100", margins, 20, wd=wd)
torch("torch-ms1mv3-r50-onegpu", "ms1mv3", "iresnet50", ARC, 20, gpus=1, lr=0.02)
# arcface_torch judges nothing there and saves by the epoch; without a verification set only ckpt 2 saves here.
UNJUDGED = {"val_targets": [], "ckpt": 2}
torch("torch-wf12m-mbf", "wf12m", "mbf", COS, 20, wd=1e-4, **UNJUDGED)
torch("torch-wf12m-r50", "wf12m", "iresnet50", COS, 20, **UNJUDGED)
torch("torch-wf12m-r100", "wf12m", "iresnet100", COS, 20, **UNJUDGED)
torch("torch-wf12m-flip-r50", "wf12m", "iresnet50", COS, 20, warmup=2, **UNJUDGED, path="../datasets/wf12m_flip")
torch("torch-wf12m-conflict-r50", "wf12m_conflict", "iresnet50", COS, 20, warmup=2, **UNJUDGED)
