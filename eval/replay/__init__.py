"""Predicted beside recorded actions: what can be measured of a policy without a simulator.

`errors` holds a policy against recorded chunks, and is what training measures on held-out episodes; `replay` does so
for a saved policy, `figures` makes numbers with intervals of it, `curves` leads it along recorded episodes, `page` and
`pictures` show it.
"""
