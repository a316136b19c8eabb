"""Files as such: NetCDF, atomic writing, and where a file came from."""
