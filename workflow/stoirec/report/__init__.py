"""From a finished study to one page: a notebook per chapter shows it, and the page joins the executed notebooks.

results     a study's tables and files, and which fit or configuration is best by what; reading checks the tables
data, training, recovery, study, limits, networks
            a folder per chapter, named after its notebook: its numbers, its figures, and its charts, which are
            explored where a script runs; none imports another's
evaluation  figures of held-out networks
map         a recovered network as a drawing, a list, and reactions to be searched
explore     what charts have in common, and the scripts of a page
own_data    the page of a single answer, where there is no truth and no study
tables, calibration, differences
            numbers that several chapters need
naming, present, style
            how names, columns of S, tables and figures look
contents    which chapters there are
page        the report: answer, chapters, provenance
"""
