"""Publishing: unattended notebook runs, the manifest, the course, the site and the explorer."""
