"""The Open Inference Protocol v2: the same requests and answers in the words of Triton's and KServe's clients."""
