"""The commands of ``medseg``, one module each with ``add(parser, words)``; only the one asked for is imported."""

COMMANDS = {
    "methods": "list the methods",
    "models": "list the models at hand, download one, or take in another program's",
    "describe": "describe one method under given settings",
    "train": "train a method on a folder of images and labels",
    "predict": "segment images with a trained model",
    "refine": "refine a mask with scribbles",
    "evaluate": "compare results with references",
    "measure": "measure label images",
    "prepare": "make a training folder from raw images and annotations",
    "video": "outline the nerve in the frames of a movie that show one",
    "export": "give a model away as ONNX or bioimage.io package, or convert labels",
    "report": "write a case on one page: picture, table, settings, versions",
    "sample": "write generated sample data to try everything with",
    "serve": "let other computers compute here: a scheduler, workers and an invitation to them",
    "doctor": "show versions, device and what is missing",
    "demo": "walk through training, prediction and measurement on generated data",
}
