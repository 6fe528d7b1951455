#!/usr/bin/env bash
# OpenVINO calls background what ONNX Runtime leaves open: a ReLU makes 0 of NaN, so missing pixels get a sure answer.
#
# Registered volumes, AFM scans with lost lines and masked images hold NaN where nothing was measured. In ONNX Runtime
# and in the reference of ONNX NaN passes through convolution, ReLU, clipping and sigmoid, so that the loss shows in
# the result. In OpenVINO on a CPU, Relu and Clip return 0 and ReduceMax leaves NaN out: all pixels near the hole have
# a probability like any other, here 0.27, below a threshold of 0.5. The same file without NaN gives the same numbers
# in all three.
# Seen with openvino 2026.4.1, onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "openvino==2026.4.1" "onnxruntime==1.32.0" "onnx==1.23.2" "numpy==2.4.6"
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator


def three(nodes, weights, image):
    """The first result of one network by OpenVINO, ONNX Runtime and ONNX's reference."""
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image.shape)],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(network, "network.onnx")
    compiled = openvino.Core().compile_model("network.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    session = onnxruntime.InferenceSession("network.onnx", providers=["CPUExecutionProvider"])
    feed = {"image": image}
    return (compiled(feed)[0], session.run(None, feed)[0], ReferenceEvaluator(network).run(None, feed)[0])


network = [
    helper.make_node("Conv", ["image", "mean"], ["blurred"], pads=[1, 1, 1, 1]),
    helper.make_node("Relu", ["blurred"], ["positive"]),
    helper.make_node("Sub", ["positive", "one"], ["logits"]),
    helper.make_node("Sigmoid", ["logits"], ["result"]),
]
weights = {"mean": np.full((1, 1, 3, 3), 1 / 3), "one": np.array(1.0)}
image = np.ones((1, 1, 8, 8), np.float32)
whole = three(network, weights, image)
image[0, 0, 3, 3] = np.nan  # a pixel without a value: nine pixels of the result depend on it
nine = [result[0, 0, 2:5, 2:5] for result in three(network, weights, image)]
print("openvino", openvino.__version__, "and onnxruntime", version("onnxruntime"), "near the missing pixel:")
for name, values in zip(("OpenVINO", "ONNX Runtime", "ONNX reference"), nine, strict=True):
    print(" ", name, values.round(4).tolist())
assert np.allclose(whole[0], whole[1]) and np.allclose(whole[0], whole[2]), "this has changed"
assert np.allclose(nine[0], 0.2689, atol=1e-4), f"this has changed: {nine[0]}"
assert np.isnan(nine[1]).all() and np.isnan(nine[2]).all(), f"this has changed: {nine[1:]}"

row = np.array([[np.nan, 0.25, 0.5]], np.float32)
limits = {"low": np.array(0.0), "high": np.array(1.0)}
clipped = three([helper.make_node("Clip", ["image", "low", "high"], ["result"])], limits, row)
largest = three([helper.make_node("ReduceMax", ["image"], ["result"], axes=[1], keepdims=0)], {}, row)
print("  Clip and ReduceMax of NaN, 0.25, 0.5:", [values.tolist() for values in clipped + largest])
assert clipped[0].tolist() == [[0, 0.25, 0.5]] and largest[0].tolist() == [0.5], f"this has changed: {clipped} {largest}"
assert all(np.isnan(values.flat[0]) for values in clipped[1:] + largest[1:]), f"this has changed: {clipped} {largest}"
PY
