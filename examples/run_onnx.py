"""Run an exported policy with numpy and ONNX Runtime alone: python run_onnx.py EXPORT_FOLDER.

The export is written by `laminar export policy.path=RUN format=onnx out=EXPORT_FOLDER`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

folder = Path(sys.argv[1])
about = json.loads((folder / "export.json").read_text())
if about["version"] != 2:
    sys.exit(f"{folder} is an export of version {about['version']}, this example reads version 2")
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1  # more are slower for networks of this size
session = onnxruntime.InferenceSession(folder / "policy.onnx", options, providers=["CPUExecutionProvider"])

random = np.random.default_rng(0)
inputs = {}
for each in about["inputs"]:
    if each["name"] in ("noise", "inner_noise"):  # standard normal: the policy is a function of it
        inputs[each["name"]] = random.standard_normal(each["shape"], dtype=np.float32)
    else:  # here the robot's observation goes in, raw units, the newest of the history last
        inputs[each["name"]] = np.zeros(each["shape"], each["dtype"])
(chunk,) = session.run(["chunk"], inputs)  # (batch, actions of the chunk, action), raw units, inside the limits
print(f"{chunk.shape[1]} actions, of which {about['execute']} are executed:\n{chunk[0]}")
