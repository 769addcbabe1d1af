"""What a run too large to try would take: bytes, hours and money, computed from sizes, rates and prices in a file."""
