//! Taking clips out of a shard.

use footage_clip::SourceId;
use qdrant_edge::{
    PayloadSelectorInclude, PointId, PointOperations, ScrollRequest, UpdateOperation, WithVector,
};

use super::{Engine, path, point, space};
use crate::{Filter, IndexError};

/// Most clips taken out at once: searching and keeping wait no longer than these take.
const MOST_AT_ONCE: usize = 4096;

impl Engine {
    pub(in crate::embedded) fn remove_source(
        &self,
        source_id: &SourceId,
    ) -> Result<u64, IndexError> {
        let doing = "removing a source";
        space::check(doing, &self.at, self.small_reserve)?;
        let filter = Filter::of_source(source_id.clone());
        let removed = self.count(&filter)?;
        if let Some(filter) = self.filter(&filter)? {
            let delete = PointOperations::DeletePointsByFilter(filter);
            self.update(doing, removed as usize, UpdateOperation::PointOperation(delete))?;
        }
        Ok(removed)
    }

    /// Takes out what of a source ends at `end_ns` or before.
    pub(in crate::embedded) fn remove_before(
        &self,
        source_id: &SourceId,
        end_ns: u64,
    ) -> Result<u64, IndexError> {
        let doing = "removing old clips";
        space::check(doing, &self.at, self.small_reserve)?;
        let mut removed = 0;
        let mut from = None;
        loop {
            let (ids, next) = self.ending_by(source_id, end_ns, from, doing)?;
            if !ids.is_empty() {
                removed += ids.len() as u64;
                let clips = ids.len();
                let delete = PointOperations::DeletePoints { ids };
                self.update(doing, clips, UpdateOperation::PointOperation(delete))?;
            }
            if next.is_none() {
                return Ok(removed);
            }
            from = next;
        }
    }

    /// A page of the clips that end by `end_ns`, and where the next page begins.
    fn ending_by(
        &self,
        source_id: &SourceId,
        end_ns: u64,
        from: Option<PointId>,
        doing: &'static str,
    ) -> Result<(Vec<PointId>, Option<PointId>), IndexError> {
        let filter = point::ending_by(source_id, end_ns).map_err(|cause| self.damaged(cause))?;
        let request = ScrollRequest {
            offset: from,
            limit: Some(MOST_AT_ONCE),
            filter: Some(filter),
            with_payload: Some(
                PayloadSelectorInclude::new(vec![path(crate::payload::END)?]).into(),
            ),
            with_vector: WithVector::Bool(false),
            order_by: None,
        };
        let (records, next) =
            self.shard.scroll(request).map_err(|error| self.failed(doing, &error))?;
        let mut ids = Vec::with_capacity(records.len());
        for record in records {
            let ends_ns =
                point::to_end(record.payload.as_ref()).map_err(|cause| self.damaged(cause))?;
            if ends_ns <= end_ns {
                ids.push(record.id);
            }
        }
        Ok((ids, next))
    }
}
