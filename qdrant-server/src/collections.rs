//! Which collections there are, and what they are called.

use std::sync::{Arc, PoisonError};

use fs_err as fs;
use qdrant_client::qdrant::alias_operations::Action;
use qdrant_client::qdrant::collections_server::Collections;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::{
    AliasDescription, ChangeAliases, CollectionConfig, CollectionDescription, CollectionExists,
    CollectionExistsRequest, CollectionExistsResponse, CollectionInfo, CollectionOperationResponse,
    CollectionParams, CreateCollection, DeleteCollection, Distance, GetCollectionInfoRequest,
    GetCollectionInfoResponse, ListAliasesRequest, ListAliasesResponse, ListCollectionsRequest,
    ListCollectionsResponse, VectorParams, VectorsConfig,
};
use qdrant_edge::EdgeShard;
use tonic::{Request, Response, Status};

use crate::convert::refuse;
use crate::refused::refused;
use crate::shards::{Shards, config, internal};

#[tonic::async_trait]
impl Collections for Shards {
    async fn create(
        &self,
        request: Request<CreateCollection>,
    ) -> Result<Response<CollectionOperationResponse>, Status> {
        let answer = self.faults.admit(&request)?;
        let request = request.into_inner();
        let name = request.collection_name;
        let Some(Config::Params(params)) = request.vectors_config.and_then(|c| c.config) else {
            return Err(refuse("only vectors without a name are taken here"));
        };
        if params.distance != i32::from(Distance::Dot) || params.size == 0 {
            return Err(refuse("only vectors that are compared by their dot product are taken"));
        }
        let mut state = self.state();
        if state.dims.contains_key(&name) {
            return Err(Status::already_exists(format!("Collection `{name}` already exists!")));
        }
        let at = self.dir.join(&name);
        // What was left of one whose making was interrupted.
        if at.try_exists().map_err(internal)? {
            fs::remove_dir_all(&at).map_err(internal)?;
        }
        fs::create_dir_all(&at).map_err(internal)?;
        let shard = EdgeShard::new(&at, config(params.size)).map_err(internal)?;
        state.dims.insert(name.clone(), params.size);
        self.write(&state)?;
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::new(shard));
        answer.give(CollectionOperationResponse { result: true, time: 0.0 })
    }

    async fn get(
        &self,
        request: Request<GetCollectionInfoRequest>,
    ) -> Result<Response<GetCollectionInfoResponse>, Status> {
        let answer = self.faults.admit(&request)?;
        let name = request.into_inner().collection_name;
        let size = self.state().dims.get(&name).copied();
        let size = size.ok_or_else(|| Status::not_found(format!("no collection `{name}`")))?;
        let params =
            VectorParams { size, distance: Distance::Dot.into(), ..VectorParams::default() };
        let vectors = VectorsConfig { config: Some(Config::Params(params)) };
        let params =
            CollectionParams { vectors_config: Some(vectors), ..CollectionParams::default() };
        let config = CollectionConfig { params: Some(params), ..CollectionConfig::default() };
        let info = CollectionInfo { config: Some(config), ..CollectionInfo::default() };
        answer.give(GetCollectionInfoResponse { result: Some(info), time: 0.0 })
    }

    async fn collection_exists(
        &self,
        request: Request<CollectionExistsRequest>,
    ) -> Result<Response<CollectionExistsResponse>, Status> {
        let answer = self.faults.admit(&request)?;
        let exists = self.state().dims.contains_key(&request.into_inner().collection_name);
        let result = Some(CollectionExists { exists });
        answer.give(CollectionExistsResponse { result, time: 0.0 })
    }

    async fn update_aliases(
        &self,
        request: Request<ChangeAliases>,
    ) -> Result<Response<CollectionOperationResponse>, Status> {
        let answer = self.faults.admit(&request)?;
        let mut state = self.state();
        for action in request.into_inner().actions {
            let Some(Action::CreateAlias(create)) = action.action else {
                return Err(refuse("only making an alias is understood here"));
            };
            if !state.dims.contains_key(&create.collection_name) {
                let name = create.collection_name;
                return Err(Status::not_found(format!("Collection `{name}` doesn't exist!")));
            }
            state.aliases.insert(create.alias_name, create.collection_name);
        }
        self.write(&state)?;
        drop(state);
        answer.give(CollectionOperationResponse { result: true, time: 0.0 })
    }

    async fn list_aliases(
        &self,
        request: Request<ListAliasesRequest>,
    ) -> Result<Response<ListAliasesResponse>, Status> {
        let answer = self.faults.admit(&request)?;
        let aliases = self.state().aliases.clone().into_iter();
        let aliases = aliases
            .map(|(alias_name, collection_name)| AliasDescription { alias_name, collection_name });
        answer.give(ListAliasesResponse { aliases: aliases.collect(), time: 0.0 })
    }

    async fn list(
        &self,
        request: Request<ListCollectionsRequest>,
    ) -> Result<Response<ListCollectionsResponse>, Status> {
        let answer = self.faults.admit(&request)?;
        let names = self.state().dims.keys().cloned().collect::<Vec<_>>().into_iter();
        let collections = names.map(|name| CollectionDescription { name }).collect();
        answer.give(ListCollectionsResponse { collections, time: 0.0 })
    }

    async fn delete(
        &self,
        request: Request<DeleteCollection>,
    ) -> Result<Response<CollectionOperationResponse>, Status> {
        let answer = self.faults.admit(&request)?;
        let name = request.into_inner().collection_name;
        let mut state = self.state();
        let was_there = state.dims.remove(&name).is_some();
        state.aliases.retain(|_, collection| *collection != name);
        self.write(&state)?;
        drop(self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&name));
        drop(state);
        if was_there {
            fs::remove_dir_all(self.dir.join(&name)).map_err(internal)?;
        }
        answer.give(CollectionOperationResponse { result: was_there, time: 0.0 })
    }

    refused! {
        update: UpdateCollection => CollectionOperationResponse,
        list_collection_aliases: ListCollectionAliasesRequest => ListAliasesResponse,
        collection_cluster_info: CollectionClusterInfoRequest => CollectionClusterInfoResponse,
        update_collection_cluster_setup:
            UpdateCollectionClusterSetupRequest => UpdateCollectionClusterSetupResponse,
        create_shard_key: CreateShardKeyRequest => CreateShardKeyResponse,
        delete_shard_key: DeleteShardKeyRequest => DeleteShardKeyResponse,
        list_shard_keys: ListShardKeysRequest => ListShardKeysResponse,
    }
}
