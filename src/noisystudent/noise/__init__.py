"""The noise of Noisy Student: what is done to the student's images and inside its network, and the plain
view.
"""
