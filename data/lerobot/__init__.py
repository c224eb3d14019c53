"""LeRobot's data sets: parquet and MP4, described in `meta/`."""
