"""Where images come from: folders, arrays, tables, Parquet, the Hugging Face hub, built-in digits."""
