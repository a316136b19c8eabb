"""What a learner may see: data.nc without its truth, and frames that know their run and their time.

graph_variables -> frames -> dataset, windows
"""
