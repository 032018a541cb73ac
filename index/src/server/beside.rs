//! Collections of other models on the same server.

use async_trait::async_trait;
use footage_clip::{Fingerprint, ModelRef};
use qdrant_client::qdrant::DeleteCollectionBuilder;

use super::retry::retried;
use super::{ServerIndex, setup};
use crate::{Beside, Collection, IndexError, Shelved};

impl ServerIndex {
    /// The same server, looked at as another collection's.
    fn of(&self, collection: &Collection) -> Self {
        Self {
            collection: collection.clone(),
            name: setup::name_of(&self.settings, collection),
            ..self.clone()
        }
    }

    /// The collection of another model where it is there, whatever that model is called.
    pub(super) async fn there(
        &self,
        fingerprint: &Fingerprint,
    ) -> Result<Option<Self>, IndexError> {
        let model = ModelRef { name: fingerprint.to_string(), fingerprint: fingerprint.clone() };
        let mut index = self.of(&Collection { model, dim: 0 });
        let Some(dim) = setup::dimension(&index).await? else { return Ok(None) };
        index.collection.dim = usize::try_from(dim).unwrap_or(usize::MAX);
        Ok(Some(index))
    }

    /// Every model whose collection is there.
    pub(super) async fn models(&self) -> Result<Vec<Fingerprint>, IndexError> {
        let list = || self.client.list_collections();
        let listed = retried("listing collections", &self.at, list).await?;
        let mut models: Vec<Fingerprint> = listed
            .collections
            .iter()
            .filter_map(|found| found.name.strip_prefix(&self.settings.alias)?.strip_prefix('-'))
            .filter_map(|fingerprint| fingerprint.to_owned().try_into().ok())
            .collect();
        models.sort();
        Ok(models)
    }
}

#[async_trait]
impl Beside for ServerIndex {
    async fn beside(&self, collection: &Collection) -> Result<Self, IndexError> {
        let index = self.of(collection);
        setup::make(&index).await?;
        Ok(index)
    }

    async fn make_current(&self) -> Result<(), IndexError> {
        setup::name(self).await?;
        match setup::reads_from(self).await? {
            Some(read) if read == self.name => Ok(()),
            read => Err(self.damaged(format!(
                "the alias {} was given to {} and is of {}",
                self.settings.alias,
                self.name,
                read.as_deref().unwrap_or("nothing")
            ))),
        }
    }

    async fn collections(&self) -> Result<Vec<Shelved>, IndexError> {
        let current = setup::reads_from(self).await?;
        let mut shelved = Vec::new();
        for fingerprint in self.models().await? {
            let Some(index) = self.there(&fingerprint).await? else { continue };
            let is_current = current.as_ref() == Some(&index.name);
            shelved.push(Shelved {
                fingerprint,
                name: None,
                dim: index.collection.dim,
                is_current,
            });
        }
        Ok(shelved)
    }

    async fn remove_beside(&self, fingerprint: &Fingerprint) -> Result<(), IndexError> {
        let other = self.there(fingerprint).await?.filter(|other| other.name != self.name);
        let read = setup::reads_from(self).await?;
        let Some(other) = other.filter(|other| Some(&other.name) != read.as_ref()) else {
            let cause = format!("{fingerprint} is in use, or not there");
            let at = self.at.clone();
            return Err(IndexError::Failed { doing: "removing a collection", at, cause });
        };
        let request = DeleteCollectionBuilder::new(&other.name).build();
        let delete = || self.client.delete_collection(request.clone());
        retried("removing a collection", &self.at, delete).await.map(drop)
    }
}
