"""Estimates for runs that are too large to try: time, bytes and cost, from the sizes, rates and prices in a file."""
