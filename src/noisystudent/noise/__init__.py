"""The noise of Noisy Student: input noise on the student's images, model noise in its network, and the plain view."""
