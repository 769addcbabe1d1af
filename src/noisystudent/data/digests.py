"""A cheap digest of a picture file: of its size, its first and its last 4 KiB."""

from __future__ import annotations

import hashlib

SAMPLE_BYTES = 4096  # looked at from either end
DIGEST_BYTES = 8


def sample_digest(size: int, head: bytes, tail: bytes) -> bytes:
    """8 bytes that identify a content of ``size`` bytes by its first and last 4 KiB (all of it when it is shorter)."""
    total = hashlib.blake2b(f"{size}\0".encode(), digest_size=DIGEST_BYTES)
    total.update(head)
    total.update(tail)
    return total.digest()


def content_digest(content: bytes) -> bytes:
    """``sample_digest`` of a content at hand."""
    return sample_digest(len(content), content[:SAMPLE_BYTES], content[-SAMPLE_BYTES:])
