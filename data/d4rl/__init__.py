"""D4RL's layout on disk (Fu et al. 2020, arXiv:2004.07219): rows, and the statements in them about ends."""
