"""Rate laws, each defined once for generator, learner and refinement; the flux limiter; segment sums over edges.

segments, mlp -> rate_law -> pde_m1, mechanistic -> laws; limiter
"""
