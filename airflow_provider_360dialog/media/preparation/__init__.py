"""Pictures mended before they are sent: what has to be done is decided in pure code, pixels are drawn in worker processes."""
