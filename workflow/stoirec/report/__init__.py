"""From a finished study to one page: what the notebooks show, and how they are joined.

results -> compensation, describe, mistakes, present -> effects, limits, tables -> evaluation -> variations -> figures -> page
"""
