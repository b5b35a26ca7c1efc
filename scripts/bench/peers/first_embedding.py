"""One embedding, and the end: the harness times the whole process."""

import argparse

import numpy


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--package", choices=["insightface", "onnxruntime"], required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    face = numpy.random.default_rng(0).integers(0, 256, (112, 112, 3), "u1")
    if options.package == "insightface":
        import insightface

        model = insightface.model_zoo.get_model(options.model, providers=["CPUExecutionProvider"])
        embedding = model.get_feat(face)
    else:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.threads
        session = onnxruntime.InferenceSession(options.model, settings, providers=["CPUExecutionProvider"])
        data = face.transpose(2, 0, 1)[None].astype("f4")
        embedding = session.run(None, {session.get_inputs()[0].name: data})[0]
    assert numpy.isfinite(embedding).all() and embedding.size >= 128


main()
