//! One bed as its servers see it: its folder, its addresses, the tools, and where to report progress.

use anyhow::Result;

use crate::address::{self, Addresses};
use crate::cache::Cache;
use crate::folder::Folder;
use crate::progress::Progress;
use crate::tools::Tools;

/// What a server's definition is made from.
#[derive(Debug, Clone)]
pub struct Site {
    /// The bed's folder.
    pub folder: Folder,
    /// Where its servers listen.
    pub addresses: Addresses,
    /// Programs and libraries.
    pub tools: Tools,
    /// Where to report.
    pub progress: Progress,
}

impl Site {
    /// The site of a bed; its addresses are chosen when it has none yet.
    pub fn open(folder: Folder, cache: &Cache, progress: Progress) -> Result<Site> {
        let addresses = address::of_bed(&folder, &cache.leases())?;
        Ok(Site { folder, addresses, tools: Tools::locate(cache)?, progress })
    }
}
