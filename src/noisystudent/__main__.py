"""``python -m noisystudent`` is the command ``noisystudent``."""

from noisystudent.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
