"""A user's network as a file holds it: SBML and tables of reactions, in and out.

model, formulas, equations -> sbml, reaction_table -> posed (what of a model is sought, as a column space): each module
imports only what stands before it.
"""
