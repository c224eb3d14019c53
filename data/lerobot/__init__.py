"""LeRobotDataset on disk, v2.0, v2.1 and v3.0: numbers in Parquet, pictures in Parquet or MP4, JSON that tells of both.

The layouts were taken down from what the lerobot package writes; nothing of it is needed to read them.
"""
