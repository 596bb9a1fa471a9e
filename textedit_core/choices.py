"""What may be chosen for all models and pictures by flags and on the page; imports nothing heavy."""

DTYPES = ("auto", "float32", "float16", "bfloat16")  # of diffusion models
LEVELS = ("fast", "balanced", "low")  # of the memory that diffusion models may take
MEMORY = ("auto", *LEVELS)
SIZINGS = ("crop", "pad", "native")  # how a picture becomes square, or keeps its shape
