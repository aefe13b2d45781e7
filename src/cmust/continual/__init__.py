"""After training: new tasks and places, new data, versions of a run."""
