"""HDF5 files, read so that nothing in them goes unnoticed: what was read, what was never written, what is wrong."""
