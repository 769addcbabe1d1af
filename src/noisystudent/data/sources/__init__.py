"""Image sources: folders, arrays, tables of paths, Parquet, Hugging Face data sets, and built-in digits."""
