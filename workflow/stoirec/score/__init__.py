"""How right an answer is: metrics, trivial baselines, oracles."""
