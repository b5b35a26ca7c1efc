"""An ONNX file as a module of PyTorch, with the operators that face networks have."""

import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn
from torch.nn import functional


class ONNXNetwork(nn.Module):
    def __init__(self, path):
        super().__init__()
        graph = onnx.load(path).graph
        self.names = {}
        self.shapes = {}
        for tensor in graph.initializer:
            value = torch.from_numpy(numpy_helper.to_array(tensor).copy())
            if value.dtype == torch.int64:
                self.shapes[tensor.name] = value.tolist()
            else:
                self.names[tensor.name] = f"w{len(self.names)}"
                self.register_buffer(self.names[tensor.name], value)
        self.steps = []
        for node in graph.node:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant":
                value = torch.from_numpy(numpy_helper.to_array(attributes["value"]).copy())
                self.names[node.output[0]] = f"w{len(self.names)}"
                self.register_buffer(self.names[node.output[0]], value)
            elif not hasattr(self, "do_" + node.op_type.lower()):
                raise SystemExit(f"the operator {node.op_type} is not known here")
            else:
                self.steps.append((node.op_type.lower(), list(node.input), node.output[0], attributes))
        self.input = next(i.name for i in graph.input if i.name not in self.names and i.name not in self.shapes)
        self.output = graph.output[0].name

    def forward(self, images):
        values = {self.input: images}

        def value(name):
            if name in values:
                return values[name]
            return self.shapes[name] if name in self.shapes else getattr(self, self.names[name])

        for operator, inputs, output, attributes in self.steps:
            values[output] = getattr(self, "do_" + operator)(attributes, *[value(name) for name in inputs if name])
        return values[self.output]

    @staticmethod
    def do_conv(a, x, weight, bias=None):
        top, left, bottom, right = a.get("pads", [0, 0, 0, 0])
        assert (top, left) == (bottom, right)
        return functional.conv2d(
            x, weight, bias, a.get("strides", 1), (top, left), a.get("dilations", 1), a.get("group", 1))

    @staticmethod
    def do_batchnormalization(a, x, gamma, beta, mean, variance):
        return functional.batch_norm(x, mean, variance, gamma, beta, eps=a.get("epsilon", 1e-5))

    @staticmethod
    def do_prelu(a, x, slope):
        return functional.prelu(x, slope.reshape(-1))

    @staticmethod
    def do_relu(a, x):
        return functional.relu(x)

    @staticmethod
    def do_add(a, x, y):
        return x + y

    @staticmethod
    def do_sub(a, x, y):
        return x - y

    @staticmethod
    def do_mul(a, x, y):
        return x * y

    @staticmethod
    def do_gemm(a, x, weight, bias=None):
        assert not a.get("transA") and a.get("alpha", 1.0) == 1 and a.get("beta", 1.0) == 1
        return functional.linear(x, weight if a.get("transB") else weight.T, bias)

    @staticmethod
    def do_matmul(a, x, y):
        return x @ y

    @staticmethod
    def do_flatten(a, x):
        assert a.get("axis", 1) == 1
        return x.flatten(1)

    @staticmethod
    def do_reshape(a, x, shape):
        return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])

    @staticmethod
    def do_identity(a, x, *rest):
        return x

    do_dropout = do_identity
