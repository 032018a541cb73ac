//! Collections of models that are not read now: what is removed goes from them as well.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use footage_clip::{ModelRef, SourceId};
use footage_index::{Beside as _, Collection, Index, Ledger, Shelved, remove_source};

use crate::compose::Store;

/// Takes sources out of every collection but `read`.
pub(crate) async fn remove_beside(read: &Store, sources: &[SourceId]) -> Result<()> {
    for beside in beside(read).await? {
        let taken_out = async {
            let store = beside.open(read).await?;
            for id in sources {
                remove_source(&store.index, &store.ledger, id).await?;
            }
            anyhow::Ok(store.index.close().await?)
        };
        taken_out.await.with_context(|| beside.why_not())?;
    }
    Ok(())
}

/// Takes out of every collection but `read` what is not in that any more.
pub(crate) async fn follow_removals_beside(read: &Store) -> Result<()> {
    for beside in beside(read).await? {
        let taken_out = async {
            let store = beside.open(read).await?;
            follow_removals(&read.ledger, &store).await?;
            anyhow::Ok(store.index.close().await?)
        };
        taken_out.await.with_context(|| beside.why_not())?;
    }
    Ok(())
}

/// Takes out of a collection what was removed from the one that is read, as its ledger tells it.
pub(crate) async fn follow_removals<I: Index>(read: &Ledger, beside: &Store<I>) -> Result<()> {
    let there: BTreeMap<_, _> =
        read.sources()?.into_iter().map(|source| (source.source_id.clone(), source)).collect();
    let Store { index, ledger } = beside;
    for held in ledger.sources()? {
        let id = &held.source_id;
        let Some(source) = there.get(id) else {
            remove_source(index, ledger, id).await?;
            continue;
        };
        if let Some(before_ns) = source.retained_from_ns {
            if held.retained_from_ns < source.retained_from_ns {
                ledger.forget(id, Some(before_ns))?;
            }
            // Also where the ledger forgot it before: that run may have ended there.
            index.remove_before(id, before_ns).await?;
        }
    }
    Ok(())
}

/// A collection that is not read.
struct Unread(Collection);

/// All of them.
async fn beside(read: &Store) -> Result<Vec<Unread>> {
    let own = &read.index.collection().model.fingerprint;
    let all = read.index.collections().await?.into_iter();
    let unread = all.filter(|shelved| shelved.fingerprint != *own).map(|shelved| {
        let Shelved { fingerprint, name, dim, .. } = shelved;
        let model = ModelRef { name: name.unwrap_or_default(), fingerprint };
        Unread(Collection { model, dim })
    });
    Ok(unread.collect())
}

impl Unread {
    async fn open(&self, read: &Store) -> Result<Store> {
        Store::of(read.index.beside(&self.0).await?).await
    }

    fn why_not(&self) -> String {
        let fingerprint = &self.0.model.fingerprint;
        format!(
            "nothing can be removed from the clips of model {fingerprint}, which are kept beside: \
             `footage model migrate --remove {fingerprint}` removes all of them"
        )
    }
}
