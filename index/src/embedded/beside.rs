//! Collections of other models, in folders beside the one that is read.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use footage_clip::Fingerprint;
use fs_err as fs;

use super::manifest::{self, Manifest, failed};
use super::{EmbeddedIndex, blocking};
use crate::{Beside, Collection, IndexError, Shelved};

#[async_trait]
impl Beside for EmbeddedIndex {
    async fn beside(&self, collection: &Collection) -> Result<Self, IndexError> {
        const DOING: &str = "opening the index beside";
        if collection.model.fingerprint == self.open.collection.model.fingerprint {
            let cause = "it is open already".to_owned();
            return Err(IndexError::Failed { doing: DOING, at: self.open.folder.clone(), cause });
        }
        let (open, collection) = (Arc::clone(&self.open), collection.clone());
        blocking(DOING, &self.open.folder, move || {
            // Before there are two, it is said which of them is the one to read.
            if let Some(current) = Manifest::current(&open.data)? {
                current.make_current(&open.data)?;
            }
            let in_use = Arc::clone(&open.in_use);
            Self::open_in(&open.data, collection, &open.settings, in_use)
        })
        .await
    }

    async fn make_current(&self) -> Result<(), IndexError> {
        let open = Arc::clone(&self.open);
        blocking("choosing the collection to read", &self.open.folder, move || {
            Manifest::of(&open.collection).make_current(&open.data)
        })
        .await
    }

    async fn collections(&self) -> Result<Vec<Shelved>, IndexError> {
        let data = self.open.data.clone();
        blocking("listing collections", &self.open.folder, move || {
            let current = Manifest::current(&data)?.map(|current| current.model.fingerprint);
            let shelved =
                Manifest::all(&data)?.into_iter().map(|Manifest { model, dim, .. }| {
                    let is_current = current.as_ref() == Some(&model.fingerprint);
                    Shelved {
                        fingerprint: model.fingerprint,
                        name: Some(model.name),
                        dim,
                        is_current,
                    }
                });
            Ok(shelved.collect())
        })
        .await
    }

    async fn remove_beside(&self, fingerprint: &Fingerprint) -> Result<(), IndexError> {
        const DOING: &str = "removing a collection";
        let shelved = self.collections().await?;
        let other = |shelved: &Shelved| {
            shelved.fingerprint == *fingerprint
                && !shelved.is_current
                && *fingerprint != self.open.collection.model.fingerprint
        };
        if !shelved.iter().any(other) {
            let cause = format!("{fingerprint} is in use, or not there");
            return Err(IndexError::Failed { doing: DOING, at: self.open.folder.clone(), cause });
        }
        let index = manifest::index_folder(&self.open.data);
        let folder = index.join(fingerprint.as_str());
        // A name that is no fingerprint is no collection: what a crash leaves of it is not opened.
        let aside: PathBuf = index.join(format!("{fingerprint}.removed"));
        blocking(DOING, &self.open.folder, move || {
            let remove = || {
                if aside.try_exists()? {
                    fs::remove_dir_all(&aside)?;
                }
                fs::rename(&folder, &aside)?;
                fs::remove_dir_all(&aside)
            };
            remove().map_err(failed(DOING, &index))
        })
        .await
    }
}
