"""A table to play at: a CALVIN-like room in MuJoCo with a seven-joint arm, 34 tasks, and experts for them."""
