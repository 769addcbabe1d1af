"""Images in tar files of the WebDataset layout: their members, their index, the source, and packing them."""
