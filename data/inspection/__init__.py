"""What recordings show when one looks at them, one file a question; `data/inspect.py` asks them all.

statistics     what values has each feature?
timing         did they come at a steady rate, or are some missing?
lag            how many steps later does a state follow an action?
repeats        which episodes, and which pictures, are there twice?
flags          what is odd about each episode?
frames         which features are pictures, and what do they look like?
sheet          pictures of all cameras on one
text           all of it for a terminal
"""
