//! The command: parses, calls the library, maps the result to an exit code.
fn main() {}
