"""Evaluation without OOD labels: how well a score detects, from unlabelled test scores and ID validation scores.

A reconstruction of Gscore (Zhang, Deng & Zheng, 2302.08287), of which neither code nor formulas could be read:
indicators of one pool (`indicators`), what is predicted from them (`predictions`, `regression`), sets on which that is
tried (`bench`), how far it is off there (`errors`), and the table of all that (`table`). docs/estimate.md has figures.
"""
