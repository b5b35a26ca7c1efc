"""Data that rows share, made once a run."""

from .sides import Skip

IDENTITIES = 100


def faces(context):
    """A folder with train.rec: drawn faces of a hundred people."""
    images = 10 if context.quick else 40

    def make():
        folder = context.work / "faces"
        folder.mkdir(exist_ok=True)
        context.run(
            context.program("insightface"), "dataset", "synth", "--output", folder, "--identities", IDENTITIES, "--images",
            images, "--pairs", 0)
        if not (folder / "train.rec").exists():
            raise Skip("`insightface dataset synth` made no train.rec")
        return folder

    return context.once("faces", make)
