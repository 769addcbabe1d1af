"""``python -m noisystudent`` is the command ``noisystudent``, and what torchrun starts."""

from noisystudent.commands.main import main
from noisystudent.runtime.env import exit_process

if __name__ == "__main__":
    exit_process(main())
