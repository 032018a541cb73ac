//! Collections of two models beside each other.

use footage_clip::{Fingerprint, ModelRef};

use super::{clips, collection, direction};
use crate::{Beside, Collection, Filter, IndexError};

/// A model beside the one of [`collection`], with embeddings of another dimension.
fn other() -> Collection {
    let fingerprint = Fingerprint::try_from("fedcba9876543210".repeat(2)).unwrap();
    Collection { model: ModelRef { name: "other".into(), fingerprint }, dim: 5 }
}

/// What is read is one of two collections, each of which holds its own clips, until it is changed; and
/// then, and only then, the one before can be removed. `index` is an empty one of
/// `collection(8)`.
pub async fn one_of_two_collections_is_read<I: Beside>(index: &I) {
    let (old, new) = (collection(8), other());
    index.keep(&clips(&old, "gate", 40)).await.unwrap();
    let beside = index.beside(&new).await.unwrap();
    beside.keep(&clips(&new, "gate", 7)).await.unwrap();
    beside.flush().await.unwrap();

    let all = Filter::default();
    assert_eq!((index.count(&all).await.unwrap(), beside.count(&all).await.unwrap()), (40, 7));
    assert_eq!(index.find(&direction(8, 1), &all, 99).await.unwrap().len(), 40);
    assert_eq!(beside.find(&direction(5, 1), &all, 99).await.unwrap().len(), 7);
    let crossed = beside.find(&direction(8, 1), &all, 9).await.unwrap_err();
    assert!(matches!(crossed, IndexError::Query(_)), "{crossed}");
    assert_eq!(read_from(index).await, old.model.fingerprint);
    assert_eq!(index.collections().await.unwrap().len(), 2);

    beside.make_current().await.unwrap();
    assert_eq!(read_from(index).await, new.model.fingerprint);
    assert_eq!(read_from(&beside).await, new.model.fingerprint);
    // Neither the one that is read nor the one that is asked goes.
    index.remove_beside(&new.model.fingerprint).await.unwrap_err();
    index.remove_beside(&old.model.fingerprint).await.unwrap_err();
    index.make_current().await.unwrap();
    assert_eq!(read_from(&beside).await, old.model.fingerprint, "and back");
    assert_eq!(index.count(&all).await.unwrap(), 40);

    drop(beside);
    index.remove_beside(&new.model.fingerprint).await.unwrap();
    index.remove_beside(&new.model.fingerprint).await.unwrap_err();
    let left = index.collections().await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(index.beside(&new).await.unwrap().count(&all).await.unwrap(), 0);
}

async fn read_from<I: Beside>(index: &I) -> Fingerprint {
    let shelved = index.collections().await.unwrap();
    let mut read = shelved.into_iter().filter(|shelved| shelved.is_current);
    let one = read.next().unwrap();
    assert!(read.next().is_none());
    one.fingerprint
}
