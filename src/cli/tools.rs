//! The options around programs that mkbase leaves to others.

use clap::Args;

use super::build::parse_mirrors;
use crate::tools::{Choice, Wanted};

/// Where programs come from that mkbase leaves to others: dnf and rpm, debootstrap.
#[derive(Debug, Default, Args)]
pub struct ToolsArgs {
    /// Whose dnf and rpm, or debootstrap, are used where mkbase needs one
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    pub tools: Choice,
    /// Make the tools tree anew, with the newest packages; else that happens every 30 days
    #[arg(long)]
    pub refresh_tools: bool,
    /// Fetch the packages of the tools tree from this address
    ///
    /// NAME is a repository of the recipe `debian`, as for --mirror: main, updates or security.
    #[arg(long, value_name = "NAME=URL")]
    pub tools_mirror: Vec<String>,
}

impl ToolsArgs {
    /// As the library takes them. A wrong one is a usage error.
    pub fn wanted(&self) -> anyhow::Result<Wanted> {
        Ok(Wanted {
            choice: self.tools,
            refresh: self.refresh_tools,
            mirrors: parse_mirrors("--tools-mirror", &self.tools_mirror)?,
        })
    }
}
