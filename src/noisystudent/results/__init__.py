"""What a run and its files say, as dataclasses: returned by the public functions, written as JSON, read by the page."""
