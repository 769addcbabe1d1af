"""What a run found out about its images: wrong labels, images of no class, what to label next, a map."""
