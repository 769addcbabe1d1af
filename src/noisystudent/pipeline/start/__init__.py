"""How a run starts: on a frozen backbone, with the whole backbone, or from scratch."""
