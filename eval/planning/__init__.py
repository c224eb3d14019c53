"""What planners plan, looked at: plans over the map of a maze or as curves, and the share that leads through walls."""
