//! The command line. The doc comments are the help.
