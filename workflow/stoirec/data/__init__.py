"""What a learner may see: data.nc without its truth, and frames that know their run and their time.

graph_variables, courses -> frames -> dataset, windows -> overview, consistency; tables and data_file: what data.nc is
written from.
"""
