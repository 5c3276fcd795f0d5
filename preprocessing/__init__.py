"""Raw videos -> preprocessed clips; what the clips are like, verdicts on them, the report."""
