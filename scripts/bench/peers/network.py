"""A network of images as an ONNX file in ONNX Runtime or OpenVINO, float32: milliseconds a call.

What comes out is checked first against a file of this project's: the input, then the outputs, float32.
"""

import argparse
import time

import numpy

import protocol


def onnxruntime_call(options, shape):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(options.model, settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda data: session.run(None, {name: data})


def openvino_call(options, shape):
    import openvino

    core = openvino.Core()
    model = core.read_model(options.model)
    model.reshape(list(shape))
    settings = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": options.threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()

    def call(data):
        request.infer({0: data}, share_inputs=True, share_outputs=True)
        return [request.get_output_tensor(index).data for index in range(len(compiled.outputs))]

    return call


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=["onnxruntime", "openvino"], required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--sample", required=True, help="input and outputs to check against")
    parser.add_argument("--size", required=True, help="HEIGHTxWIDTH")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--calls", type=int, required=True, help="calls of one figure")
    options = parser.parse_args()
    height, width = map(int, options.size.split("x"))
    values = numpy.fromfile(options.sample, "f4")
    data = values[: 3 * height * width].reshape(1, 3, height, width)
    expected = values[data.size :]
    call = {"onnxruntime": onnxruntime_call, "openvino": openvino_call}[options.engine](options, data.shape)
    found = numpy.concatenate([numpy.ravel(output) for output in call(data)])
    assert found.shape == expected.shape, f"{found.size} numbers come out, {expected.size} do on the other side"
    error = numpy.abs(found - expected).max() / numpy.abs(expected).max()
    assert error < 1e-3, f"the outputs differ by {error:.1e} of the largest"

    def figure():
        begin = time.perf_counter()
        for _ in range(options.calls):
            call(data)
        return 1000 * (time.perf_counter() - begin) / options.calls

    for _ in range(3):
        call(data)
    protocol.serve(figure)


main()
