"""Networks of other programs, as ONNX: alone, or in a bioimage.io package."""
