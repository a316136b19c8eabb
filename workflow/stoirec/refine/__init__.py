"""Refinement of a trained network by Gauss-Newton steps in double precision: from about right to exact.

Gradient descent leaves the weak reactions unresolved and some columns of S at a wrong length. The model is

    dc_i/dt = sum_j B_ij F_j(c, q_j)      F_j = softplus(rate_func(sum over substrates e of substrate_func([c, q_e])))

with B = S k; with the flux limiter F_j is multiplied by the share it leaves. Steps of three kinds follow each other:

    relax     Levenberg-Marquardt on the weights of both MLPs, B and k, with real q, about |B| / k as in training
    select    where candidate edges may be decoys: weigh all columns of every reaction, close unlikely edges, tie B to
              columns that are clear, relax
    round     decode   integer columns p from the directions of B; q = |p| from then on
              fit      Levenberg-Marquardt on the weights and B, the columns inside the functions fixed
              lengths  columns of one direction, such as (-1, 1) and (-2, 2), differ only through q: score tests

The truth has residual zero, so errors shrink together: right columns lower the residual, which sharpens directions.

state, frames, mlp -> functions -> jacobian -> equations -> descent -> columns -> lengths, evidence -> selection -> refinement: each module imports only what stands before it.
"""

from stoirec.refine.frames import Frames
from stoirec.refine.refinement import Refinement
from stoirec.refine.selection import Stage
from stoirec.refine.state import State

__all__ = ["Frames", "Refinement", "Stage", "State"]
