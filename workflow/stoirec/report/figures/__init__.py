"""Figures of the report, one module per chapter. Pure: data in, matplotlib Figure out; nothing is read or computed twice."""
