//! What every stage may use: the ui, the store of fetched files, the work folder, the limits.

use std::time::Duration;

use crate::fetch::Fetcher;
use crate::tools::Toolbox;
use crate::ui::Ui;
use crate::work::Work;

/// Handed to every stage by reference.
pub struct Context {
    /// Where steps, bars and warnings go.
    pub ui: Ui,
    /// Downloads into the content-addressed cache.
    pub fetcher: Fetcher,
    /// The folder of this build; gone when the process is.
    pub work: Work,
    /// Threads to use at most.
    pub jobs: usize,
    /// The longest a single command in the sandbox may take.
    pub time_limit: Duration,
    /// Programs that are left to others.
    pub tools: Toolbox,
}
