"""Robots as data: their messages, and the one description that recording, training and deploying share.

Messages need the extra `deploy` (rosbags); a description can be read without it.
"""
