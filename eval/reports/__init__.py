"""Reports: pages, plots and tables of recorded results."""
