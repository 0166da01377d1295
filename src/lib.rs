//! mkbase makes base images: from a recipe to a minimal, verified, reproducible root filesystem.
//!
//! The stages and their order stand in [`build`]; `docs/design.md` tells how they fit together.

pub mod arch;
pub mod build;
pub mod check;
pub mod clean;
pub mod cli;
pub mod codec;
pub mod command;
pub mod commands;
pub mod context;
pub mod customise;
pub mod elf;
pub mod emit;
pub mod error;
pub mod family;
pub mod fetch;
pub mod hash;
pub mod interrupt;
pub mod lock;
pub mod pack;
pub mod parallel;
pub mod plan;
pub mod recipe;
pub mod root;
pub mod sandbox;
pub(crate) mod sat;
pub mod tools;
pub mod ui;
pub mod work;
