"""Training: gradient descent on a graph neural network, then rounds of refinement. Never sees the truth.

observations, model, losses -> schedule -> gradient_descent, refinement_rounds, history -> fit_file, checkpoint ->
training
"""
