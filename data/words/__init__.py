"""A text encoder of laminar's own: learned from the sentences of a recording and the tasks that they were said of."""
