"""Publishing: runs of the notebooks, the manifest, the course, the site and the explorer."""
