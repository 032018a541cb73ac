//! Files handed to a cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail};
use footage_clip::SourceId;
use footage_pipeline::{Cancel, FileError, FileProblem, FileSource, IdentifyError, identify};

use super::definitions;
use crate::compose::House;

/// What became of files that were to be handed over.
#[derive(Debug, Default)]
pub(crate) struct Submitted {
    /// How many the cluster was told of. Copies of one file count once.
    pub files: usize,
    /// Why others could not be read, a line each.
    pub unreadable: Vec<String>,
}

/// Reads files to know who they are, and tells the cluster of them.
pub(crate) async fn submit(
    house: &House,
    files: Vec<FileSource>,
    cancel: &Cancel,
) -> Result<Submitted> {
    let mut submitted = Submitted::default();
    let mut wanted = BTreeMap::<SourceId, PathBuf>::new();
    for file in files {
        let (path, cancel) = (file.path().to_owned(), cancel.clone());
        let identified = tokio::task::spawn_blocking(move || identify(&file, &cancel, |_| ()));
        match identified.await? {
            Ok(identity) if path.to_str().is_some() => {
                wanted.insert(identity.source_id, path);
            }
            Ok(_) => {
                submitted.unreadable.push(format!(
                    "`{}` has a name that is no UTF-8, which a cluster cannot be told: rename it",
                    path.display()
                ));
            }
            Err(IdentifyError::Cancelled) => bail!("stopped: the cluster was told of nothing"),
            Err(error) => {
                let error = FileError { path, problem: FileProblem::Identify(error) };
                submitted.unreadable.push(error.to_string());
            }
        }
    }
    definitions::submit(house, &wanted).await?;
    submitted.files = wanted.len();
    Ok(submitted)
}
