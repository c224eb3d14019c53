"""Imagined beside recorded moments: what can be measured of a world model without a simulator.

`replay` measures a saved world model on recorded episodes, `windows` follows a few windows of them, `page` and
`pictures` show both.
"""
