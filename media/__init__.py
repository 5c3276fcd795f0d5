"""Video and sound through PyAV: reading, writing, codecs, planar YUV. Knows nothing of faces or models."""
