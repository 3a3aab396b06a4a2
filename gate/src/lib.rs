//! The border guard: the last independent check, encoding and sealing.
