"""A reporter that keeps what is said, for tests to read."""

from noisystudent.runtime.progress import Reporter


class Lines(Reporter):
    """Keeps what is said."""

    def __init__(self):
        super().__init__(quiet=True)
        self.said = []

    def say(self, text):
        self.said.append(text)
