"""The files' continuations start with the space that the harness adds between context and choice."""


def without_space(doc):
    return [text.removeprefix(" ") for text in doc["choices"]]


def target_without_space(doc):
    return doc["target"].removeprefix(" ")
