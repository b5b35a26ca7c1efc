"""Writes whole states of the reference around two training steps, for a comparison tensor by tensor.

    python scripts/parity/full_step.py --reference PATH --out FOLDER [--loss arcface] [--batch 8] [--classes 20] [--lr 0.1]
        [--start hashed|gentle|fresh] [--pretrained PREFIX,EPOCH] [--rec train.rec]

PATH is recognition/arcface_mxnet in a checkout of deepinsight/insightface. Needs MXNet 1.9.1. FOLDER then holds, in MXNet's
own formats ("arg:" and "aux:" names, float32):

    state-symbol.json               the training graph, head included
    state-0000.params               weights and running statistics before step 1
    state-0001.params, -0002        after step 1, after step 2
    momentum-0001.params, -0002     momentum buffers, "arg:<name>"; before step 1 they are zero
    gradient-0001.params, -0002     gradients of step 1 and 2, "arg:<name>"
    embedding-symbol.json           the graph cut at fc1_output
    embedding-0000.params           its weights before step 1, as train.py would save them

and, little-endian and C order:

    data-1.f32, data-2.f32          float32 [N, 3, 112, 112], RGB, 0 ... 255
    data-1.u8, data-2.u8            the same as bytes
    label-1.f32, label-2.f32        float32 [N]
    eval-1.f32                      float32 [N, E], embedding of batch 1 before step 1 with running statistics
    train-1.f32, train-2.f32        float32 [N, E], embeddings with batch statistics
    step.json                       losses, shapes, and per tensor the relative error of MXNet's own gradient against float64
"""

import argparse
import json
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures"))

import hashed_tensors as hashed  # noqa: E402
import reference_training as reference  # noqa: E402
from reference_training import mx, relative  # noqa: E402


def record_batch(path, number, count, classes):
    """Images `number * count ...` of a record file with a header record: uint8 [N, 3, 112, 112] RGB, labels [N]."""
    record = mx.recordio.MXIndexedRecordIO(path[:-4] + ".idx", path, "r")
    header, _ = mx.recordio.unpack(record.read_idx(0))
    total = int(header.label[0]) - 1 if header.flag > 0 else len(record.keys)
    first = 1 if header.flag > 0 else 0
    data, labels = [], []
    for k in range(count):  # spread over the file, so that a batch holds several identities
        key = first + (number * count + k) * 97 % total
        header, image = mx.recordio.unpack(record.read_idx(key))
        label = int(header.label if np.isscalar(header.label) else header.label[0])
        data.append(mx.image.imdecode(image).asnumpy().transpose(2, 0, 1))
        labels.append(label % classes)
    return np.stack(data), np.array(labels)


def pretrained(prefix_epoch, arguments, auxiliary):
    """Replaces values by those of a checkpoint of the embedding; older checkpoints call two tensors otherwise."""
    prefix, epoch = prefix_epoch.rsplit(",", 1)
    _, args, auxs = mx.model.load_checkpoint(prefix, int(epoch))
    aliases = {"fc1_weight": "pre_fc1_weight", "fc1_bias": "pre_fc1_bias"}
    for loaded, target in ((args, arguments), (auxs, auxiliary)):
        for name, value in loaded.items():
            name = aliases.get(name, name)
            if name not in target or value.shape != target[name].shape:
                sys.exit("%s: %s %s does not fit the network" % (prefix, name, value.shape))
            target[name] = value.asnumpy()
        missing = [n for n in target if not n.startswith("fc7") and n not in {aliases.get(m, m) for m in loaded}]
        if missing:
            sys.exit("%s: lacks %s" % (prefix, ", ".join(missing)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--network", default="y1")
    parser.add_argument("--loss", default="arcface")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--start", default="hashed", choices=["hashed", "gentle", "fresh"])
    parser.add_argument("--pretrained", help="PREFIX,EPOCH of an embedding checkpoint; fc7 stays hashed")
    parser.add_argument("--rec", help="record file to take images and labels (modulo classes) from")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    path = lambda name: os.path.join(options.out, name)

    ref = reference.Reference(options.reference)
    symbol = ref.symbol(options.network, options.loss, options.classes, options.batch)
    shape = (options.batch, 3, 112, 112)
    argument_shapes, auxiliary_shapes = reference.shapes(symbol, shape)
    arguments = hashed.state(argument_shapes, "weights", options.start)
    auxiliary = hashed.state(auxiliary_shapes, "weights", options.start)
    if options.pretrained:
        pretrained(options.pretrained, arguments, auxiliary)
        arguments["fc1_gamma"][:] = 1.0

    def save(name, args, auxs):
        values = {"arg:" + n: mx.nd.array(v) for n, v in args.items()}
        values.update({"aux:" + n: mx.nd.array(v) for n, v in auxs.items()})
        mx.nd.save(path(name), values)

    symbol.save(path("state-symbol.json"))
    symbol.get_internals()["fc1_output"].save(path("embedding-symbol.json"))
    save("state-0000.params", arguments, auxiliary)
    save("embedding-0000.params", {n: v for n, v in arguments.items() if not n.startswith("fc7")}, auxiliary)

    trainer = reference.Trainer(symbol, shape, arguments, auxiliary, options.lr)
    document = {k: v for k, v in vars(options).items() if k not in ("reference", "out", "pretrained", "rec")}
    document["steps"] = []
    current, statistics = arguments, auxiliary
    for step, name in ((1, "one"), (2, "two")):
        if options.rec:
            data, labels = record_batch(options.rec, step - 1, options.batch, options.classes)
        else:
            labels = hashed.labels(name, options.batch, options.classes)
            data = hashed.images(name, labels)
        data.astype("<f4").tofile(path("data-%d.f32" % step))
        data.astype(np.uint8).tofile(path("data-%d.u8" % step))
        labels.astype("<f4").tofile(path("label-%d.f32" % step))
        if step == 1:
            trainer.forward(data, labels, False)[0].astype("<f4").tofile(path("eval-1.f32"))
        _, exact, _ = reference.imperative_step(symbol, current, statistics, data, labels)
        outputs = trainer.forward_backward(data, labels)
        outputs[0].astype("<f4").tofile(path("train-%d.f32" % step))
        gradients = trainer.gradients()
        trainer.update()
        current, statistics = trainer.state()
        save("gradient-%04d.params" % step, gradients, {})
        save("momentum-%04d.params" % step, trainer.momentum(), {})
        save("state-%04d.params" % step, current, statistics)
        document["steps"].append(
            {
                "lossvalue": float(outputs[-1].reshape(-1)[0]),
                "labels": labels.tolist(),
                "gradient_error": {n: float("%.3g" % relative(g, exact[n])) for n, g in gradients.items()},
            }
        )
    document["arguments"] = {n: list(s) for n, s in argument_shapes.items()}
    document["auxiliary"] = {n: list(s) for n, s in auxiliary_shapes.items()}
    with open(path("step.json"), "w") as file:
        json.dump(document, file, indent=1)
    for step in document["steps"]:
        errors = sorted(step["gradient_error"].values())
        print("lossvalue %.6f; gradient error median %.1e" % (step["lossvalue"], errors[len(errors) // 2]))


if __name__ == "__main__":
    main()
