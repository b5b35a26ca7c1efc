"""Embeddings by an ONNX file in ONNX Runtime, OpenVINO or PyTorch, float32."""

import argparse
import time

import numpy

import protocol


def onnxruntime_call(options, data):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(options.model, settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: data})[0]


def openvino_call(options, data):
    import openvino

    core = openvino.Core()
    model = core.read_model(options.model)
    model.reshape(list(data.shape))
    settings = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": options.threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda: request.infer({0: data})[0]


def compile_call(options, data):
    import torch
    import torch._inductor.config

    from onnx_network import ONNXNetwork

    torch.set_num_threads(options.threads)
    # Weights become constants that the compiler packs: the fastest form there is.
    torch._inductor.config.freezing = True
    network = ONNXNetwork(options.model).eval().to(memory_format=torch.channels_last)
    images = torch.from_numpy(data).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = network(images[:1].contiguous(memory_format=torch.channels_last))
    compiled = torch.compile(network)

    def call():
        with torch.no_grad():
            return compiled(images).numpy()

    error = numpy.abs(call()[:1] - expected.numpy()).max() / expected.abs().max().item()
    assert error < 1e-3, f"compiled, the network gives something else: {error}"
    return call


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=["onnxruntime", "openvino", "compile"], required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--calls", type=int, required=True, help="calls of one figure")
    options = parser.parse_args()
    data = numpy.random.default_rng(0).integers(0, 256, (options.batch, 3, 112, 112)).astype("f4")
    call = {"onnxruntime": onnxruntime_call, "openvino": openvino_call, "compile": compile_call}[options.engine](options, data)

    def figure():
        begin = time.perf_counter()
        for _ in range(options.calls):
            call()
        return options.batch * options.calls / (time.perf_counter() - begin)

    for _ in range(3):
        call()
    protocol.serve(figure)


main()
