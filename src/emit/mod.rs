//! Emit: the output folder, put in place with one rename.
