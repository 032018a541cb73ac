//! Whoever has an installation open: another process, or this one.

use std::sync::Arc;

use anyhow::Result;

use super::Desk;
use super::found::SearchReply;
use super::search::SearchRequest;
use super::sources::{SourcesReply, States};
use crate::compose::House;
use crate::instance::Instance;

/// Whoever has the index open.
#[derive(Debug)]
pub(crate) enum Asked {
    Instance(Instance),
    Desk(Desk),
}

impl Asked {
    pub(crate) async fn open(house: &House) -> Result<Self> {
        if let Some(instance) = Instance::running(&house.settings.data_dir).await? {
            return Ok(Self::Instance(instance));
        }
        let store = Arc::new(house.open_existing_store().await?);
        let model = Arc::new(house.open_model()?);
        Ok(Self::Desk(Desk { house: Arc::new(house.clone()), model, store }))
    }

    pub(crate) async fn sources(&self) -> Result<SourcesReply> {
        match self {
            Self::Instance(instance) => instance.sources().await,
            Self::Desk(desk) => SourcesReply::of(&desk.store, &States::new()).await,
        }
    }

    pub(crate) async fn search(&self, request: SearchRequest) -> Result<SearchReply> {
        match self {
            Self::Instance(instance) => instance.search(&request).await,
            Self::Desk(desk) => request.answer(desk).await,
        }
    }
}
