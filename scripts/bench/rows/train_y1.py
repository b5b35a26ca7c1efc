"""The main job: MobileFaceNet y1 + ArcFace."""

from harness import training
from harness.registry import Row

BATCH = 64
CLASSES = 1000

ROW = Row(
    name="train-y1",
    title=f"train MobileFaceNet y1 + ArcFace, batch {BATCH}, {CLASSES:,} classes",
    unit="images/s",
    ours=training.ours(network="y1", loss="arcface", batch=BATCH, classes=CLASSES),
    peers={
        f"PyTorch, {name}": training.pytorch("mobilefacenet_training.py", mode=mode, batch=BATCH, classes=CLASSES)
        for name, mode in [
            ("eager", "eager"), ("channels-last", "channels-last"), ("`torch.compile`, channels-last", "compile"),
        ]
    },
    note="ours reads and decodes its images from train.rec meanwhile; the peers are given one batch, in memory",
    order=10,
)
