//! Small commands.
