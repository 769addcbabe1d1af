"""Images in tar files in the WebDataset layout: members, index, source, and packing."""
