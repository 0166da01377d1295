//! `mkbase cache`: how much the cache holds, and removing what is old.

use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::{cache_folder, print};
use crate::cli::CacheCommand;
use crate::fetch::tidy::{self, Limits, Usage};
use crate::ui::{Ui, bytes};

/// What was not used for so long goes if nothing else is asked for.
const AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Does what the arguments say with the cache.
pub fn cache(command: &CacheCommand, ui: &Ui) -> Result<()> {
    match command {
        CacheCommand::Info { cache } => {
            let folder = cache_folder(cache.clone())?;
            let usage = tidy::usage(&folder)?;
            let size = format!("{} ({})", usage.bytes, bytes(usage.bytes));
            let oldest = usage.oldest.map_or_else(|| "-".to_string(), date);
            let entries = usage.entries;
            print(format!("folder   {}\nentries  {entries}\nbytes    {size}\noldest   {oldest}\n", folder.display()))
        }
        CacheCommand::Prune { older_than, max_size, cache } => {
            let age = older_than.or(if max_size.is_none() { Some(AGE) } else { None });
            let pruned = tidy::prune(&cache_folder(cache.clone())?, Limits { age, size: *max_size })?;
            if pruned.in_use > 0 {
                ui.info("Kept", format_args!("{} that a build may be using", entries(pruned.in_use)));
            }
            print(format!("removed {}, {} left\n", amount(pruned.removed), amount(pruned.left)))
        }
    }
}

fn amount(usage: Usage) -> String {
    format!("{} ({})", entries(usage.entries), bytes(usage.bytes))
}

fn entries(count: usize) -> String {
    format!("{count} {}", if count == 1 { "entry" } else { "entries" })
}

/// When an entry was used last, in universal time.
fn date(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "-".into(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
