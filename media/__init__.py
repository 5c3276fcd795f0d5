"""Video and sound through PyAV: reading, writing, codecs, planar YUV, hard cuts. Knows nothing of faces or models."""
