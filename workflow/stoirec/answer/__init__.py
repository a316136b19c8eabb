"""From a fit to an answer: integers by every rounding method, and how sure each entry is.

decode -> confidence -> recovery
"""
