"""One way to read and write files, wherever a URI says they are: a mounted claim or an object store."""
