//! Every program of the host runs through here.
