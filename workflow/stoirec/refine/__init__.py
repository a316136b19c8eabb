"""Refinement of a trained network by Gauss-Newton steps in double precision: from about right to exact.

Gradient descent leaves the weak reactions unresolved and some columns of S at a wrong length. The model is

    dc_i/dt = sum_j B_ij F_j(c, q_j)

with B = S k and F by a rate law; with the flux limiter F_j is multiplied by the share it leaves. Rounds follow each
other:

    select   weigh all integer columns of every reaction, all other B refitted beside it; tie B to columns that are
             clear; where candidate edges may be decoys, close unlikely ones; in the end tie all reactions to the
             columns that are best together, but those that no column is right for
    descend  Levenberg-Marquardt on the weights of the rate law, B and k, with real q = |B| / k as in training;
             concentrations that nobody measured follow in each step

The truth has residual zero, so errors shrink together: right columns lower the residual, which makes others clear. In
the end all reactions are tied, to integer columns.

state, unmeasured, blocks -> functions -> frequencies, jacobian -> equations -> descent, integers, others -> gains,
free -> opposite, outside -> evidence, subsets -> together, lengths, selection -> following, exchange -> refinement:
each module imports only what stands before it.
"""

from stoirec.refine.evidence import Evidence
from stoirec.refine.refinement import Refinement
from stoirec.refine.selection import Stage
from stoirec.refine.state import FAR_MORE, State
from stoirec.refine.unmeasured import Unmeasured

__all__ = ["FAR_MORE", "Evidence", "Refinement", "Stage", "State", "Unmeasured"]
