"""The main job, and the largest network that two cores still train."""

from harness import training
from harness.registry import Row

CLASSES = 1000


def r50_sizes(context):
    """(steps of one figure, figures of one round): a step takes seconds."""
    return (1, 2) if context.quick else (1, 4)


ROWS = [
    Row(
        name="train-y1",
        title=f"train MobileFaceNet y1 + ArcFace, batch 64, {CLASSES:,} classes",
        unit="images/s",
        ours=training.ours("y1", "arcface", 64, CLASSES),
        peers={f"PyTorch, {name}": training.pytorch("y1", "arcface", mode, 64, CLASSES) for name, mode in training.MODES},
        note="ours reads and decodes its images from train.rec meanwhile; the peers are given one batch, in memory",
        order=10,
        goal="2.0× `torch.compile`, at least 1.4×; 3× eager",
        in_quick=True,
        slow_peers=("PyTorch, eager", "PyTorch, `torch.compile`, channels-last"),
    ),
    Row(
        name="train-r50",
        title=f"train ResNet r50 + CosFace, batch 16, {CLASSES:,} classes",
        unit="images/s",
        ours=training.ours("r50", "cosface", 16, CLASSES, r50_sizes),
        peers={
            f"PyTorch, {name}": training.pytorch("r50", "cosface", mode, 16, CLASSES, r50_sizes)
            for name, mode in training.MODES[1:]
        },
        note="as train-y1",
        order=11,
        goal="1.1×",
        rounds=3,
    ),
]
