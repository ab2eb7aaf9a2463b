"""The room encode: images and texts through a backbone, once, into HDF5; and imports of what others computed."""
